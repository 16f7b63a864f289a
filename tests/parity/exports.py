"""Models of every kind, and what one step and a prefix must give, in float64 by the reference of
the family.
"""

import numpy as np

from gru4rec.checkpoint import Checkpoint, weights
from gru4rec.data.vocab import Vocabulary
from gru4rec.export import source as source_module
from gru4rec.model import state
from tests import helpers
from tests.parity import family

NUM_ITEMS, LANES, LENGTH, K = 23, 6, 7, 5

# name -> flags
MODELS = {
    "gru-separate-tanh": dict(size="8"),
    "gru-shared-relu": dict(embedding="shared", hidden_act="relu", size="7"),
    "gru-none-elu-2": dict(embedding="none", hidden_act="elu", elu=0.7, size="6,4"),
    "official-separate-elu0-3": dict(cell="official", hidden_act="elu", elu=0.0, size="5,6,4",
                                     embed_size=3),
    "official-none-tanh": dict(cell="official", embedding="none", size="8"),
    "official-shared-relu-2": dict(cell="official", embedding="shared", hidden_act="relu",
                                   size="4,4", embed_size=4),
    "gru-separate-cosine": dict(size="6", score="cosine", score_scale=5.0),
    "official-shared-cosine-2": dict(cell="official", embedding="shared", size="5,5",
                                     score="cosine"),
}


def source(name, seed=3, text_ids=False):
    """export.source.Source of random weights that are large enough to bend every activation."""
    config, arrays = config_and_arrays(name, seed)
    ids = np.arange(NUM_ITEMS) * 10 + 100
    ids = np.array(["it\u00e9m %d" % i for i in ids], object) if text_ids else ids.astype(np.int64)
    saved = Checkpoint("none/gru-model-0", config, Vocabulary(ids, np.ones(NUM_ITEMS, np.int64)),
                       arrays, epoch=0, num_steps=1, version="")
    return source_module.of(weights.of(saved), "none")


def config_and_arrays(name, seed=3):
    """(config.Config, state) of the model of `source`."""
    config = helpers.make_config(epoch=1, **MODELS[name])
    return config, helpers.start_arrays(config, NUM_ITEMS, 0.7, seed)


class Reference:
    """The model in float64, from a state whose rows are up to date."""

    def __init__(self, config, arrays):
        self.model, self._num_items = config.model, len(arrays[state.SOFTMAX_B])
        self._weights = {name: arrays[name].astype(np.float64)
                         for name in state.weight_shapes(config.model, 0)}

    def step(self, id_b, states):
        """New states; an id outside 0..I-1 leaves a state as it is."""
        known = (id_b >= 0) & (id_b < self._num_items)
        output = state.input_rows(self.model, self._weights)[np.where(known, id_b, 0)]
        new = []
        for layer, old in enumerate(states):
            output = family.cell_step(self.model, self._weights, layer, output, old)
            new.append(np.where(known[:, None], output, old))
        return new

    def scores(self, states):
        output, rows = states[-1], self._weights["softmax_w"]
        if self.model.score == "cosine":
            output, rows = self.model.score_scale * family.unit(output), family.unit(rows)
        return output.dot(rows.T) + self._weights["softmax_b"]

    def prefix(self, ids, lengths):
        """Scores [B, I] after the first `lengths` ids of each row."""
        states = [np.zeros((len(ids), hidden)) for hidden in self.model.size]
        for t in range(ids.shape[1]):
            states = self.step(np.where(t < lengths, ids[:, t], -1), states)
        return self.scores(states)


def softmax(scores):
    e = np.exp(scores - scores.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def step_inputs(model, lanes=LANES, seed=1):
    """(ids [B] int32 with unknown ones of every kind, per layer [B, H] float32 states)."""
    random = np.random.RandomState(seed)
    ids = random.randint(0, NUM_ITEMS, lanes).astype(np.int32)
    ids[:4] = -1, NUM_ITEMS, NUM_ITEMS - 1, -2 ** 31
    return ids, [random.standard_normal((lanes, hidden)).astype(np.float32)
                 for hidden in model.size]


def prefix_inputs(lanes=LANES, length=LENGTH, seed=2, num_items=NUM_ITEMS):
    """(ids [B, T], lengths [B]): an empty prefix, a full one, unknown ids inside, and known ids
    beyond the length.
    """
    random = np.random.RandomState(seed)
    ids = random.randint(0, num_items, (lanes, length)).astype(np.int32)
    lengths = random.randint(1, length, lanes).astype(np.int32)
    lengths[:2] = 0, length
    ids[2, 0], ids[1, 3], ids[3] = -1, 2 ** 31 - 1, num_items
    return ids, lengths


def assert_best(ids, scores, expected, k=K):
    """Lists of k items against float64 scores [B, I]: best first, to 1e-5."""
    assert ids.shape == scores.shape == (len(expected), k) and ids.dtype == np.int32
    order = np.argsort(-expected, 1, kind="stable")[:, :k]
    np.testing.assert_allclose(scores, np.take_along_axis(expected, order, 1), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(expected, ids.astype(np.int64), 1), scores,
                               rtol=1e-5, atol=1e-5)
    assert all(len(set(row)) == k for row in ids.tolist())

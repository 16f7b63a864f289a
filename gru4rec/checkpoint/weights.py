"""A checkpoint -> the arrays inference needs, up to date, without TensorFlow."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, NamedTuple

import numpy as np

from gru4rec import checkpoint
from gru4rec.data.vocab import Vocabulary
from gru4rec.errors import DivergenceError
from gru4rec.model import lazy_adam, similarity, state

# of a table that are brought up to date at once: float64 copies of three times as many stay near
# the cores
ROWS = 16384
THREADS = 2


class Weights(NamedTuple):
    """What the network is made of."""

    config: Any  # config.Config it was trained with
    vocabulary: Vocabulary
    dense: Dict[str, np.ndarray]  # names of model.state.dense_shapes
    input_rows: np.ndarray  # [I, E] float32
    item_vectors: np.ndarray  # [I, H + 1] float32, model.state.output_rows
    path: str  # prefix of the checkpoint
    epoch: int
    version: str  # differs between any two checkpoints


def load(directory, epoch=None, checksums=True):
    """Read the weights of a checkpoint and catch up rows that lazy Adam left behind
    (model.state.caught_up, bit for bit).

    Args:
      directory: checkpoint directory. epoch: 0-based, or None for the best of a run with
      validation, else the newest.
      checksums: False compares file sizes only.
    Returns: Weights.
    Raises: CheckpointError if it does not exist or is damaged; DivergenceError if a weight is
    not finite."""
    found = checkpoint.load(directory, epoch, checksums)
    model, num_items = found.config.model, len(found.vocabulary)
    arrays = found.arrays
    vectors = np.empty((num_items, model.size[-1] + 1), np.float32)
    rates = None
    if state.last_steps(found.config):
        rates = state.rate_tables(found.config.training, int(arrays[state.GLOBAL_STEP]))
    _current(found.config, arrays, state.SOFTMAX_W, rates, vectors[:, :-1])
    _current(found.config, arrays, state.SOFTMAX_B, rates, vectors[:, -1:])
    if model.embedding == "shared":
        inputs = vectors[:, :-1].copy() if model.score == "cosine" else vectors[:, :-1]
    else:
        inputs = np.empty(arrays[state.EMBEDDING].shape, np.float32)
        _current(found.config, arrays, state.EMBEDDING, rates, inputs)
    if model.score == "cosine":  # as model.state.output_rows
        vectors[:, :-1] = np.float32(model.score_scale) * similarity.unit(vectors[:, :-1])
    dense = {name: np.array(arrays[name]) for name in state.dense_shapes(model)}
    for name, values in list(dense.items()) + [("of items", vectors), ("of inputs", inputs)]:
        if not np.isfinite(values).all():
            raise DivergenceError("%s: weight %s is not finite; use an earlier epoch, or train "
                                  "with a lower --lr"
                                  % (found.path, name))
    for values in list(dense.values()) + [vectors, inputs]:
        values.setflags(write=False)
    return Weights(found.config, found.vocabulary, dense, inputs, vectors, found.path, found.epoch,
                   found.version)


def _current(config, arrays, name, rates, out):
    """Fill `out` [I, D] with the rows of a table as they are after the last step."""
    now, row_step = int(arrays[state.GLOBAL_STEP]), state.last_steps(config).get(name)
    columns = [arrays[name + ending].reshape(out.shape)
               for ending in ("",) + state.slots(config.training)[:2]]

    def fill(start):
        part = slice(start, start + ROWS)
        out[part] = columns[0][part]
        if row_step is None:
            return
        last = arrays[row_step][part]
        # a row that was never touched has no moment to move by
        late = np.flatnonzero((last > 0) & (last < now))
        if len(late):
            wide = [column[part][late].astype(np.float64) for column in columns]
            out[start + late] = lazy_adam.catch_up(lazy_adam.NUMPY, rates, *wide, last=last[late],
                                                   now=now)[0]

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(fill, range(0, len(out), ROWS)))

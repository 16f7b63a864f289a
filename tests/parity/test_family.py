"""Both engines against the float64 family twin.

Losses, optimizers, embeddings, cells and drawn negatives.
"""

import functools

import numpy as np
import pytest

from gru4rec.model import state
from tests.parity import family

tf = pytest.importorskip("gru4rec.tf_compat", reason="TensorFlow is not installed").tf
from gru4rec.device import base  # noqa: E402
from gru4rec.graph import negatives  # noqa: E402
from tests import helpers  # noqa: E402

NUM_ITEMS, LANES, STEPS = 9, 3, 20
SUPPORT = np.array([9, 1, 4, 2, 7, 3, 1, 5, 12])
LENGTHS = [4, 2, 7, 3, 2, 9, 2, 5, 3, 6, 2, 2, 11]
ADAGRAD = dict(optimizer="adagrad", lr=0.1)
CASES = {
    "bpr-max": dict(ADAGRAD, loss="bpr-max", n_sample=5, bpreg=0.7, elu=0.5),
    "bpr-max-tanh": dict(ADAGRAD, loss="bpr-max", final_act="tanh"),
    "top1-max": dict(ADAGRAD, loss="top1-max", n_sample=5, final_act="linear"),
    "bpr-sampled": dict(optimizer="sgd", lr=0.1, loss="bpr", n_sample=4, momentum=0.3),
    "top1-sampled": dict(optimizer="rmsprop", lr=0.01, loss="top1", n_sample=4),
    "smoothing": dict(ADAGRAD, label_smoothing=0.2, n_sample=3),
    "logq": dict(ADAGRAD, logq=0.8, sample_alpha=0.6, n_sample=6, embedding="shared"),
    "logq-tanh": dict(ADAGRAD, logq=1, final_act="tanh"),
    "full": dict(ADAGRAD, loss="full-cross-entropy", label_smoothing=0.1),
    "full-shared-momentum": dict(ADAGRAD, loss="full-cross-entropy", embedding="shared",
                                 momentum=0.2),
    "mask-hits": dict(ADAGRAD, mask_hits=1, n_sample=6, loss="bpr-max"),
    "shared-adam": dict(embedding="shared", lr=0.01, n_sample=4),
    "shared-official-momentum": dict(ADAGRAD, embedding="shared", cell="official", momentum=0.4,
                                     n_sample=5, dropout=0.3),
    "none": dict(ADAGRAD, embedding="none", dropout=0.2),
    "none-official": dict(ADAGRAD, embedding="none", cell="official", size="4,3"),
    "none-adam": dict(embedding="none", lr=0.01),
    "embed-size": dict(ADAGRAD, embed_size=3, size="4,2", embed_dropout=0.4, dropout="0,0.3"),
    "cosine": dict(ADAGRAD, score="cosine", score_scale=5, n_sample=4, embedding="shared",
                   dropout=0.3),
    "cosine-adam-bpr-max": dict(score="cosine", lr=0.01, loss="bpr-max", size="4,3"),
    "elu-hidden": dict(optimizer="sgd", lr=0.1, hidden_act="elu", elu=0.6),
    "rmsprop-momentum": dict(optimizer="rmsprop", lr=0.01, momentum=0.5, embedding="shared"),
    "sgd": dict(optimizer="sgd", lr=0.2, decay=0.5, decay_steps=6),
    "cap-tensor": dict(ADAGRAD, grad_cap=0.05, embedding="shared", n_sample=4),
    "cap-global": dict(ADAGRAD, grad_cap=0.1, grad_cap_mode="global", n_sample=4),
    "cap-global-adam": dict(grad_cap=0.1, grad_cap_mode="global", lr=0.01),
}


def make_config(engine, flags):
    return helpers.make_config(engine,
                               **dict(dict(size=4, batch_size=LANES, dropout=0, seed=3), **flags))


def epoch():
    made = helpers.lengths_to_epoch(LENGTHS, NUM_ITEMS, LANES)
    assert made.num_steps >= STEPS and not made.weight[:STEPS].all()
    return made


def randomness(config, steps):
    """Per step (drawn negatives, {"embed" or layer: factor}): what the device gives for its number.
    """
    model, training, device = config.model, config.training, helpers.cpu()
    with tf.Graph().as_default(), tf.Session(config=device.session_config()) as session:
        step_ph = tf.placeholder(tf.int32, [])
        masks = {layer: device.dropout(tf.ones([LANES, width]), rate, training.seed, step_ph,
                                       stream)
                 for layer, width, rate, stream in
                 [("embed", model.embed_size, model.embed_dropout, base.EMBED_DROPOUT_STREAM)]
                 + [(i, model.size[i], model.dropout[i], i) for i in range(model.layer)]}
        drawn = tf.zeros([0], tf.int32)
        if training.n_sample:
            drawn = negatives.draw(
                tf.constant(negatives.alias_table(SUPPORT, training.sample_alpha)),
                device.random_int31([2, training.n_sample], training.seed, step_ph,
                                    base.NEGATIVES_STREAM))
        return [session.run((drawn, masks), {step_ph: number}) for number in steps]


def train_twin(config, arrays, batches, steps):
    weights = {name: arrays[name].astype(np.float64)
               for name in state.weight_shapes(config.model, NUM_ITEMS)}
    slots, losses = family.zero_slots(config, weights), []
    states = [np.zeros((LANES, hidden)) for hidden in config.model.size]
    for t, (samples, masks) in enumerate(randomness(config, range(1, steps + 1))):
        step = family.Step(config, SUPPORT, states, batches.x[t], batches.y[t], batches.reset[t],
                           batches.weight[t], samples,
                           masks)
        loss, states = step.run(weights)
        touched = {name: step.touched(name) for name in weights}
        weights, slots = family.update(config, weights, slots, step.gradients(weights), touched,
                                       t + 1)
        losses.append(loss)
    return np.array(losses), weights, slots, states


@functools.lru_cache(maxsize=None)
def twin_of(case):
    """What the twin makes of a case; the same for every engine."""
    config = make_config("loop", CASES[case])
    return train_twin(config, helpers.start_arrays(config, NUM_ITEMS, 0.6), epoch(), STEPS)


def check(engine, case):
    config = make_config(engine, CASES[case])
    arrays = helpers.start_arrays(config, NUM_ITEMS, 0.6)
    losses, ended = helpers.train(config, arrays, epoch(), stop=STEPS, support=SUPPORT)
    expected, weights, slots, states = twin_of(case)
    np.testing.assert_allclose(losses, expected, rtol=1e-4, atol=1e-6)
    ended = state.caught_up(config, ended)
    for name in weights:
        np.testing.assert_allclose(ended[name], weights[name], rtol=1e-4, atol=2e-5, err_msg=name)
        for slot, value in zip(state.slots(config.training), slots[name]):
            np.testing.assert_allclose(ended[name + slot], value, rtol=1e-3, atol=2e-5,
                                       err_msg=name + slot)
    live = np.flatnonzero(epoch().weight[STEPS - 1])  # what a drained lane carries is never read
    for layer, values in enumerate(states):
        np.testing.assert_allclose(ended[state.hidden_state(layer)][live], values[live], rtol=1e-4,
                                   atol=1e-5)
    assert set(ended) == set(state.shapes(config, NUM_ITEMS))


@pytest.mark.once
@pytest.mark.parametrize("engine", ["loop", pytest.param("plain", marks=pytest.mark.release)])
@pytest.mark.parametrize("case", sorted(CASES))
def test_twenty_steps_are_those_of_the_twin(engine, case):
    check(engine, case)


@pytest.mark.skipif("xla" not in helpers.ENGINES, reason="this TensorFlow cannot compile the loop")
@pytest.mark.parametrize("case",
                         ["bpr-max", "logq", "shared-official-momentum", "full-shared-momentum"])
def test_twenty_compiled_steps_are_those_of_the_twin(case):
    check("xla", case)


@pytest.mark.once
@pytest.mark.parametrize("engine", ["loop", pytest.param("plain", marks=pytest.mark.release)])
@pytest.mark.parametrize("case",
                         ["shared-official-momentum", "cap-tensor", "rmsprop-momentum",
                          "shared-adam"])
def test_sums_by_slots_are_those_by_pairs(engine, case, monkeypatch):
    """Above duplicates.PAIRS rows of a step another way of summing is taken."""
    from gru4rec.graph import duplicates
    monkeypatch.setattr(duplicates, "PAIRS", 0)
    check(engine, case)


def probabilities(table):
    """[I] float64, the exact probability with which `negatives.draw` gives each item."""
    kept = table[:, 0] / 2.0 ** 31
    kept[table[:, 1] == np.arange(len(table))] = 1.0
    out = kept.copy()
    np.add.at(out, table[:, 1], 1.0 - kept)
    return out / len(table)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_the_alias_table_has_the_probabilities_asked_for(alpha):
    support = np.random.RandomState(0).zipf(1.3, 5000).clip(1, 10 ** 6)
    table = negatives.alias_table(support, alpha)
    expected = support ** float(alpha) / (support ** float(alpha)).sum()
    np.testing.assert_allclose(probabilities(table), expected, rtol=1e-4, atol=2.0 ** -31)
    assert negatives.alias_table([5], alpha).tolist() == [[2 ** 31 - 1, 0]]


def test_drawn_negatives_follow_support_to_the_alpha():
    """Chi-square of 40,000 draws over 9 items, and of pairs of neighbouring steps."""
    config = make_config("loop", dict(n_sample=2000, sample_alpha=0.75, optimizer="adagrad"))
    draws = np.array([samples for samples, _ in randomness(config, range(1, 21))])
    expected = SUPPORT ** 0.75 / (SUPPORT ** 0.75).sum()
    counts = np.bincount(draws.ravel(), minlength=NUM_ITEMS)
    # 0.999 of 8 degrees
    assert ((counts - draws.size * expected) ** 2 / (draws.size * expected)).sum() < 26.1
    pairs = np.bincount(draws[:-1].ravel() * NUM_ITEMS + draws[1:].ravel(),
                        minlength=NUM_ITEMS ** 2)
    expected = np.outer(expected, expected).ravel() * pairs.sum()
    assert ((pairs - expected) ** 2 / expected).sum() < 124.8  # 0.999 of 80 degrees
    again = [samples for samples, _ in randomness(config, [7])]
    np.testing.assert_array_equal(again[0], draws[6])  # of a step's number and the seed alone

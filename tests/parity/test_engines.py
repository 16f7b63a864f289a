"""Both engines against the float64 twin and against each other; chunks, restarts and padding.

Bits are compared where one program runs twice. Another number of steps per call, another engine or
a longer horizon is another program: there a tolerance in units of the last place
(`helpers.assert_ulps`) is stated.
"""

import numpy as np
import pytest

from gru4rec.engine import create
from gru4rec.engine.base import Chunk, chunk_of
from gru4rec.errors import ConfigError
from gru4rec.model import state
from tests.parity import reference

pytest.importorskip("gru4rec.tf_compat", reason="TensorFlow is not installed")
from gru4rec.tf_compat import TF_VERSION  # noqa: E402
from tests import helpers  # noqa: E402

ENGINES = sorted(helpers.ENGINES)
LOOPS = [name for name in ENGINES if name != "plain"]
UNCOMPILED = ["loop", "plain"]
# Compilation takes seconds for each engine made: CI shares those tests among its TensorFlows.
EACH_LOOP = helpers.engines(LOOPS)
NUM_ITEMS, LANES = 13, 5
# Some twenty steps, each of which rounds some thirty sums and products once more or once less.
# Seen: up to 4, with TensorFlow 2.6 to 2.21 and instructions from SSE4.2 to AVX-512.
ULPS = 64
LENGTHS = [4, 2, 7, 3, 2, 9, 2, 5, 3, 6, 2, 2, 8, 3, 4, 2, 6, 5, 3, 7, 4, 2, 5, 3]


def small(engine, **flags):
    """A run where all happens early: decays of the rate, dropout, session ends, drained lanes."""
    flags = dict(dict(size="6,4", batch_size=LANES, lr=0.01, decay=0.5, decay_steps=7,
                      steps_per_run=8), **flags)
    if engine == "plain":
        del flags["steps_per_run"]
    return helpers.make_config(engine, **flags)


def assert_repeated(engine, ours, theirs):
    """(losses, state) of one program that ran twice, bit for bit.

    TensorFlow 2.6 does not always repeat the bits of a compiled loop (docs/evidence/machines.md).
    """
    if engine == "xla" and TF_VERSION < (2, 15):
        helpers.assert_ulps(ours[0], theirs[0], ULPS)
        helpers.assert_ulps_of_all(ours[1], theirs[1], ULPS)
        return
    np.testing.assert_array_equal(ours[0], theirs[0])
    helpers.assert_same_bits(ours[1], theirs[1])


def small_epoch():
    epoch = helpers.lengths_to_epoch(LENGTHS, NUM_ITEMS, LANES)
    assert epoch.num_steps >= 16 and not epoch.weight.all()
    return epoch


def assert_near_reference(config, arrays, losses, expected, atol):
    expected_losses, weights, slots, states = expected
    np.testing.assert_allclose(losses, expected_losses, rtol=0, atol=atol)
    arrays = state.caught_up(config, arrays)
    for name in weights:
        np.testing.assert_allclose(arrays[name], weights[name], rtol=0, atol=atol, err_msg=name)
        for slot, value in zip((state.M_SLOT, state.V_SLOT), slots[name]):
            np.testing.assert_allclose(arrays[name + slot], value, rtol=1e-3, atol=atol,
                                       err_msg=name + slot)
    for layer, values in enumerate(states):
        np.testing.assert_allclose(arrays[state.hidden_state(layer)], values, rtol=0, atol=atol)


# --- against the twin -----------------------------------------------------------------------------

@pytest.mark.machine
@pytest.mark.parametrize("engine", ENGINES)
def test_twenty_steps_are_those_of_the_twin(engine):
    config = small(engine, dropout=0.3)
    epoch = helpers.lengths_to_epoch(LENGTHS, NUM_ITEMS, LANES)
    steps = min(20, epoch.num_steps)
    arrays = helpers.start_arrays(config, NUM_ITEMS)
    losses, ended = helpers.train(config, arrays, epoch, stop=steps)
    assert_near_reference(config, ended, losses,
                          helpers.train_reference(config, arrays, epoch, steps), 2e-5)


@pytest.mark.parametrize("engine", helpers.engines(UNCOMPILED, release=["plain"]))
@pytest.mark.parametrize("flags", [
    dict(loss="bpr", size="5", hidden_act="relu", dropout=0),
    dict(loss="top1", size="4,4", dropout=0.5),
    dict(loss="cross-entropy", final_act="tanh", size="5", dropout=0, grad_cap=0.05)],
                         ids=["bpr", "top1", "capped"])
def test_other_losses_are_those_of_the_twin(engine, flags):
    config, epoch = small(engine, **flags), small_epoch()
    arrays = helpers.start_arrays(config, NUM_ITEMS)
    losses, ended = helpers.train(config, arrays, epoch, stop=12)
    assert_near_reference(config, ended, losses, helpers.train_reference(config, arrays, epoch, 12),
                          2e-5)


@pytest.mark.parametrize("engine", UNCOMPILED)
def test_fewer_sessions_than_lanes(engine):
    config = small(engine, size=4, dropout=0)
    epoch = helpers.lengths_to_epoch([5, 3], NUM_ITEMS, LANES)
    assert epoch.num_steps == 4 and epoch.weight.sum() == 6
    arrays = helpers.start_arrays(config, NUM_ITEMS)
    losses, ended = helpers.train(config, arrays, epoch)
    assert_near_reference(config, ended, losses, helpers.train_reference(config, arrays, epoch, 4),
                          1e-5)


# --- against each other ---------------------------------------------------------------------------

@pytest.mark.parametrize("loop", EACH_LOOP)
def test_closed_loop_of_ten_steps(loop):
    """The sizes of the defaults, with dropout.

    Every weight is within a hundredth of a move of the learning rate.

    The start is a little larger than `state.initial`: there all scores are nearly equal, and the
    gradient of a bias whose item is hit once all but cancels (p - 1 + the p of the other lanes), so
    that Adam makes its rounding large.
    """
    epoch = helpers.lengths_to_epoch([4, 3, 6, 2] * 40, 300, 50)
    ended = {}
    for engine in ("plain", loop):
        config = helpers.make_config(engine)
        ended[engine] = helpers.train(config, helpers.start_arrays(config, 300, 0.05), epoch,
                                      stop=10)
    (plain_losses, plain), (loop_losses, lazy) = ended["plain"], ended[loop]
    helpers.assert_ulps(loop_losses, plain_losses, 32)
    lazy = state.caught_up(config, lazy)
    assert sorted(lazy) == sorted(plain)
    for name in plain:
        np.testing.assert_allclose(lazy[name], plain[name], rtol=0, atol=1e-5, err_msg=name)
        assert lazy[name].dtype == plain[name].dtype and lazy[name].shape == plain[name].shape


@pytest.mark.once_on_1
def test_an_engine_goes_on_from_the_state_of_the_other():
    epoch, arrays = small_epoch(), helpers.start_arrays(small("plain"), NUM_ITEMS)
    expected_losses, expected = helpers.train(small("plain"), arrays, epoch)
    for first, second in (("plain", "loop"), ("loop", "plain")):
        _, halfway = helpers.train(small(first), arrays, epoch, stop=7, num_steps=epoch.num_steps)
        losses, ended = helpers.train(small(second), halfway, epoch, start=7)
        np.testing.assert_allclose(losses, expected_losses[7:], rtol=0, atol=2e-5)
        ended = state.caught_up(small(second), ended)
        for name in expected:
            np.testing.assert_allclose(ended[name], expected[name], rtol=0, atol=2e-5, err_msg=name)


# --- chunks, restarts, padding --------------------------------------------------------------------

@pytest.mark.machine
@pytest.mark.parametrize("loop", EACH_LOOP)
def test_chunk_borders_change_no_bit_and_steps_per_run_nothing_but_rounding(loop):
    epoch, results = small_epoch(), []
    for steps_per_run, per_run in ((13, None), (13, 3), (1, None)):
        config = small(loop, steps_per_run=steps_per_run)
        results.append(helpers.train(config, helpers.start_arrays(config, NUM_ITEMS), epoch,
                                     per_run=per_run))
    whole, parts, single = results
    assert_repeated(loop, parts, whole)
    helpers.assert_ulps(single[0], whole[0], ULPS)
    helpers.assert_ulps_of_all(single[1], whole[1], ULPS)


@pytest.mark.parametrize("engine", helpers.engines(ENGINES, release=["plain"]))
def test_a_restarted_run_is_the_uninterrupted_one_bit_for_bit(engine):
    config, epoch = small(engine), small_epoch()
    trainer = create(config, helpers.cpu(), helpers.start_arrays(config, NUM_ITEMS),
                     epoch.num_steps)
    helpers.run_steps(trainer, epoch, 0, 9)
    halfway = trainer.arrays()
    kept = {name: value.copy() for name, value in halfway.items()}
    losses = helpers.run_steps(trainer, epoch, 9, epoch.num_steps)
    uninterrupted = trainer.arrays()
    trainer.close()
    assert halfway[state.GLOBAL_STEP] == 9 and uninterrupted[state.GLOBAL_STEP] == epoch.num_steps
    helpers.assert_same_bits(halfway, kept)  # a copy: training does not write into it
    again = helpers.train(config, halfway, epoch, start=9, num_steps=epoch.num_steps)
    assert_repeated(engine, again, (losses, uninterrupted))
    # The restarted run may be a longer one: tables of a longer horizon hold the same numbers.
    again, ended = helpers.train(config, halfway, epoch, start=9, num_steps=5 * epoch.num_steps)
    helpers.assert_ulps(again, losses, ULPS)
    helpers.assert_ulps_of_all(ended, uninterrupted, ULPS)


@pytest.mark.parametrize("engine", helpers.engines(UNCOMPILED, release=["plain"]))
def test_reading_the_state_does_not_change_it(engine):
    config, epoch = small(engine), small_epoch()
    arrays = helpers.start_arrays(config, NUM_ITEMS)
    given = {name: value.copy() for name, value in arrays.items()}
    trainer = create(config, helpers.cpu(), arrays, epoch.num_steps)
    helpers.assert_same_bits(trainer.arrays(), arrays)  # what went in, under the same names
    helpers.run_steps(trainer, epoch, 0, 6)
    helpers.assert_same_bits(trainer.arrays(), trainer.arrays())
    helpers.run_steps(trainer, epoch, 6, epoch.num_steps)
    ended = trainer.arrays()
    trainer.close()
    helpers.assert_same_bits(ended, helpers.train(config, arrays, epoch)[1])
    helpers.assert_same_bits(arrays, given)


@pytest.mark.once_on_1
def test_rows_that_only_fill_up_a_chunk_run_no_update():
    epoch = small_epoch()
    arrays = helpers.start_arrays(small("loop"), NUM_ITEMS)
    exact = helpers.train(small("loop", steps_per_run=3), arrays, epoch, stop=3)
    padded = helpers.train(small("loop", steps_per_run=30), arrays, epoch, stop=3)
    assert len(padded[0]) == 3 and padded[1][state.GLOBAL_STEP] == 3
    helpers.assert_ulps(padded[0], exact[0], ULPS)
    helpers.assert_ulps_of_all(padded[1], exact[1], ULPS)
    assert padded[1][state.EMBEDDING + state.LAST_STEP].max() == 3


@pytest.mark.parametrize("loop", helpers.engines(LOOPS, release=["xla"]))
def test_a_loss_that_is_not_finite_ends_the_loop(loop):
    epoch = small_epoch()
    config = small(loop, steps_per_run=16, dropout=0)
    arrays = helpers.start_arrays(config, NUM_ITEMS)
    target = 12  # read for the first time in step 4
    epoch.y[epoch.y == target] = 11
    epoch.y[3, 0] = target
    arrays[state.SOFTMAX_W][target] = np.nan
    losses, ended = helpers.train(config, arrays, epoch, stop=12)
    assert np.isfinite(losses[:3]).all() and losses[:3].all() and not np.isfinite(losses[3])
    assert not losses[4:].any()
    wanted_losses, wanted = helpers.train(config, arrays, epoch, stop=4, num_steps=epoch.num_steps)
    np.testing.assert_array_equal(losses[:4], wanted_losses)
    for name in wanted:  # the steps after it were not made
        if name != state.GLOBAL_STEP:
            np.testing.assert_array_equal(ended[name], wanted[name], err_msg=name)
    assert ended[state.EMBEDDING + state.LAST_STEP].max() == 4


# --- randomness -----------------------------------------------------------------------------------

@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize("engine", UNCOMPILED)
def test_dropout_is_that_of_the_number_of_the_step_and_the_seed(engine, seed):
    """The first batch as if it were update 9.

    Its loss is the one under the masks of update 9, and under no others.
    """
    config, epoch = small(engine, dropout=0.5, seed=seed), small_epoch()
    arrays = helpers.start_arrays(config, NUM_ITEMS)
    trainer = create(config, helpers.cpu(), arrays, epoch.num_steps)
    loss = trainer.run(Chunk(*[a[:1] for a in epoch], first_step=9))[0]
    trainer.close()
    weights = {name: arrays[name].astype(np.float64)
               for name in state.weight_shapes(config.model, NUM_ITEMS)}
    batch = [a[0] for a in epoch]

    def expected(masks):
        return reference.step_loss(weights, reference.zero_states(weights, LANES), *batch,
                                   masks=masks)

    assert loss == pytest.approx(expected(helpers.dropout_masks(config, [9])[0]), rel=1e-5)
    others = helpers.dropout_masks(config, [1, 8, 10])
    others += helpers.dropout_masks(small(engine, dropout=0.5, seed=seed + 1), [9])
    for masks in others:
        assert abs(loss - expected(masks)) > 1e-3


def test_layers_have_masks_of_their_own():
    (first, second), (later, _) = helpers.dropout_masks(small("loop", size="50,50", dropout=0.5),
                                                        [1, 2])
    assert (first != second).any() and (first != later).any()
    assert set(np.unique(first)) == {0.0, 2.0} and 0.3 < (first == 0).mean() < 0.7


# --- interface ------------------------------------------------------------------------------------

def test_initial_state_has_the_documented_shapes():
    config = small("loop")
    arrays, shapes = state.initial(config, NUM_ITEMS), state.shapes(config, NUM_ITEMS)
    assert sorted(arrays) == sorted(shapes)
    for name, (shape, dtype) in shapes.items():
        assert arrays[name].shape == shape and arrays[name].dtype == dtype, name
    for name in arrays:
        if name.endswith("gates/bias"):
            assert (arrays[name] == 1).all()
        elif name.endswith("bias") or name == state.SOFTMAX_B or "/Adam" in name:
            assert not arrays[name].any()
    bound = np.sqrt(6.0 / (NUM_ITEMS + 6))
    assert 0.8 * bound < np.abs(arrays[state.EMBEDDING]).max() <= bound
    assert set(reference.cell_names(1)) <= set(arrays)


def test_caught_up_leaves_the_state_alone_and_is_idempotent():
    config, epoch = small("loop"), small_epoch()
    _, raw = helpers.train(config, helpers.start_arrays(config, NUM_ITEMS), epoch, stop=10)
    kept = {name: value.copy() for name, value in raw.items()}
    caught = state.caught_up(config, raw)
    helpers.assert_same_bits(raw, kept)
    assert (caught[state.EMBEDDING + state.LAST_STEP] == 10).all()
    assert (raw[state.EMBEDDING + state.LAST_STEP] < 10).any()
    helpers.assert_same_bits(state.caught_up(config, caught), caught)


def test_the_plain_engine_refuses_many_steps_per_call():
    config = helpers.make_config("plain", steps_per_run=4)
    with pytest.raises(ConfigError, match="--steps_per_run 4"):
        create(config, helpers.cpu(), state.initial(config, NUM_ITEMS), 10)


@pytest.mark.skipif("xla" in helpers.ENGINES, reason="this TensorFlow can compile the loop")
def test_xla_that_cannot_be_had_is_an_error():
    config = helpers.make_config("loop", xla="on")
    with pytest.raises(ConfigError, match="--xla on"):
        create(config, helpers.cpu(), state.initial(config, NUM_ITEMS), 10)


def test_chunk_of_numbers_its_first_update():
    epoch = small_epoch()
    chunk = chunk_of(epoch, 3, 7, 100)
    assert chunk.first_step == 104 and len(chunk.x) == 4
    np.testing.assert_array_equal(chunk.y, epoch.y[3:7])

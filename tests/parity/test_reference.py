"""The numpy twin itself: its gradients against finite differences, small functions by hand."""

from fractions import Fraction

import numpy as np
import pytest

from tests.parity import reference

PAIRS = [("cross-entropy", "softmax"), ("cross-entropy", "tanh")] + [
    (loss, act) for loss in ("bpr", "top1") for act in ("linear", "relu", "tanh")]
NUM_ITEMS, LANES = 7, 5
X, Y = np.array([1, 3, 1, 0, 6]), np.array([2, 2, 5, 4, 0])  # duplicates in both
RESET, WEIGHT = np.array([0, 1, 0, 0, 0]), np.array([1, 1, 1, 0, 1])


def numeric_gradient(function, array, delta=1e-6):
    """Central differences of a scalar function by `array`, which is changed and restored."""
    out = np.zeros_like(array)
    for at in np.ndindex(*array.shape):
        kept = array[at]
        array[at] = kept + delta
        high = function()
        array[at] = kept - delta
        low = function()
        array[at] = kept
        out[at] = (high - low) / (2 * delta)
    return out


@pytest.fixture
def rng():
    return np.random.RandomState(4)


@pytest.mark.parametrize("act", ["tanh", "relu"])
def test_cell_gradients_are_the_finite_differences(rng, act):
    x, h, d_new = rng.randn(3, 2), rng.randn(3, 4), rng.randn(3, 4)
    cell = reference.Cell(rng.randn(6, 8), rng.randn(8), rng.randn(6, 4), rng.randn(4))
    d_cell, d_x, d_h = reference.gru_step_grad(x, h, cell, act, d_new)

    def total():
        return (reference.gru_step(x, h, cell, act) * d_new).sum()

    for array, gradient in list(zip(cell, d_cell)) + [(x, d_x), (h, d_h)]:
        np.testing.assert_allclose(gradient, numeric_gradient(total, array), atol=1e-7)


def test_cell_by_hand():
    """All weights 0: r = u = σ(bias), c = tanh(bias), whatever comes in."""
    cell = reference.Cell(np.zeros((3, 4)), np.array([0, 0, np.log(3), np.log(3)]),
                          np.zeros((3, 2)),
                          np.array([0, np.arctanh(0.5)]))
    new = reference.gru_step(np.array([[9.0]]), np.array([[4.0, 8.0]]), cell)
    np.testing.assert_allclose(new, [[3 / 4 * 4, 3 / 4 * 8 + 1 / 4 * 0.5]])


def test_reset_gate_acts_before_the_product():
    """Kg = 0, r = 1/2, u = 0: h' = tanh(r·h·Kc), not tanh(r·(h·Kc + bc))."""
    cell = reference.Cell(np.zeros((2, 2)), np.array([0.0, -800.0]), np.array([[0.0], [1.0]]),
                          np.array([0.25]))
    np.testing.assert_allclose(reference.gru_step(np.ones((1, 1)), np.ones((1, 1)), cell),
                               [[np.tanh(0.75)]])


@pytest.mark.parametrize("loss,final_act", PAIRS)
@pytest.mark.parametrize("weight", [[1, 1, 1, 1], [1, 0, 1, 1], [0, 0, 1, 0], [0, 0, 0, 0]])
def test_loss_gradients_are_the_finite_differences(rng, loss, final_act, weight):
    scores = rng.randn(4, 4)
    gradient = reference.loss_grad(scores, weight, loss, final_act)
    numeric = numeric_gradient(lambda: reference.loss_value(scores, weight, loss, final_act),
                               scores)
    np.testing.assert_allclose(gradient, numeric, atol=1e-8)


@pytest.mark.parametrize("loss,final_act", PAIRS)
def test_dead_lanes_are_as_good_as_absent(rng, loss, final_act):
    scores, live = rng.randn(5, 5), np.array([0, 2, 3])
    weight = np.isin(np.arange(5), live).astype(int)
    alone = reference.loss_value(scores[np.ix_(live, live)], np.ones(3), loss, final_act)
    assert reference.loss_value(scores, weight, loss, final_act) == pytest.approx(alone * 3 / 5)
    scores[1], scores[:, 4] = 1e3, np.nan
    assert reference.loss_value(scores, weight, loss, final_act) == pytest.approx(alone * 3 / 5)


def test_losses_of_equal_scores_by_hand():
    scores, weight = np.zeros((4, 4)), np.ones(4)
    assert reference.loss_value(scores, weight, "cross-entropy",
                                "softmax") == pytest.approx(np.log(4))
    assert reference.loss_value(scores, weight, "bpr", "linear") == pytest.approx(np.log(2))
    assert reference.loss_value(scores, weight, "top1",
                                "tanh") == pytest.approx(1 / 2 + 1 / 2 - 1 / 8)


def test_losses_stay_finite_at_huge_scores():
    scores = np.array([[-1e4, 1e4], [1e4, -1e4]])
    assert reference.loss_value(scores, [1, 1], "cross-entropy", "softmax") == pytest.approx(2e4)
    assert reference.loss_value(scores, [1, 1], "bpr",
                                "linear") == pytest.approx(1e4 + np.log(2) / 2)


@pytest.mark.parametrize("loss,final_act",
                         [("cross-entropy", "softmax"), ("top1", "tanh"), ("bpr", "relu")])
@pytest.mark.parametrize("act", ["tanh", "relu"])
def test_gradients_of_a_whole_step_are_the_finite_differences(rng, loss, final_act, act):
    weights = reference.init_weights(NUM_ITEMS, (3, 4), seed=1)
    for value in weights.values():
        value += 0.3 * rng.randn(*value.shape)
    states = [rng.randn(LANES, 3), rng.randn(LANES, 4)]
    masks = [2.0 * (rng.rand(LANES, 3) < 0.5), 2.0 * (rng.rand(LANES, 4) < 0.5)]
    arguments = (states, X, Y, RESET, WEIGHT, masks, act, loss, final_act)
    value, gradients, new_states = reference.step_gradients(weights, *arguments)
    assert value == reference.step_loss(weights, *arguments)
    assert [state.shape for state in new_states] == [(LANES, 3), (LANES, 4)]
    assert sorted(gradients) == sorted(weights)
    for name in weights:
        numeric = numeric_gradient(lambda: reference.step_loss(weights, *arguments), weights[name])
        np.testing.assert_allclose(gradients[name], numeric, atol=1e-8, err_msg=name)


def test_a_reset_lane_forgets_and_its_neighbour_does_not(rng):
    weights = reference.init_weights(NUM_ITEMS, (3,), seed=1)
    for lane, same in ((1, True), (2, False)):
        states = reference.zero_states(weights, LANES)
        before = reference.step_gradients(weights, states, X, Y, RESET, WEIGHT)[2][0]
        states[0][lane] = 5.0
        after = reference.step_gradients(weights, states, X, Y, RESET, WEIGHT)[2][0]
        assert np.array_equal(before, after) == same


def test_first_adam_step_moves_by_the_rate_and_untouched_rows_move_later():
    value, m, v = np.zeros(2), np.zeros(2), np.zeros(2)
    value, m, v = reference.adam_update(value, m, v, np.array([3.0, 0.0]), 1, 0.01)
    np.testing.assert_allclose(value, [-0.01, 0.0], rtol=1e-6)
    np.testing.assert_allclose((m[0], v[0]), (0.3, 0.009))
    later, m, v = reference.adam_update(value, m, v, np.zeros(2), 2, 0.01)
    rate = 0.01 * np.sqrt(1 - 0.999 ** 2) / (1 - 0.9 ** 2)
    np.testing.assert_allclose(later - value, [-rate * 0.27 / (np.sqrt(0.009 * 0.999) + 1e-8), 0.0])


def test_duplicate_rows_are_summed():
    assert reference.sum_rows([[1.0], [2.0], [4.0]], [2, 0, 2], 3).tolist() == [[2.0], [0.0], [5.0]]


@pytest.mark.parametrize("step,rate",
                         [(1, 1e-3), (1000, 1e-3), (1001, 9.6e-4), (2000, 9.6e-4), (2001, 9.216e-4),
                                       (10 ** 6, 1e-5)])
def test_learning_rate(step, rate):
    assert reference.learning_rate(step) == pytest.approx(rate, rel=1e-12)


def test_cap_norm():
    gradient = np.array([3.0, 4.0])
    np.testing.assert_allclose(reference.cap_norm(gradient, 1.0), [0.6, 0.8])
    assert reference.cap_norm(gradient, 0.0) is gradient
    assert reference.cap_norm(gradient, 5.0) is gradient


def test_training_lowers_the_loss_of_a_fixed_batch():
    weights = reference.init_weights(NUM_ITEMS, (6,), seed=2)
    slots, losses = reference.zero_slots(weights), []
    x, y = np.arange(5), np.arange(1, 6)
    for step in range(1, 101):
        loss, weights, slots, _ = reference.train_step(
            weights, slots, reference.zero_states(weights, 5), x, y, np.ones(5), np.ones(5), step,
            lr=0.02)
        losses.append(loss)
    assert losses[0] == pytest.approx(np.log(5), abs=0.2) and losses[-1] < 0.3


def test_schedule_by_hand():
    x, y, reset, weight = reference.schedule([[1, 2, 3], [4, 5], [6, 7], [9]], 2)
    assert (x, y) == ([[1, 4], [2, 6]], [[2, 5], [3, 7]])
    assert (reset, weight) == ([[1, 1], [0, 1]], [[1, 1], [1, 1]])


def test_schedule_fewer_sessions_than_lanes():
    x, y, reset, weight = reference.schedule([[1, 2], [3, 4, 5]], 3)
    assert (x, y) == ([[1, 3, 0], [0, 4, 0]], [[2, 4, 0], [0, 5, 0]])
    assert (reset, weight) == ([[1, 1, 0], [0, 0, 0]], [[1, 1, 0], [0, 1, 0]])
    assert reference.schedule([[1]], 2) == ([], [], [], [])


def test_schedule_lanes_done_together_take_sessions_in_lane_order():
    x, _, _, weight = reference.schedule([[1, 9], [2, 9, 9], [3, 9], [4, 9], [5, 9], [6, 9]], 3)
    assert x == [[1, 2, 3], [4, 9, 5], [6, 0, 0]]
    assert weight == [[1, 1, 1], [1, 1, 1], [1, 0, 0]]


def evaluated(sessions, unknown, biases):
    """Evaluate a model whose scores are its biases, whatever the state."""
    weights = reference.init_weights(len(biases), (2,), seed=3)
    weights["softmax_w"][:] = 0.0
    weights["softmax_b"][:] = biases
    return reference.evaluate(weights, sessions, unknown)


def test_evaluation_drop_and_miss():
    sessions = [[0, -1, 2], [-1, 1], [-1, -1, 0], [3], [1, 0]]
    drop = evaluated(sessions, "drop", [4.0, 3.0, 3.0, 1.0])
    assert drop.counts == [(1, 3), (0, 1)]  # targets 2 and 0
    assert (drop.num_misses, drop.num_sessions, drop.num_dropped) == (0, 2, 4)
    miss = evaluated(sessions, "miss", [4.0, 3.0, 3.0, 1.0])
    assert miss.counts == [(1, 3), (1, 3), (0, 1), (0, 1)]  # targets 2, 1, 0, 0
    assert (miss.num_misses, miss.num_sessions, miss.num_dropped) == (2, 4, 0)
    assert miss.ranks("median") == [Fraction(5, 2), Fraction(5, 2), 1, 1]
    assert miss.recall_mrr(2, "standard") == (Fraction(4, 6),
                                              Fraction(1 + 1, 6) + Fraction(1 + 1, 12))
    assert miss.recall_mrr(2) == (Fraction(2, 6), Fraction(2, 6))


def test_evaluation_keeps_the_state_over_an_unknown_input():
    weights = reference.init_weights(6, (4, 3), seed=5)
    weights["softmax_w"] *= 5
    states = reference.zero_states(weights, 1)
    for item in (2, 4):
        _, states = reference.advance(weights, [item], states)
    scores = reference.score_matrix(states[-1], weights, np.arange(6))[0]
    found = reference.evaluate(weights, [[2, 4, -1, 1]], "miss")
    assert found.counts[-1] == (int((scores > scores[1]).sum()), int((scores >= scores[1]).sum()))
    assert (len(found.counts), found.num_misses) == (2, 1)


def test_a_known_item_after_leading_unknowns_is_predicted_from_the_zero_state():
    weights = reference.init_weights(4, (2,), seed=5)
    weights["softmax_b"][:] = [1.0, 2.0, 2.0, 3.0]
    assert reference.evaluate(weights, [[-1, 1]], "miss").counts == [(1, 3)]

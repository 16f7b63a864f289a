"""One training step in the graph against the float64 twin: loss, every gradient, carried states."""

import numpy as np
import pytest

from gru4rec.config import checks, groups
from gru4rec.model import state
from tests.parity import reference
from tests.tolerance import assert_ulps

tf = pytest.importorskip("gru4rec.tf_compat", reason="TensorFlow is not installed").tf
from gru4rec.graph import clip, duplicates  # noqa: E402
from gru4rec.graph import lookup as lookup_module  # noqa: E402
from gru4rec.graph import step as net  # noqa: E402

PAIRS = [(loss, act) for loss in ("bpr", "cross-entropy", "top1")
         for act in groups.FINAL_ACTS[loss]]
NUM_ITEMS = 9
X = [3, 1, 3, 0, 8, 0]  # item 3 twice among live lanes, item 0 both live and masked
Y = [2, 2, 5, 4, 0, 2]
RESET = [0, 1, 0, 0, 1, 0]
WEIGHT = [1, 1, 1, 1, 1, 0]


class Case:
    """Weights, states, a batch and dropout masks."""

    def __init__(self, model, seed=0, x=X, y=Y, reset=RESET, weight=WEIGHT, dropout=0.4):
        random = np.random.RandomState(seed)
        self.model, lanes = model, len(x)
        self.weights = {name: 0.7 * random.standard_normal(shape)
                        for name, shape in state.weight_shapes(model, NUM_ITEMS).items()}
        self.states = [random.uniform(-1, 1, (lanes, hidden)) for hidden in model.size]
        self.masks = [(random.uniform(size=(lanes, hidden)) >= dropout) / (1 - dropout)
                      for hidden in model.size]
        self.batch = [np.array(a) for a in (x, y, reset, weight)]

    def graph(self, dtype=np.float64, grad_cap=0.0):
        """net.Step as arrays."""
        with tf.Graph().as_default(), tf.Session() as session:
            def const(a):
                return tf.constant(np.asarray(a, dtype))

            x, y, reset, weight = self.batch
            w = self.weights
            rows = np.concatenate([w["softmax_w"], w["softmax_b"][:, None]], 1)[y]
            batch = net.Batch(tf.constant(x, tf.int32), tf.constant(y, tf.int32),
                              tf.constant(reset.astype(bool)),
                              const(weight))
            training = groups.TrainConfig(grad_cap=grad_cap)

            def dropout(tensor, layer):
                return tensor if layer == net.EMBED else tensor * const(self.masks[layer])

            lookup = lookup_module.lookup(self.model, training, batch)
            weights = net.Weights([const(w[name]) for name in state.dense_shapes(self.model)],
                                  [const(w["embedding"][x]), const(rows)])
            step = net.train_step(self.model, training, weights, batch, lookup.columns,
                                  [const(s) for s in self.states], dropout)
            if grad_cap:
                step = clip.capped(step, [duplicates.of(index, None) for index in lookup.index],
                                   training)
            return session.run(step)

    def gradients(self, step):
        """net.Step -> dense gradient of every weight, duplicates summed."""
        x, y = self.batch[:2]
        out = dict(zip(state.dense_shapes(self.model), step.dense))
        out["embedding"] = reference.sum_rows(step.rows[0], x, NUM_ITEMS)
        out["softmax_w"] = reference.sum_rows(step.rows[1][:, :-1], y, NUM_ITEMS)
        out["softmax_b"] = reference.sum_rows(step.rows[1][:, -1], y, NUM_ITEMS)
        return out

    def twin(self):
        """(loss, gradients, states) of the float64 twin."""
        return reference.step_gradients(self.weights, self.states, *self.batch, masks=self.masks,
                                        act=self.model.hidden_act, loss=self.model.loss,
                                        final_act=self.model.final_act)


def make_model(size=(5,), loss="cross-entropy", final_act="softmax", hidden_act="tanh"):
    return checks.resolve_model(groups.ModelConfig(size=size, loss=loss, final_act=final_act,
                                                   hidden_act=hidden_act))


def assert_equal_to_twin(case, dtype, rtol, atol):
    step = case.graph(dtype)
    loss, gradients, states = case.twin()
    assert step.loss.dtype == dtype and step.loss == pytest.approx(loss, rel=rtol)
    found = case.gradients(step)
    assert set(found) == set(gradients)
    for name in gradients:
        assert np.abs(gradients[name]).max() > 1e-6, "%s is no test" % name
        np.testing.assert_allclose(found[name], gradients[name], rtol=rtol, atol=atol, err_msg=name)
    for ours, theirs in zip(step.states, states):
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=atol)


@pytest.mark.parametrize("loss, final_act", PAIRS)
@pytest.mark.parametrize("size, hidden_act", [((5,), "relu"), ((6, 3), "tanh")])
def test_float64(loss, final_act, size, hidden_act):
    model = make_model(size, hidden_act=hidden_act, loss=loss, final_act=final_act)
    assert_equal_to_twin(Case(model), np.float64, 1e-10, 1e-14)


@pytest.mark.parametrize("loss, final_act, size, hidden_act", [
    ("cross-entropy", "softmax", (6, 3), "tanh"), ("cross-entropy", "tanh", (5,), "tanh"),
    ("bpr", "tanh", (4, 3, 4), "relu"), ("top1", "relu", (5,), "tanh")])
def test_float32(loss, final_act, size, hidden_act):
    model = make_model(size, hidden_act=hidden_act, loss=loss, final_act=final_act)
    assert_equal_to_twin(Case(model), np.float32, 2e-5, 1e-6)


@pytest.mark.parametrize("loss, final_act",
                         [("cross-entropy", "softmax"), ("bpr", "tanh"), ("top1", "linear")])
def test_masked_lanes_change_nothing(loss, final_act):
    """The same live lanes, alone and among lanes of weight 0.

    Sums and states are equal, and the others have no gradient.
    """
    model = make_model((5, 4), loss=loss, final_act=final_act)
    alone = Case(model, x=X[:5], y=Y[:5], reset=RESET[:5], weight=[1] * 5)
    # Masked lanes before, between and after; their items are those of live lanes, too.
    places = np.array([1, 2, 4, 5, 7])
    among = Case(model, seed=99, x=[3] * 9, y=[2] * 9, reset=[0] * 9, weight=[0] * 9)
    among.weights = alone.weights
    for ours, theirs in zip(among.batch + among.states + among.masks,
                            alone.batch + alone.states + alone.masks):
        ours[places] = theirs
    few, many = alone.graph(), among.graph()
    assert many.loss * 9 == pytest.approx(few.loss * 5, rel=1e-13)
    masked = np.setdiff1d(np.arange(9), places)
    assert not many.rows[0][masked].any() and not many.rows[1][masked].any()
    np.testing.assert_allclose(many.rows[0][places] * 9, few.rows[0] * 5, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(many.rows[1][places] * 9, few.rows[1] * 5, rtol=1e-12, atol=1e-15)
    for ours, theirs in zip(many.dense, few.dense):
        np.testing.assert_allclose(ours * 9, theirs * 5, rtol=1e-12, atol=1e-15)
    for ours, theirs in zip(many.states, few.states):
        np.testing.assert_allclose(ours[places], theirs, rtol=1e-14)


@pytest.mark.parametrize("loss", ["cross-entropy", "bpr", "top1"])
def test_no_live_lane_is_no_gradient(loss):
    model = make_model(loss=loss, final_act=groups.FINAL_ACTS[loss][0])
    step = Case(model, weight=[0] * 6).graph()
    assert step.loss == 0
    for gradient in list(step.dense) + list(step.rows):
        assert not gradient.any()  # and not NaN


def test_a_reset_lane_forgets_its_state_and_no_other_does():
    case = Case(make_model((5, 4)))
    before = case.graph()
    lanes = np.array(RESET, bool)
    for values in case.states:
        values[lanes] = 123.0
    after = case.graph()
    for ours, theirs in zip(after.states, before.states):
        np.testing.assert_array_equal(ours, theirs)
    case.states[0][2] += 0.5
    moved = [np.flatnonzero((ours != theirs).any(1)).tolist()
             for ours, theirs in zip(case.graph().states, after.states)]
    assert moved == [[2], [2]]


def test_the_carried_state_is_the_one_before_dropout():
    case = Case(make_model((5, 4)))
    with_dropout = case.graph().states
    case.masks = [np.ones_like(mask) for mask in case.masks]
    without = case.graph().states
    assert_ulps(with_dropout[0], without[0], 2)  # factors of 1 may be taken out of the graph
    # the second layer reads what dropout left of the first
    assert (with_dropout[1] != without[1]).any()


@pytest.mark.parametrize("cap", [1e-3, 0.05, 1e3])
def test_grad_cap_is_of_each_tensor_with_duplicates_summed(cap):
    case = Case(make_model((5, 4)))
    found = case.gradients(case.graph(grad_cap=cap))
    _, gradients, _ = case.twin()
    for name in gradients:
        expected = reference.cap_norm(gradients[name], cap)
        np.testing.assert_allclose(found[name], expected, rtol=1e-10, atol=1e-14, err_msg=name)
        assert np.sqrt((found[name] ** 2).sum()) <= cap * (1 + 1e-12)


def test_grad_cap_counts_a_row_hit_by_all_lanes_once():
    case = Case(make_model(), x=[4] * 6, y=[2, 2, 2, 7, 7, 7], weight=[1] * 6)
    _, gradients, _ = case.twin()
    # so each tensor is scaled to it
    cap = 0.5 * min(np.sqrt((g ** 2).sum()) for g in gradients.values())
    found = case.gradients(case.graph(grad_cap=cap))
    for name in ("embedding", "softmax_w", "softmax_b"):
        assert np.sqrt((found[name] ** 2).sum()) == pytest.approx(cap, rel=1e-12), name


def test_grad_cap_leaves_a_zero_gradient_zero():
    step = Case(make_model(), weight=[0] * 6).graph(grad_cap=0.1)
    for gradient in list(step.dense) + list(step.rows):
        assert not gradient.any()

"""Losses and their gradients by the score, in the graph, against the float64 twin."""

import numpy as np
import pytest

from tests.parity import family

tf = pytest.importorskip("gru4rec.tf_compat", reason="TensorFlow is not installed").tf
from gru4rec import config  # noqa: E402
from gru4rec.config import groups  # noqa: E402
from gru4rec.graph import losses  # noqa: E402
from gru4rec.model import divergence  # noqa: E402

PAIRS = [(loss, act) for loss in groups.FINAL_ACTS for act in groups.FINAL_ACTS[loss]]
WEIGHTS = {"all": [1, 1, 1, 1, 1, 1], "some": [1, 0, 1, 1, 0, 1], "one": [0, 0, 0, 1, 0, 0],
           "none": [0] * 6}


def graph_losses(loss, final_act, cases, dtype=np.float64):
    """Per case (scores [B, B], weight [B]) the value and the gradient by the scores."""
    with tf.Graph().as_default(), tf.Session() as session:
        lanes = len(cases[0][1])
        scores_ph, weight_ph = tf.placeholder(dtype, [lanes, lanes]), tf.placeholder(dtype, [lanes])
        model = groups.ModelConfig(loss=loss, final_act=final_act)
        value = losses.total(model, groups.TrainConfig(), scores_ph, weight_ph,
                             losses.Columns(weight_ph))
        fetches = [value, tf.gradients(value, scores_ph)[0]]
        return [session.run(fetches, {scores_ph: scores, weight_ph: weight}) for scores,
                weight in cases]


def twin(scores, weight, loss, final_act):
    """Value and gradient (complex step) of the same in float64, lane by lane."""
    model, training = groups.ModelConfig(loss=loss, final_act=final_act), groups.TrainConfig()

    def value(at):
        return sum(family.lane_loss(model, training, at[i], i, weight, np.zeros(len(at)))
                   for i in np.flatnonzero(weight)
                   ) / len(at)
    gradient = np.zeros(scores.shape)
    for at in np.ndindex(*scores.shape):
        moved = scores.astype(complex)
        moved[at] += 1e-30j
        gradient[at] = np.imag(value(moved)) / 1e-30
    return float(np.real(value(scores))), gradient


@pytest.fixture
def scores():
    return 2.0 * np.random.RandomState(5).randn(6, 6)


@pytest.mark.machine
@pytest.mark.parametrize("loss, final_act", PAIRS)
def test_value_and_gradient(scores, loss, final_act):
    weights = [np.array(weight) for weight in WEIGHTS.values()]
    found = graph_losses(loss, final_act, [(scores, weight) for weight in weights])
    for weight, (value, gradient) in zip(weights, found):
        wanted, expected = twin(scores, weight, loss, final_act)
        assert value == pytest.approx(wanted, rel=1e-12, abs=1e-15)
        np.testing.assert_allclose(gradient, expected, rtol=1e-10, atol=1e-14)
        assert not gradient[weight == 0].any() and not gradient[:, weight == 0].any()


@pytest.mark.once_on_1
@pytest.mark.parametrize("loss, final_act", PAIRS)
def test_what_stands_in_a_masked_row_or_column_does_not_matter(scores, loss, final_act):
    weight = np.array(WEIGHTS["some"])
    other = scores.copy()
    other[weight == 0] = 77.0
    other[:, weight == 0] = -55.0
    first, second = graph_losses(loss, final_act, [(scores, weight), (other, weight)])
    for ours, theirs in zip(first, second):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.once_on_1
@pytest.mark.parametrize("loss, final_act", PAIRS)
@pytest.mark.parametrize("dtype, size", [(np.float32, 1e4), (np.float16, 200.0)])
def test_extreme_scores_stay_finite(loss, final_act, dtype, size):
    if (dtype, loss, final_act) == (np.float16, "bpr-max", "linear"):
        # its regulariser is a square of the score: four lanes of 200 ** 2 are no float16
        size = 100.0
    scores = size * np.sign(np.random.RandomState(1).randn(6, 6))
    try:
        values = graph_losses(loss, final_act, [(scores, WEIGHTS["some"])], dtype)[0]
    except tf.errors.AbortedError as error:  # oneDNN held to SSE4.1 (ONEDNN_MAX_CPU_ISA)
        if dtype == np.float16 and "primitive descriptor" in str(error):
            pytest.skip("this processor has no softmax of float16 in TensorFlow")
        raise
    for value in values:
        assert np.isfinite(value).all()


def test_cross_entropy_by_hand():
    # Two lanes, equal scores: -ln 1/2 each, and the gradient is p - 1 = -1/2 on the diagonal,
    # divided by B = 2.
    value, gradient = graph_losses("cross-entropy", "softmax", [(np.zeros((2, 2)), [1, 1])])[0]
    assert value == pytest.approx(np.log(2.0))
    np.testing.assert_allclose(gradient, [[-0.25, 0.25], [0.25, -0.25]])


@pytest.mark.once_on_1
@pytest.mark.parametrize("loss, final_act", PAIRS)
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_equal_scores_have_the_loss_that_a_run_is_compared_with(loss, final_act, smoothing):
    """`model.divergence.chance`; scores of 0, without --logq. The lane's own column is half of one.
    """
    flags = {"loss": loss, "final_act": final_act, "batch_size": 6, "n_sample": 10}
    if smoothing and loss.endswith("cross-entropy"):
        flags["label_smoothing"] = smoothing
    if loss == "full-cross-entropy":
        del flags["n_sample"]
    made = config.from_flags({name: str(value) for name, value in flags.items()})
    with tf.Graph().as_default(), tf.Session() as session:
        columns = losses.Columns(tf.ones([16], tf.float64))
        value = session.run(losses.total(made.model, made.training, tf.zeros([6, 16], tf.float64),
                                         tf.ones([6], tf.float64), columns))
    tolerance = 0.5 / 16 if loss == "top1" else 1e-12
    assert divergence.chance(made, 16) == pytest.approx(value, rel=0, abs=tolerance + 1e-12)


def test_logq_raises_the_loss_of_equal_scores_by_no_more_than_it_says():
    flags = {"batch_size": 6, "n_sample": 10, "logq": 1.5, "sample_alpha": 2}
    made = config.from_flags({name: str(value) for name, value in flags.items()})
    support = np.array([1, 2, 30, 1000] * 4)
    shift = 1.5 * np.log(support) * np.array([1] * 6 + [2] * 10)
    with tf.Graph().as_default(), tf.Session() as session:
        columns = losses.Columns(tf.ones([16], tf.float64), None, tf.constant(shift))
        values = session.run(losses.per_lane(made.model, made.training,
                                             tf.zeros([6, 16], tf.float64), columns))
    highest = divergence.chance(made, 16, support.max())
    assert np.log(16) < values.max() <= highest

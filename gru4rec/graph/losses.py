"""Ranking losses: each lane's target against the negatives, over the columns of a step's scores.

Lane i's own column holds its target; every other live column is a negative. A column that is not
live takes part in nothing: no loss, no gradient, no negative. All losses take activated scores and
return one value per lane; `total` weighs the lanes. docs/inside/design.md states the formulas,
tests/parity checks them in float64. Names of losses are in config.groups.FINAL_ACTS, the loss of
chance of each is in model.divergence.
"""

from typing import Any, NamedTuple

from gru4rec.graph import activations
from gru4rec.tf_compat import tf

# Added to the score of a column that must not take part in a softmax: exp of it is exactly 0, and
# it fits in float16.
MASKED = -30000.0


class Columns(NamedTuple):
    """What the columns of the scores are."""

    # [M] or [B, M] float, 1 for columns that take part, 0 for others; the own column of every live
    # lane is live
    live: Any
    own_b: Any = None  # [B] int32, the column of each lane's target; None: column i for lane i
    shift_m: Any = None  # [M] float subtracted from the scores, or None


def cross_entropy(r_bm, columns, smoothing=0.0):
    """-ln p_i, with p the softmax of r over the live columns.

    It is one log-softmax, which stays finite in float16. With label smoothing e and M live columns:

        (1 - e M / (M - 1)) (-ln p_i) + e / (M - 1) sum_j -ln p_j

    Args:
      r_bm: [B, M] float, activated scores. columns: Columns. smoothing: float e, 0 <= e < 1.
    Returns: [B] float. A masked row's value is finite and meaningless.
    Source: arXiv 1706.03847 section 2 (cross-entropy). Differs: log-softmax in one step instead of
      ln(p + 1e-24).
    """
    logits = r_bm + (columns.live - 1.0) * -MASKED
    own_b = tf.range(r_bm.shape.as_list()[0]) if columns.own_b is None else columns.own_b
    own = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=own_b, logits=logits)
    if not smoothing:
        return own
    # sum_j -ln p_j = M (-ln p_i + r_i) - sum_j r_j
    count = _count(columns.live)
    spread = count * (own + _target(r_bm, columns)[:, 0]) - tf.reduce_sum(columns.live * r_bm, 1)
    others = tf.maximum(count - 1.0, 1.0)
    return own + (smoothing / others) * (spread - count * own)


def bpr(r_bm, columns):
    """Sum over live j of softplus(-(r_ii - r_ij)) / M, with M the number of live columns.

    The sum includes j = i.

    Args, returns: as `cross_entropy`.
    Source: arXiv 1511.06939 section 3.1.3 (BPR). Differs: the target's own column stays in, as in
      the original port.
    """
    terms = tf.nn.softplus(r_bm - _target(r_bm, columns))
    return tf.reduce_sum(columns.live * terms, 1) / _count(columns.live)


def top1(r_bm, columns):
    """Sum over live j of [sigmoid(r_ij - r_ii) + sigmoid(r_ij^2)] / M, less sigmoid(r_ii^2) / M.

    Args, returns: as `cross_entropy`.
    Source: arXiv 1511.06939 section 3.1.3 (TOP1). Differs: the target's own regulariser is taken
      out again.
    """
    target = _target(r_bm, columns)
    terms = tf.sigmoid(r_bm - target) + tf.sigmoid(tf.square(r_bm))
    own_regulariser = tf.sigmoid(tf.square(target[:, 0]))
    return (tf.reduce_sum(columns.live * terms, 1) - own_regulariser) / _count(columns.live)


def bpr_max(r_bm, columns, bpreg):
    """-ln sum_j s_ij sigmoid(r_ii - r_ij) + bpreg sum_j s_ij r_ij^2, with s a softmax.

    Sums and softmax are over the negatives j.

    Args: bpreg: float >= 0. Others, returns: as `cross_entropy`; a lane without a negative has
      loss 0.
    Source: arXiv 1706.03847 section 3.2 (BPR-max). Differs: the first term is a difference of two
      log-sums of exponentials, so that nothing underflows.
    """
    negative = _negatives(r_bm, columns)
    masked = (negative - 1.0) * -MASKED
    won = tf.reduce_logsumexp(r_bm + masked - tf.nn.softplus(r_bm - _target(r_bm, columns)), 1)
    first = tf.reduce_logsumexp(r_bm + masked, 1) - won
    share = negative * tf.nn.softmax(r_bm + masked)
    loss = first + bpreg * tf.reduce_sum(share * tf.square(r_bm), 1)
    return loss * tf.reduce_max(negative, 1)


def top1_max(r_bm, columns):
    """Sum over the negatives j of s_ij [sigmoid(r_ij - r_ii) + sigmoid(r_ij^2)], s their softmax.

    Args, returns: as `bpr_max`.
    Source: arXiv 1706.03847 section 3.2 (TOP1-max). Differs: no.
    """
    negative = _negatives(r_bm, columns)
    share = negative * tf.nn.softmax(r_bm + (negative - 1.0) * -MASKED)
    return tf.reduce_sum(share * (tf.sigmoid(r_bm - _target(r_bm, columns))
                                  + tf.sigmoid(tf.square(r_bm))), 1)


def per_lane(model, training, scores_bm, columns):
    """[B] losses of raw scores [B, M]: score activation, then `shift_m`, then the loss."""
    r_bm = activations.get(model.final_act, model.elu)(scores_bm)
    if columns.shift_m is not None:
        r_bm = r_bm - columns.shift_m
    if model.loss in ("cross-entropy", "full-cross-entropy"):
        return cross_entropy(r_bm, columns, training.label_smoothing)
    if model.loss == "bpr-max":
        return bpr_max(r_bm, columns, training.bpreg)
    return {"bpr": bpr, "top1": top1, "top1-max": top1_max}[model.loss](r_bm, columns)


def total(model, training, scores_bm, weight_b, columns):
    """The step loss: sum over lanes of weight * loss / B, with B the (fixed) number of lanes.

    Args:
      model: config.ModelConfig. training: config.TrainConfig.
      scores_bm: [B, M] float raw scores. weight_b: [B] float, 1 live, 0 drained. columns: Columns.
    Returns: float scalar.
    """
    losses_b = per_lane(model, training, scores_bm, columns)
    return tf.reduce_sum(losses_b * weight_b) / float(scores_bm.shape.as_list()[0])


def own_mask(own_b, lanes, width, dtype):
    """[lanes, width] 1 in each lane's own column; a mask, because every device has the ops of one.

    own_b: as `Columns.own_b`.
    """
    if own_b is None:
        return tf.eye(lanes, width, dtype=dtype)
    return tf.one_hot(own_b, width, dtype=dtype)


def _own(r_bm, columns):
    lanes, width = r_bm.shape.as_list()
    return own_mask(columns.own_b, lanes, width, r_bm.dtype)


def _target(r_bm, columns):
    """[B, 1]: each lane's score of its own column."""
    return tf.reduce_sum(r_bm * _own(r_bm, columns), 1, keepdims=True)


def _negatives(r_bm, columns):
    """[B, M] 1 for live columns other than the lane's own."""
    return columns.live * (1.0 - _own(r_bm, columns))


def _count(live):
    """Live columns: scalar, or [B] where lanes differ; at least 1."""
    return tf.maximum(tf.reduce_sum(live, -1), 1.0)

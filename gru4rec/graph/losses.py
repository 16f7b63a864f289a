"""Ranking losses over in-batch negatives: lane i's target is column i, every other live column is a negative.

All take raw scores and return one loss per lane; `total` weighs the lanes. A column of a weight-0 lane takes part in
nothing: no loss, no gradient, no negative. docs/design.md states the formulas, tests/parity checks them in float64.
"""

from gru4rec.tf_compat import tf

# Added to the score of a column that must not take part in a softmax: exp of it is exactly 0, and it fits in float16.
MASKED = -30000.0

FINAL_ACTS = {"softmax": tf.identity, "linear": tf.identity, "tanh": tf.tanh, "relu": tf.nn.relu}


def cross_entropy(r_bm, live_m):
    """-ln softmax(r)_i over live columns, as one log-softmax that stays finite in float16.

    Args:
      r_bm: [B, M] float, activated scores; the target of row i is column i.
      live_m: [M] float, 1 for live columns, 0 for masked ones.
    Returns: [B] float. A masked row's value is finite and meaningless.
    Source: arXiv 1706.03847 section 2 (cross-entropy). Differs: log-softmax in one step instead of ln(p + 1e-24).
    """
    rows = r_bm.shape.as_list()[0]
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.range(rows), logits=r_bm + (live_m - 1.0) * -MASKED)


def bpr(r_bm, live_m):
    """Sum over live j of softplus(-(r_ii - r_ij)) / M, with M the number of live columns and j = i included.

    Args, returns: as `cross_entropy`.
    Source: arXiv 1511.06939 section 3.1.3 (BPR). Differs: the target's own column stays in, as in the original port.
    """
    return tf.reduce_sum(live_m * tf.nn.softplus(r_bm - _target(r_bm)), 1) / _count(live_m)


def top1(r_bm, live_m):
    """Sum over live j of [sigmoid(r_ij - r_ii) + sigmoid(r_ij^2)] / M, less sigmoid(r_ii^2) / M.

    Args, returns: as `cross_entropy`.
    Source: arXiv 1511.06939 section 3.1.3 (TOP1). Differs: the target's own regulariser is taken out again.
    """
    target = _target(r_bm)
    terms = tf.sigmoid(r_bm - target) + tf.sigmoid(tf.square(r_bm))
    return (tf.reduce_sum(live_m * terms, 1) - tf.sigmoid(tf.square(target[:, 0]))) / _count(live_m)


LOSSES = {"cross-entropy": cross_entropy, "bpr": bpr, "top1": top1}


def total(loss, final_act, scores_bm, weight_b, live_m):
    """The step loss: sum over lanes of weight * loss / B, with B the (fixed) number of lanes.

    Args:
      loss: name in LOSSES. final_act: name in FINAL_ACTS.
      scores_bm: [B, M] float raw scores. weight_b: [B] float, 1 live, 0 drained. live_m: [M] float.
    Returns: float scalar.
    """
    per_lane_b = LOSSES[loss](FINAL_ACTS[final_act](scores_bm), live_m)
    return tf.reduce_sum(per_lane_b * weight_b) / float(scores_bm.shape.as_list()[0])


def _target(r_bm):
    """[B, 1]: each row's own column, by a mask (every device has it)."""
    rows, columns = r_bm.shape.as_list()
    return tf.reduce_sum(r_bm * tf.eye(rows, columns, dtype=r_bm.dtype), 1, keepdims=True)


def _count(live_m):
    return tf.maximum(tf.reduce_sum(live_m), 1.0)

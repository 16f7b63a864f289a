"""Gradient caps: the norm is that of a weight's whole gradient, with duplicate rows summed."""

from gru4rec.tf_compat import tf


def capped(step, duplicates, training):
    """Scale gradients so that their L2 norm is at most `training.grad_cap`.

    Args:
      step: step.Step.
      duplicates: per table, what `graph.duplicates.of` gives for the rows that step.rows belong to.
      training: config.TrainConfig; `grad_cap_mode` "tensor" caps each weight tensor by itself (the
        rows of the last table are two tensors, softmax_w and softmax_b), "global" all together.
    Returns: step.Step.
    """
    parts = [[rows] for rows in step.rows]
    width = step.rows[-1].shape.as_list()[1]
    parts[-1] = tf.split(step.rows[-1], [width - 1, 1], 1)
    squares = [tf.reduce_sum(tf.square(g)) for g in step.dense]
    for same, tensors in zip(duplicates, parts):
        squares += [_square_of_sums(same, tensor) for tensor in tensors]
    if training.grad_cap_mode == "global":
        squares = [tf.add_n(squares)] * len(squares)
    factors = iter([training.grad_cap / tf.maximum(tf.sqrt(s), training.grad_cap) for s in squares])
    dense = tuple(g * next(factors) for g in step.dense)
    rows = tuple(tf.concat([tensor * next(factors) for tensor in tensors], 1) for tensors in parts)
    return step._replace(dense=dense, rows=rows)


def _square_of_sums(same, gradient_nd):
    """Squared L2 norm of the summed gradient: every distinct row counts once."""
    return tf.reduce_sum(tf.square(same.sum(gradient_nd)) * same.first(gradient_nd.dtype)[:, None])

"""Gradient caps; norms are those of the gradient a weight tensor really gets, duplicates summed."""

from gru4rec.graph import tables
from gru4rec.tf_compat import tf


def by_tensor(step, x_b, y_b, cap):
    """Scale each weight tensor's gradient so that its L2 norm is at most `cap`.

    Output rows [B, H + 1] are two tensors, softmax_w and softmax_b, and are capped as two.

    Args:
      step: model.Step. x_b, y_b: [B] int32, the rows its sparse gradients belong to. cap: float > 0.
    Returns: model.Step.
    """
    hidden = step.outputs_bd.shape.as_list()[1] - 1
    outputs = [_scaled(part, _row_norm(y_b, part), cap)
               for part in (step.outputs_bd[:, :hidden], step.outputs_bd[:, hidden:])]
    return step._replace(
        dense=tuple(_scaled(g, tf.sqrt(tf.reduce_sum(tf.square(g))), cap) for g in step.dense),
        inputs_be=_scaled(step.inputs_be, _row_norm(x_b, step.inputs_be), cap),
        outputs_bd=tf.concat(outputs, 1))


def _row_norm(index_n, gradient_nd):
    """L2 norm of the summed gradient: every distinct row counts once."""
    summed = tables.sum_duplicates(index_n, gradient_nd)
    return tf.sqrt(tf.reduce_sum(tf.square(summed) * tables.first_of_index(index_n, gradient_nd.dtype)[:, None]))


def _scaled(gradient, norm, cap):
    return gradient * (cap / tf.maximum(norm, cap))

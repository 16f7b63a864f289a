"""The one definition of a training step and of an inference step; every engine runs these."""

from typing import Any, NamedTuple, Tuple

from gru4rec.graph import cell, clip, losses
from gru4rec.tf_compat import tf


class Batch(NamedTuple):
    """What one step sees of the schedule."""

    x_b: Any  # [B] int32 item indices in
    y_b: Any  # [B] int32 item indices to predict
    reset_b: Any  # [B] bool, a session starts in this lane
    weight_b: Any  # [B] float, 1 live, 0 drained


class Step(NamedTuple):
    """What one training step yields; gradients are of the step loss."""

    loss: Any  # float scalar
    states: Tuple[Any, ...]  # per layer [B, H] float, carried to the next step
    dense: Tuple[Any, ...]  # gradient per dense weight, order of `engine.state.dense_shapes`
    inputs_be: Any  # [B, E] gradient per input row (duplicates not summed)
    outputs_bd: Any  # [B, H + 1] gradient per output row, bias in the last column


def layer_weights(model, dense):
    """Flat sequence of dense weights -> one cell.GRUWeights per layer."""
    return [cell.GRUWeights(*dense[4 * i:4 * i + 4]) for i in range(model.layer)]


def advance(model, dense, x_be, states, dropout=None):
    """Run the stacked cells once.

    Args:
      dense: sequence of weights in the order of `engine.state.dense_shapes`.
      x_be: [B, E] float input rows. states: per layer [B, H].
      dropout: None (inference) or function (tensor, layer) -> tensor, applied to each layer's output; the carried
        state is the clean one.
    Returns: (output [B, H of the last layer], tuple of new states).
    """
    new_states, output = [], x_be
    for i, weights in enumerate(layer_weights(model, dense)):
        state = cell.gru_step(output, states[i], weights, model.hidden_act)
        new_states.append(state)
        output = state if dropout is None else dropout(state, i)
    return output, tuple(new_states)


def zero_where(zero_b, states):
    """States [B, H] with the lanes zeroed where `zero_b` [B] is true, such as those in which a session starts."""
    keep_b1 = 1.0 - tf.cast(zero_b, states[0].dtype)[:, None]
    return tuple(state * keep_b1 for state in states)


def train_step(model, dense, x_be, y_bd, batch, states, dropout, grad_cap=0.0):
    """Loss, gradients and carried states of one step; back-propagation stops at the incoming states.

    Args:
      model: config.ModelConfig. dense: sequence of weights, order of `engine.state.dense_shapes`.
      x_be: [B, E] rows of this step's inputs. y_bd: [B, H + 1] rows of its targets, bias last.
      batch: Batch. states: per layer [B, H], before the reset.
      dropout: function (tensor, layer) -> tensor.
      grad_cap: float, largest L2 norm of the gradient of a weight tensor, duplicates summed; 0 = no cap.
    Returns: Step.
    """
    # A drained lane keeps stepping on item 0; held at zero, its state cannot grow (relu) and spoil 0 * loss.
    idle_b = tf.logical_or(batch.reset_b, tf.equal(batch.weight_b, 0.0))
    states = tuple(tf.stop_gradient(s) for s in zero_where(idle_b, states))
    output_bh, new_states = advance(model, dense, x_be, states, dropout)
    scores_bb = output_scores(output_bh, y_bd)
    loss = losses.total(model.loss, model.final_act, scores_bb, batch.weight_b, batch.weight_b)
    sources = list(dense) + [x_be, y_bd]
    gradients = tf.gradients(loss, sources)
    step = Step(loss, new_states, tuple(gradients[:-2]), gradients[-2], gradients[-1])
    return clip.by_tensor(step, batch.x_b, batch.y_b, grad_cap) if grad_cap else step


def output_scores(output_bh, rows_md):
    """[B, M] scores of M rows [M, H + 1], the bias being the last column."""
    hidden = output_bh.shape.as_list()[1]
    weights_mh, bias_m1 = tf.split(rows_md, [hidden, 1], 1)
    return tf.matmul(output_bh, weights_mh, transpose_b=True) + bias_m1[:, 0]

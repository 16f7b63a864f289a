"""The one definition of a training step and of an inference step; every engine runs these."""

from typing import Any, NamedTuple, Sequence, Tuple

from gru4rec.graph import activations, cell, losses
from gru4rec.model import similarity
from gru4rec.tf_compat import tf


class Batch(NamedTuple):
    """What one step sees of the schedule."""

    x_b: Any  # [B] int32 item indices in
    y_b: Any  # [B] int32 item indices to predict
    reset_b: Any  # [B] bool, a session starts in this lane
    weight_b: Any  # [B] float, 1 live, 0 drained


class Weights(NamedTuple):
    """The weights that one step reads, and that its gradients are taken of."""

    dense: Sequence[Any]  # order of `model.state.dense_shapes`
    # Per table the rows [n, D] of `Lookup.index` that are this worker's (`across.own_rows`): inputs
    # [B, E] and columns [M, H + 1], bias last, or one tensor [B + M, H + 1] where they share one.
    rows: Sequence[Any]


class Step(NamedTuple):
    """What one training step yields; gradients are of the step loss."""

    loss: Any  # float scalar
    states: Tuple[Any, ...]  # per layer [B, H] float, carried to the next step
    dense: Tuple[Any, ...]  # gradient of each of `Weights.dense`
    rows: Tuple[Any, ...]  # gradient of each of `Weights.rows` (duplicates not summed)


EMBED = "embed"  # names the input rows where a dropout function asks for a layer


def advance(model, dense, x_be, states, dropout=None):
    """Run the stacked cells once.

    Args:
      dense: sequence of weights in the order of `model.state.dense_shapes`.
      x_be: [B, E] float input rows. states: per layer [B, H].
      dropout: None (inference) or function (tensor, EMBED or layer) -> tensor, applied to the input
        rows and to each layer's output. The carried state is the one without dropout, but with
        `--cell official` the one after it.
    Returns: (output [B, H of the last layer], tuple of new states).
    """
    official, act = model.cell == "official", activations.get(model.hidden_act, model.elu)
    new_states, output = [], x_be
    if dropout is not None:
        output = dropout(x_be, EMBED)
    for i in range(model.layer):
        weights = cell.GRUWeights(*dense[4 * i:4 * i + 4])
        state = cell.gru_step(output, states[i], weights, act, official)
        output = state if dropout is None else dropout(state, i)
        new_states.append(output if official else state)
    return output, tuple(new_states)


def score_vectors(model, vectors):
    """Vectors [..., H] as they enter a score: of length 1 for --score cosine, else unchanged.

    The same as `similarity.unit`, in the graph.
    """
    if model.score == "dot":
        return vectors
    squares = tf.reduce_sum(tf.square(vectors), -1, keepdims=True)
    return vectors * tf.rsqrt(squares + similarity.EPSILON)


def zero_where(zero_b, states):
    """States [B, H], zeroed in the lanes where `zero_b` [B] is true (where a session starts)."""
    keep_b1 = 1.0 - tf.cast(zero_b, states[0].dtype)[:, None]
    return tuple(state * keep_b1 for state in states)


def train_step(model, training, weights, batch, columns, states, dropout, scale=None):
    """Loss, gradients and carried states of one step; gradients stop at the incoming states.

    Args:
      model: config.ModelConfig. training: config.TrainConfig.
      weights: Weights. batch: Batch. columns: losses.Columns.
      states: per layer [B, H], before the reset.
      dropout: function (tensor, EMBED or layer) -> tensor.
      scale: None, or float scalar: gradients are of `scale * loss` (the loss itself is not scaled).
    Returns: Step.
    """
    # A drained lane keeps stepping on item 0; held at zero, its state cannot grow (relu) and spoil
    # 0 * loss.
    idle_b = tf.logical_or(batch.reset_b, tf.equal(batch.weight_b, 0.0))
    states = tuple(tf.stop_gradient(s) for s in zero_where(idle_b, states))
    dense, rows = list(weights.dense), list(weights.rows)
    if len(rows) == 2:
        x_be, columns_md = rows
    else:
        x_be, columns_md = _inputs_and_columns(rows[0], batch.x_b.shape.as_list()[0])
    output_bh, new_states = advance(model, dense, x_be, states, dropout)
    scores_bm = output_scores(model, output_bh, columns_md)
    loss = losses.total(model, training, scores_bm, batch.weight_b, columns)
    of_loss = None if scale is None else [scale]
    gradients = tf.gradients(loss, dense + rows, of_loss)
    return Step(loss, new_states, tuple(gradients[:len(dense)]), tuple(gradients[len(dense):]))


def _inputs_and_columns(rows_nd, lanes):
    """Rows of a shared table -> (inputs [B, H], without the bias; columns [M, H + 1])."""
    n, width = rows_nd.shape.as_list()
    inputs_bd, columns_md = tf.split(rows_nd, [lanes, n - lanes], 0)
    return tf.split(inputs_bd, [width - 1, 1], 1)[0], columns_md


def output_scores(model, output_bh, rows_md):
    """[B, M] scores of M rows [M, H + 1] whose last column is the bias; see `model.similarity`."""
    hidden = output_bh.shape.as_list()[1]
    weights_mh, bias_m1 = tf.split(rows_md, [hidden, 1], 1)
    if model.score == "cosine":
        output_bh = model.score_scale * score_vectors(model, output_bh)
        weights_mh = score_vectors(model, weights_mh)
    return tf.matmul(output_bh, weights_mh, transpose_b=True) + bias_m1[:, 0]

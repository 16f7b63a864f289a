"""The one definition of a training step and of an inference step; every engine runs these."""

from typing import Any, NamedTuple, Tuple

import numpy as np

from gru4rec import similarity
from gru4rec.graph import activations, cell, losses, optimizers
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
    rows: Tuple[Any, ...]  # gradient per table, for each row of `Lookup.index` (duplicates not summed)


class Lookup(NamedTuple):
    """The rows one step reads, and what the columns of its scores are."""

    index: Tuple[Any, ...]  # per table [n] int32, rows that take part: (inputs, outputs), or both where they share a table
    columns: Any  # losses.Columns


EMBED = "embed"  # names the input rows where a dropout function asks for a layer


def lookup(model, training, batch, samples_n=None, log_support_of=None):
    """Which rows a step reads.

    Args:
      model: config.ModelConfig. training: config.TrainConfig. batch: Batch.
      samples_n: [N] int32 drawn negatives, or None for none; for --loss full-cross-entropy all items, 0..I-1.
      log_support_of: function (index [m]) -> [m] float ln(support); needed with --logq.
    Returns: Lookup. Columns are the batch's targets, then the samples; in full-cross-entropy the samples alone.
    """
    if optimizers.moves_without_gradient(training):
        # A drained lane's gradient is 0, but naming a row would move it: it names the rows of a lane that is live.
        live_lane = tf.argmax(batch.weight_b, output_type=tf.int32)
        drained_b = tf.equal(batch.weight_b, 0.0)
        batch = batch._replace(**{name: tf.where(drained_b, tf.fill(items.shape, items[live_lane]), items)
                                  for name, items in (("x_b", batch.x_b), ("y_b", batch.y_b))})
    full = model.loss == "full-cross-entropy"
    column_m = samples_n if full else batch.y_b if samples_n is None else tf.concat([batch.y_b, samples_n], 0)
    if samples_n is None:
        live_m = batch.weight_b
    else:
        ones_n = tf.ones(samples_n.shape, batch.weight_b.dtype)
        live_m = ones_n if full else tf.concat([batch.weight_b, ones_n], 0)
    live, shift_m = live_m, None
    if training.mask_hits:
        own = tf.eye(*[t.shape.as_list()[0] for t in (batch.y_b, column_m)], dtype=live_m.dtype)
        hit = tf.cast(tf.equal(batch.y_b[:, None], column_m[None, :]), live_m.dtype)
        live = live_m * (1.0 - hit * (1.0 - own))
    if training.logq:
        lanes = batch.y_b.shape.as_list()[0]
        exponents = np.full(column_m.shape.as_list()[0], training.logq * training.sample_alpha)
        exponents[:lanes] = training.logq
        shift_m = log_support_of(column_m) * tf.constant(exponents, live_m.dtype)
    columns = losses.Columns(live, batch.y_b if full else None, shift_m)
    if model.embedding == "shared":
        return Lookup((tf.concat([batch.x_b, column_m], 0),), columns)
    return Lookup((batch.x_b, column_m), columns)


def layer_weights(model, dense):
    """Flat sequence of dense weights -> one cell.GRUWeights per layer."""
    return [cell.GRUWeights(*dense[4 * i:4 * i + 4]) for i in range(model.layer)]


def advance(model, dense, x_be, states, dropout=None):
    """Run the stacked cells once.

    Args:
      dense: sequence of weights in the order of `engine.state.dense_shapes`.
      x_be: [B, E] float input rows. states: per layer [B, H].
      dropout: None (inference) or function (tensor, EMBED or layer) -> tensor, applied to the input rows and each layer's
        output; the carried state is the clean one, but for `--cell official`.
    Returns: (output [B, H of the last layer], tuple of new states).
    """
    official, act = model.cell == "official", activations.get(model.hidden_act, model.elu)
    new_states, output = [], x_be if dropout is None else dropout(x_be, EMBED)
    for i, weights in enumerate(layer_weights(model, dense)):
        state = cell.gru_step(output, states[i], weights, act, official)
        output = state if dropout is None else dropout(state, i)
        new_states.append(output if official else state)
    return output, tuple(new_states)


def score_vectors(model, vectors):
    """[..., H] as they enter a score: of length 1 for --score cosine, else unchanged (`similarity.unit` in the graph)."""
    if model.score == "dot":
        return vectors
    return vectors * tf.rsqrt(tf.reduce_sum(tf.square(vectors), -1, keepdims=True) + similarity.EPSILON)


def zero_where(zero_b, states):
    """States [B, H] with the lanes zeroed where `zero_b` [B] is true, such as those in which a session starts."""
    keep_b1 = 1.0 - tf.cast(zero_b, states[0].dtype)[:, None]
    return tuple(state * keep_b1 for state in states)


def train_step(model, training, dense, rows, batch, columns, states, dropout, scale=None):
    """Loss, gradients and carried states of one step; back-propagation stops at the incoming states.

    Args:
      model: config.ModelConfig. training: config.TrainConfig.
      dense: sequence of weights, order of `engine.state.dense_shapes`.
      rows: per table the rows [n, D] of `Lookup.index`: inputs [B, E] and columns [M, H + 1], bias last, or one tensor
        [B + M, H + 1] of both where they share a table.
      batch: Batch. columns: losses.Columns. states: per layer [B, H], before the reset.
      dropout: function (tensor, EMBED or layer) -> tensor.
      scale: None, or float scalar: gradients are of `scale * loss` (the loss itself is not scaled).
    Returns: Step.
    """
    # A drained lane keeps stepping on item 0; held at zero, its state cannot grow (relu) and spoil 0 * loss.
    idle_b = tf.logical_or(batch.reset_b, tf.equal(batch.weight_b, 0.0))
    states = tuple(tf.stop_gradient(s) for s in zero_where(idle_b, states))
    x_be, columns_md = rows if len(rows) == 2 else _inputs_and_columns(rows[0], batch.x_b.shape.as_list()[0])
    output_bh, new_states = advance(model, dense, x_be, states, dropout)
    scores_bm = output_scores(model, output_bh, columns_md)
    loss = losses.total(model, training, scores_bm, batch.weight_b, columns)
    gradients = tf.gradients(loss, list(dense) + list(rows), None if scale is None else [scale])
    return Step(loss, new_states, tuple(gradients[:len(dense)]), tuple(gradients[len(dense):]))


def _inputs_and_columns(rows_nd, lanes):
    """Rows of a shared table -> (inputs [B, H], without the bias; columns [M, H + 1])."""
    n, width = rows_nd.shape.as_list()
    inputs_bd, columns_md = tf.split(rows_nd, [lanes, n - lanes], 0)
    return tf.split(inputs_bd, [width - 1, 1], 1)[0], columns_md


def output_scores(model, output_bh, rows_md):
    """[B, M] scores of M rows [M, H + 1], the bias being the last column; see `similarity`."""
    hidden = output_bh.shape.as_list()[1]
    weights_mh, bias_m1 = tf.split(rows_md, [hidden, 1], 1)
    if model.score == "cosine":
        output_bh, weights_mh = model.score_scale * score_vectors(model, output_bh), score_vectors(model, weights_mh)
    return tf.matmul(output_bh, weights_mh, transpose_b=True) + bias_m1[:, 0]

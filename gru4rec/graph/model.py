"""The one definition of a training step and of an inference step; every engine runs these."""

from typing import Any, NamedTuple, Tuple

import numpy as np

from gru4rec.graph import activations, cell, losses, optimizers
from gru4rec.model import similarity
from gru4rec.parallel.workers import ALONE
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
    dense: Tuple[Any, ...]  # gradient per dense weight, order of `model.state.dense_shapes`
    rows: Tuple[Any, ...]  # gradient per table, for each row it was taken of (duplicates not summed)


class Part(NamedTuple):
    """Rows of a table one below the other: `size` of each rank in rank order, or `size` that all ranks share."""

    size: int
    shared: bool


class Lookup(NamedTuple):
    """The rows one step reads, of all ranks, and what the columns of this rank's scores are."""

    index: Tuple[Any, ...]  # per table [n] int32, rows that take part: (inputs, outputs), or both where they share a table
    columns: Any  # losses.Columns
    parts: Tuple[Tuple[Part, ...], ...]  # per table, what `index` is made of


EMBED = "embed"  # names the input rows where a dropout function asks for a layer


def lookup(model, training, batch, samples_n=None, log_support_of=None, ranks=ALONE, own_samples=False):
    """Which rows a step reads.

    Args:
      model: config.ModelConfig. training: config.TrainConfig.
      batch: Batch of all ranks, lanes in rank order.
      samples_n: [N] int32 drawn negatives, or None for none; for --loss full-cross-entropy all items, 0..I-1.
      log_support_of: function (index [m]) -> [m] float ln(support); needed with --logq.
      ranks: parallel.workers.Workers of those who train together.
      own_samples: whether each rank has drawn negatives of its own; `samples_n` then holds those of all.
    Returns: Lookup. Columns are targets (of this rank; with --global_negatives of all), then the samples; in
      full-cross-entropy the samples alone.
    """
    lanes = batch.x_b.shape.as_list()[0] // ranks.size
    if optimizers.moves_without_gradient(training):
        # A drained lane's gradient is 0, but naming a row would move it: it names the rows of a lane that is live.
        live_lane = tf.argmax(batch.weight_b, output_type=tf.int32)
        drained_b = tf.equal(batch.weight_b, 0.0)
        batch = batch._replace(**{name: tf.where(drained_b, tf.fill(items.shape, items[live_lane]), items)
                                  for name, items in (("x_b", batch.x_b), ("y_b", batch.y_b))})
    full, everyone = model.loss == "full-cross-entropy", training.global_negatives and ranks.size > 1
    own_y, own_weight = [t if everyone else own_part(t, lanes, ranks) for t in (batch.y_b, batch.weight_b)]
    samples, sample_part = (), ()
    if samples_n is not None:
        count = samples_n.shape.as_list()[0] // (ranks.size if own_samples else 1)
        samples = (own_part(samples_n, count, ranks) if own_samples else samples_n,)
        sample_part = (Part(count, not own_samples),)
    column_m = samples[0] if full else tf.concat((own_y,) + samples, 0) if samples else own_y
    if samples:
        ones_n = tf.ones(samples[0].shape, batch.weight_b.dtype)
        live_m = ones_n if full else tf.concat([own_weight, ones_n], 0)
    else:
        live_m = own_weight
    live, shift_m, own_b = live_m, None, None
    if full:
        own_b = own_part(batch.y_b, lanes, ranks)
    elif everyone:
        own_b = tf.range(ranks.rank * lanes, (ranks.rank + 1) * lanes)
    if training.mask_hits:
        target_b = own_part(batch.y_b, lanes, ranks)
        width = column_m.shape.as_list()[0]
        own = tf.eye(lanes, width, dtype=live_m.dtype) if own_b is None else tf.one_hot(own_b, width, dtype=live_m.dtype)
        hit = tf.cast(tf.equal(target_b[:, None], column_m[None, :]), live_m.dtype)
        live = live_m * (1.0 - hit * (1.0 - own))
    if training.logq:
        in_batch = own_y.shape.as_list()[0]
        exponents = np.full(column_m.shape.as_list()[0], training.logq * training.sample_alpha)
        exponents[:in_batch] = training.logq
        shift_m = log_support_of(column_m) * tf.constant(exponents, live_m.dtype)
    columns = losses.Columns(live, own_b, shift_m)
    targets, target_part = ((), ()) if full else ((batch.y_b,), (_targets(lanes, ranks, everyone),))
    inputs, outputs = (Part(lanes, False),), target_part + sample_part
    column_all = targets + (() if samples_n is None else (samples_n,))
    if model.embedding == "shared":
        return Lookup((tf.concat((batch.x_b,) + column_all, 0),), columns, (inputs + outputs,))
    column_all = column_all[0] if len(column_all) == 1 else tf.concat(column_all, 0)
    return Lookup((batch.x_b, column_all), columns, (inputs, outputs))


def _targets(lanes, ranks, everyone):
    """Part of the targets; each rank's gradient is of all where they are everyone's negatives."""
    return Part(lanes * ranks.size, True) if everyone else Part(lanes, False)


def own_part(tensor, size, ranks):
    """This rank's `size` rows of what has those of all ranks."""
    return tensor if ranks.size == 1 else tensor[ranks.rank * size:(ranks.rank + 1) * size]


def layer_weights(model, dense):
    """Flat sequence of dense weights -> one cell.GRUWeights per layer."""
    return [cell.GRUWeights(*dense[4 * i:4 * i + 4]) for i in range(model.layer)]


def advance(model, dense, x_be, states, dropout=None):
    """Run the stacked cells once.

    Args:
      dense: sequence of weights in the order of `model.state.dense_shapes`.
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
      dense: sequence of weights, order of `model.state.dense_shapes`.
      rows: per table the rows [n, D] of `Lookup.index` that are this rank's (`across.own_rows`): inputs [B, E] and columns
        [M, H + 1], bias last, or one tensor [B + M, H + 1] of both where they share a table.
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

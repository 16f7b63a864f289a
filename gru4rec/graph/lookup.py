"""Which rows a training step reads, of which tables, and what the columns of its scores are."""

from typing import Any, NamedTuple, Tuple

import numpy as np

from gru4rec.graph import losses, optimizers
from gru4rec.parallel.workers import ALONE
from gru4rec.tf_compat import tf


class Part(NamedTuple):
    """Rows of a table one below the other: `size` of each rank in rank order, or `size` that all
    ranks share.
    """

    size: int
    shared: bool


class Lookup(NamedTuple):
    """The rows one step reads, of all ranks, and what the columns of this rank's scores are."""

    # per table [n] int32, rows that take part: (inputs, outputs), or both where they share a table
    index: Tuple[Any, ...]
    columns: Any  # losses.Columns
    parts: Tuple[Tuple[Part, ...], ...]  # per table, what `index` is made of


def lookup(model, training, batch, samples_n=None, log_support_of=None, workers=ALONE,
           own_samples=False):
    """Which rows a step reads.

    Args:
      model: config.ModelConfig. training: config.TrainConfig.
      batch: Batch of all ranks, lanes in rank order.
      samples_n: [N] int32 drawn negatives, or None for none; for --loss full-cross-entropy all
      items, 0..I-1.
      log_support_of: function (index [m]) -> [m] float ln(support); needed with --logq.
      workers: parallel.workers.Workers of those who train together.
      own_samples: whether each rank has drawn negatives of its own; `samples_n` then holds those of
      all.
    Returns: Lookup. Columns are targets (of this rank; with --global_negatives of all), then the
    samples; in
      full-cross-entropy the samples alone.
    """
    lanes = batch.x_b.shape.as_list()[0] // workers.size
    if optimizers.moves_without_gradient(training):
        # A drained lane's gradient is 0, but naming a row would move it: it names the rows of a
        # lane that is live.
        live_lane = tf.argmax(batch.weight_b, output_type=tf.int32)
        drained_b = tf.equal(batch.weight_b, 0.0)
        batch = batch._replace(**{name: tf.where(drained_b, tf.fill(items.shape, items[live_lane]),
                                                 items)
                                  for name, items in (("x_b", batch.x_b), ("y_b", batch.y_b))})
    full, everyone = model.loss == "full-cross-entropy", training.global_negatives and workers.size > 1
    own_y, own_weight = [t if everyone else own_part(t, lanes, workers)
                         for t in (batch.y_b, batch.weight_b)]
    samples, sample_part = (), ()
    if samples_n is not None:
        count = samples_n.shape.as_list()[0] // (workers.size if own_samples else 1)
        samples = (own_part(samples_n, count, workers) if own_samples else samples_n,)
        sample_part = (Part(count, not own_samples),)
    column_m = samples[0] if full else tf.concat((own_y,) + samples, 0) if samples else own_y
    if samples:
        ones_n = tf.ones(samples[0].shape, batch.weight_b.dtype)
        live_m = ones_n if full else tf.concat([own_weight, ones_n], 0)
    else:
        live_m = own_weight
    live, shift_m, own_b = live_m, None, None
    if full:
        own_b = own_part(batch.y_b, lanes, workers)
    elif everyone:
        own_b = tf.range(workers.rank * lanes, (workers.rank + 1) * lanes)
    if training.mask_hits:
        target_b = own_part(batch.y_b, lanes, workers)
        width = column_m.shape.as_list()[0]
        own = tf.eye(lanes, width,
                     dtype=live_m.dtype) if own_b is None else tf.one_hot(own_b, width,
                                                                          dtype=live_m.dtype)
        hit = tf.cast(tf.equal(target_b[:, None], column_m[None, :]), live_m.dtype)
        live = live_m * (1.0 - hit * (1.0 - own))
    if training.logq:
        in_batch = own_y.shape.as_list()[0]
        exponents = np.full(column_m.shape.as_list()[0], training.logq * training.sample_alpha)
        exponents[:in_batch] = training.logq
        shift_m = log_support_of(column_m) * tf.constant(exponents, live_m.dtype)
    columns = losses.Columns(live, own_b, shift_m)
    targets, target_part = ((), ()) if full else ((batch.y_b,), (_targets(lanes, workers, everyone),))
    inputs, outputs = (Part(lanes, False),), target_part + sample_part
    column_all = targets + (() if samples_n is None else (samples_n,))
    if model.embedding == "shared":
        return Lookup((tf.concat((batch.x_b,) + column_all, 0),), columns, (inputs + outputs,))
    column_all = column_all[0] if len(column_all) == 1 else tf.concat(column_all, 0)
    return Lookup((batch.x_b, column_all), columns, (inputs, outputs))


def _targets(lanes, workers, everyone):
    """Part of the targets; each rank's gradient is of all where they are everyone's negatives."""
    return Part(lanes * workers.size, True) if everyone else Part(lanes, False)


def own_part(tensor, size, workers):
    """This rank's `size` rows of what has those of all ranks."""
    return tensor if workers.size == 1 else tensor[workers.rank * size:(workers.rank + 1) * size]

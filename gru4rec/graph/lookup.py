"""Which rows a training step reads, from which tables, and what the columns of its scores are.

With W workers the lists hold, one below the other, what all of them need, in the order of the
workers. `_Layout` says how they are put together; one function builds each part of a `Lookup`.
"""

from typing import Any, NamedTuple, Tuple

import numpy as np

from gru4rec.graph import losses, optimizers
from gru4rec.parallel.workers import ALONE, Workers
from gru4rec.tf_compat import tf


class Part(NamedTuple):
    """A piece of a list of rows: `size` rows of each worker, or `size` rows that all share."""

    size: int
    shared: bool


class Lookup(NamedTuple):
    """The rows that one step reads for all workers, and the score columns of this worker."""

    # per table [n] int32, the rows to read: (inputs, outputs), or one list where both share a table
    index: Tuple[Any, ...]
    columns: Any  # losses.Columns
    parts: Tuple[Tuple[Part, ...], ...]  # per table, the pieces that `index` is made of


class _Layout(NamedTuple):
    """What the builders below need to know of a step."""

    workers: Workers
    lanes: int  # of one worker
    num_samples: int  # drawn negatives of one worker
    own_samples: bool  # whether each worker draws its own
    all_items: bool  # the columns are all items, with --loss full-cross-entropy
    all_targets: bool  # the columns hold the targets of all workers, with --global_negatives

    def own(self, values):
        """This worker's lanes of [W * B] values."""
        return own_part(values, self.lanes, self.workers)

    def targets(self, values):
        """Of [W * B] values, one per target, those whose targets are columns of this worker."""
        return values if self.all_targets else self.own(values)


def lookup(model, training, batch, samples_n=None, log_support_of=None, workers=ALONE,
           own_samples=False):
    """Which rows a step reads.

    Args:
      model: config.ModelConfig. training: config.TrainConfig.
      batch: step.Batch of the lanes of all workers.
      samples_n: [N] int32 drawn negatives, or None for none; for --loss full-cross-entropy all
        items, 0..I-1.
      log_support_of: function (index [m]) -> [m] float ln(support); needed with --logq.
      workers: parallel.workers.Workers that train together.
      own_samples: whether each worker has drawn its own negatives; `samples_n` then holds those of
        all.
    Returns: Lookup. Its columns are the targets (of this worker; with --global_negatives of all),
      then the samples; in full-cross-entropy the samples alone.
    """
    num_samples = 0
    if samples_n is not None:
        num_samples = samples_n.shape.as_list()[0]
        if own_samples:
            num_samples //= workers.size
    layout = _Layout(workers, batch.x_b.shape.as_list()[0] // workers.size, num_samples,
                     own_samples, model.loss == "full-cross-entropy",
                     bool(training.global_negatives) and workers.size > 1)
    batch = _lanes(training, batch)
    items_m, live_m = _columns(layout, batch, samples_n)
    own_b = _own_columns(layout, batch)
    live, shift_m = live_m, None
    if training.mask_hits:
        live = _without_hits(layout, batch, items_m, live_m, own_b)
    if training.logq:
        shift_m = _logq(layout, training, log_support_of(items_m))
    index, parts = _rows(model, layout, batch, samples_n)
    return Lookup(index, losses.Columns(live, own_b, shift_m), parts)


def _lanes(training, batch):
    """The batch as the rows are read: where reading a row moves it, a drained lane reads no own.

    The gradient of a drained lane is 0, but some optimizers move every row that a step names. So
    a drained lane names the rows of a lane that is live.
    """
    if not optimizers.moves_without_gradient(training):
        return batch
    live_lane = tf.argmax(batch.weight_b, output_type=tf.int32)
    drained_b = tf.equal(batch.weight_b, 0.0)

    def of_live_lanes(items_b):
        return tf.where(drained_b, tf.fill(items_b.shape, items_b[live_lane]), items_b)

    return batch._replace(x_b=of_live_lanes(batch.x_b), y_b=of_live_lanes(batch.y_b))


def _columns(layout, batch, samples_n):
    """(items [M] int32, live [M] float) of the columns of this worker's scores."""
    items, live = [], []
    if not layout.all_items:
        items.append(layout.targets(batch.y_b))
        live.append(layout.targets(batch.weight_b))
    if samples_n is not None:
        if layout.own_samples:
            samples_n = own_part(samples_n, layout.num_samples, layout.workers)
        items.append(samples_n)
        live.append(tf.ones(samples_n.shape, batch.weight_b.dtype))
    return _joined(items), _joined(live)


def _own_columns(layout, batch):
    """[B] int32, the column of each lane's target; None where it is column i for lane i."""
    if layout.all_items:
        return layout.own(batch.y_b)
    if layout.all_targets:
        rank, lanes = layout.workers.rank, layout.lanes
        return tf.range(rank * lanes, (rank + 1) * lanes)
    return None


def _without_hits(layout, batch, items_m, live_m, own_b):
    """[B, M] live columns of each lane, without those that hold its target once more."""
    target_b = layout.own(batch.y_b)
    own = losses.own_mask(own_b, layout.lanes, items_m.shape.as_list()[0], live_m.dtype)
    hit = tf.cast(tf.equal(target_b[:, None], items_m[None, :]), live_m.dtype)
    return live_m * (1.0 - hit * (1.0 - own))


def _logq(layout, training, log_support_m):
    """[M] float taken off the scores: q ln(support) of targets, q alpha ln(support) of samples."""
    num_columns = log_support_m.shape.as_list()[0]
    exponents = np.full(num_columns, training.logq * training.sample_alpha)
    exponents[:num_columns - layout.num_samples] = training.logq
    return log_support_m * tf.constant(exponents, log_support_m.dtype)


def _rows(model, layout, batch, samples_n):
    """(`Lookup.index`, `Lookup.parts`): inputs, then targets, then samples."""
    inputs = Part(layout.lanes, False)
    outputs, output_parts = [], []
    if not layout.all_items:
        outputs.append(batch.y_b)
        # where all targets are columns of a worker, its gradient is of all of them
        size = batch.y_b.shape.as_list()[0] if layout.all_targets else layout.lanes
        output_parts.append(Part(size, layout.all_targets))
    if samples_n is not None:
        outputs.append(samples_n)
        output_parts.append(Part(layout.num_samples, not layout.own_samples))
    if model.embedding == "shared":
        return (_joined([batch.x_b] + outputs),), ((inputs,) + tuple(output_parts),)
    return (batch.x_b, _joined(outputs)), ((inputs,), tuple(output_parts))


def own_part(tensor, size, workers):
    """This worker's `size` rows of a tensor that holds those of all workers."""
    if workers.size == 1:
        return tensor
    return tensor[workers.rank * size:(workers.rank + 1) * size]


def _joined(tensors):
    return tensors[0] if len(tensors) == 1 else tf.concat(tensors, 0)

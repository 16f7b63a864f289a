"""Combine the gradients of workers that train together; no other module does this.

Every worker holds the whole model and its own lanes. The loss of a worker is the mean over its
lanes, and the loss of the step is the mean over the workers: exactly the loss of one process with
all lanes. Two kinds of gradients travel:

    summed    of dense weights, and of rows that all workers read (drawn negatives)
    gathered  of all other rows: one list below the other in the order of the workers, with
              duplicates, as one process would have them

From there on every worker makes the same update, so the copies of the model stay equal bit for bit.
"""

from typing import Any, NamedTuple, Tuple

import numpy as np

from gru4rec.graph import lookup as lookup_module
from gru4rec.graph import step as net
from gru4rec.tf_compat import tf


def all_lanes(communicator, x, y, weight):
    """Lanes of all workers: (x, y, weight), the last axis in the order of the workers.

    Args:
      x, y: int32 [..., B]. weight: bool [..., B].
    Returns: int32, int32, bool [..., W * B].
    """
    if communicator.workers.size == 1:
        return x, y, weight
    # [W, 3, ..., B]
    packed = communicator.all_gather(tf.stack([x, y, tf.cast(weight, tf.int32)], 0)[None])
    axes = list(range(len(packed.shape)))
    packed = tf.transpose(packed, axes[1:-1] + [0, axes[-1]])  # [3, ..., W, B]
    shape = packed.shape.as_list()
    packed = tf.reshape(packed, shape[:-2] + [shape[-2] * shape[-1]])
    return packed[0], packed[1], tf.not_equal(packed[2], 0)


def own_rows(workers, lookup, rows):
    """Of the rows a step reads, per table, those that this worker's loss depends on."""
    if workers.size == 1:
        return rows
    out = []
    for parts, rows_nd in zip(lookup.parts, rows):
        sizes = [part.size if part.shared else part.size * workers.size for part in parts]
        own = []
        for part, piece in zip(parts, tf.split(rows_nd, sizes, 0)):
            if not part.shared:
                piece = lookup_module.own_part(piece, part.size, workers)
            own.append(piece)
        out.append(own[0] if len(own) == 1 else tf.concat(own, 0))
    return out


class Message(NamedTuple):
    """A step.Step on its way between the workers."""

    summed_n: Any  # loss, dense gradients and those of rows that all workers read, flat
    gathered_1n: Any  # gradients of other rows, flat
    states: Tuple[Any, ...]  # not sent


def packed(workers, step, lookup):
    """The Message of this worker.

    Args:
      step: its step.Step, whose gradients are of its `own_rows`. lookup: lookup.Lookup.
    """
    share = 1.0 / workers.size
    summed, gathered = [step.loss] + list(step.dense), []
    for parts, rows_nd in zip(lookup.parts, step.rows):
        for part, piece in zip(parts, tf.split(rows_nd, [part.size for part in parts], 0)):
            pieces = summed if part.shared else gathered
            pieces.append(piece)
    return Message(_flat(summed) * share, _flat(gathered)[None] * share, step.states)


def exchanged(communicator, message):
    """The Message of all workers (`gathered` is then [W, n]): here alone gradients meet."""
    if communicator.workers.size == 1:
        return message
    return message._replace(summed_n=communicator.all_reduce(message.summed_n),
                            gathered_1n=communicator.all_gather(message.gathered_1n))


def unpacked(workers, message, weights, lookup):
    """The step.Step of all workers: mean of their losses, its gradient for all of `lookup.index`.

    Args:
      message: Message of `exchanged`. lookup: lookup.Lookup.
      weights: step.Weights of this worker, whose shapes its gradients have.
    """
    summed_shapes = [[]] + [weight.shape.as_list() for weight in weights.dense]
    gathered_shapes = []
    for parts, rows_nd in zip(lookup.parts, weights.rows):
        width = rows_nd.shape.as_list()[1]
        for part in parts:
            if part.shared:
                summed_shapes.append([part.size, width])
            else:
                gathered_shapes.append([workers.size * part.size, width])
    summed = _pieces(message.summed_n, summed_shapes)
    num_first = 1 + len(weights.dense)
    shared_rows = iter(summed[num_first:])
    other_rows = iter(_pieces(message.gathered_1n, gathered_shapes, workers.size))
    rows = [tf.concat([next(shared_rows if part.shared else other_rows) for part in parts], 0)
            for parts in lookup.parts]
    return net.Step(summed[0], message.states, tuple(summed[1:num_first]), tuple(rows))


def combined(communicator, step, weights, lookup):
    """From the step of this worker to that of all; the step itself for one process alone."""
    workers = communicator.workers
    if workers.size == 1:
        return step
    message = exchanged(communicator, packed(workers, step, lookup))
    return unpacked(workers, message, weights, lookup)


def _flat(tensors):
    return tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], 0)


def _pieces(flat, shapes, rows=1):
    """Tensors of these shapes out of `flat`, which holds one after the other.

    Args:
      flat: [n], or [rows, n] where each row holds a share of each tensor.
    """
    sizes = [int(np.prod(shape, dtype=np.int64)) // rows for shape in shapes]
    return [tf.reshape(piece, shape) for piece, shape in zip(tf.split(flat, sizes, -1), shapes)]

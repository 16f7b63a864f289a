"""A step of several ranks that train together: what each must know of the others, and the one place
where gradients meet.

Every rank holds the whole model and its own lanes. A rank's loss is the mean over its lanes, and
the step's that over the ranks: exactly the loss of one process with all lanes. Gradients of dense
weights, and of rows that all ranks read
(drawn negatives), are summed; those of other rows are laid one below the other in rank order, with
duplicates, as one process would have them. From there on every rank makes the same update, so
replicas stay equal bit for bit.
"""

from typing import Any, NamedTuple, Tuple

import numpy as np

from gru4rec.graph import lookup as lookup_module
from gru4rec.graph import step as net
from gru4rec.tf_compat import tf


def everyone(communicator, x, y, weight):
    """Lanes of all ranks: (x, y, weight), the last axis in rank order.

    Args:
      x, y: int32 [..., B]. weight: bool [..., B].
    Returns: int32, int32, bool [..., W * B].
    """
    workers = communicator.workers
    if workers.size == 1:
        return x, y, weight
    # [W, 3, ..., B]
    packed = communicator.all_gather(tf.stack([x, y, tf.cast(weight, tf.int32)], 0)[None])
    places = list(range(len(packed.shape)))
    packed = tf.transpose(packed, places[1:-1] + [0, places[-1]])  # [3, ..., W, B]
    shape = packed.shape.as_list()
    packed = tf.reshape(packed, shape[:-2] + [shape[-2] * shape[-1]])
    return packed[0], packed[1], tf.not_equal(packed[2], 0)


def own_rows(workers, lookup, rows):
    """Of the rows a step reads, per table, those that this rank's loss is made of."""
    if workers.size == 1:
        return rows
    out = []
    for parts, rows_nd in zip(lookup.parts, rows):
        pieces = tf.split(rows_nd, [_length(part, workers) for part in parts], 0)
        own = [piece if part.shared else lookup_module.own_part(piece, part.size, workers) for part,
               piece in zip(parts, pieces)]
        out.append(own[0] if len(own) == 1 else tf.concat(own, 0))
    return out


class Message(NamedTuple):
    """A net.Step on its way between the ranks."""

    summed_n: Any  # loss, dense gradients and those of rows that all ranks read, flat
    below_1n: Any  # gradients of other rows, flat
    states: Tuple[Any, ...]  # stay at home


def packed(workers, step, lookup):
    """Message of this rank; step: its net.Step, whose gradients are of its `own_rows`. lookup:
    net.Lookup.
    """
    share = 1.0 / workers.size
    beside, below = [step.loss] + list(step.dense), []
    for parts, rows_nd in zip(lookup.parts, step.rows):
        for part, piece in zip(parts, tf.split(rows_nd, [part.size for part in parts], 0)):
            (beside if part.shared else below).append(piece)
    return Message(_flat(beside) * share, _flat(below)[None] * share, step.states)


def exchanged(communicator, message):
    """Message of all ranks (its second part [W, n]); this is the only place where gradients meet.
    """
    if communicator.workers.size == 1:
        return message
    return message._replace(summed_n=communicator.all_reduce(message.summed_n),
                            below_1n=communicator.all_gather(message.below_1n))


def unpacked(workers, message, dense, own_rows, lookup):
    """net.Step of all ranks: the mean of their losses, and its gradient for every row of
    `lookup.index`.

    Args:
      message: Message of `exchanged`. dense, own_rows: tensors of the shapes the gradients have.
      lookup: net.Lookup.
    """
    parts = [[(part, [part.size, rows_nd.shape.as_list()[1]]) for part in several]
             for several, rows_nd in zip(lookup.parts, own_rows)]
    flat = [pair for several in parts for pair in several]
    summed = _pieces(message.summed_n,
                     [[]] + [g.shape.as_list() for g in dense]
                     + [s for part, s in flat if part.shared])
    beside = iter(summed[1 + len(dense):])
    below = iter(_pieces(message.below_1n, [[workers.size * n, d] for part,
                                            (n, d) in flat if not part.shared], workers.size))
    rows = [tf.concat([next(beside) if part.shared else next(below) for part, _ in several], 0)
            for several in parts]
    return net.Step(summed[0], message.states, tuple(summed[1:1 + len(dense)]), tuple(rows))


def combined(communicator, step, dense, own_rows, lookup):
    """The way from `packed` to `unpacked`; the step itself for one process alone."""
    if communicator.workers.size == 1:
        return step
    message = exchanged(communicator, packed(communicator.workers, step, lookup))
    return unpacked(communicator.workers, message, dense, own_rows, lookup)


def _length(part, workers):
    return part.size if part.shared else part.size * workers.size


def _flat(tensors):
    return tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], 0)


def _pieces(flat, shapes, rows=1):
    """Tensors of these shapes, of which `flat` [n] holds one after the other, or [rows, n] a share
    of each in each row.
    """
    sizes = [int(np.prod(shape, dtype=np.int64)) // rows for shape in shapes]
    return [tf.reshape(piece, shape) for piece, shape in zip(tf.split(flat, sizes, -1), shapes)]

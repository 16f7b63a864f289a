"""A step of several ranks that train together: what each must know of the others, and the one place where gradients meet.

Every rank holds the whole model and its own lanes. A rank's loss is the mean over its lanes, and the step's that over
the ranks: exactly the loss of one process with all lanes. Gradients of dense weights, and of rows that all ranks read
(drawn negatives), are summed; those of other rows are laid one below the other in rank order, with duplicates, as one
process would have them. From there on every rank makes the same update, so replicas stay equal bit for bit.
"""

import numpy as np

from gru4rec.graph import model as net
from gru4rec.tf_compat import tf


def everyone(communicator, x, y, weight):
    """Lanes of all ranks: (x, y, weight), the last axis in rank order.

    Args:
      x, y: int32 [..., B]. weight: bool [..., B].
    Returns: int32, int32, bool [..., W * B].
    """
    ranks = communicator.ranks
    if ranks.size == 1:
        return x, y, weight
    packed = communicator.all_gather(tf.stack([x, y, tf.cast(weight, tf.int32)], 0)[None])  # [W, 3, ..., B]
    places = list(range(len(packed.shape)))
    packed = tf.transpose(packed, places[1:-1] + [0, places[-1]])  # [3, ..., W, B]
    shape = packed.shape.as_list()
    packed = tf.reshape(packed, shape[:-2] + [shape[-2] * shape[-1]])
    return packed[0], packed[1], tf.not_equal(packed[2], 0)


def own_rows(ranks, lookup, rows):
    """Of the rows a step reads, per table, those that this rank's loss is made of."""
    if ranks.size == 1:
        return rows
    out = []
    for parts, rows_nd in zip(lookup.parts, rows):
        pieces = tf.split(rows_nd, [_length(part, ranks) for part in parts], 0)
        own = [piece if part.shared else net.own_part(piece, part.size, ranks) for part, piece in zip(parts, pieces)]
        out.append(own[0] if len(own) == 1 else tf.concat(own, 0))
    return out


def combined(communicator, step, lookup):
    """net.Step of all ranks: the mean of their losses, and its gradient for every row of `lookup.index`.

    Args:
      step: net.Step of this rank, whose gradients are of its `own_rows`. lookup: net.Lookup.
    """
    ranks = communicator.ranks
    if ranks.size == 1:
        return step
    pieces = [tf.split(rows_nd, [part.size for part in parts], 0) for parts, rows_nd in zip(lookup.parts, step.rows)]
    of_parts = [(part, piece) for parts, several in zip(lookup.parts, pieces) for part, piece in zip(parts, several)]
    share = 1.0 / ranks.size
    summed = _summed(communicator, [step.loss] + list(step.dense) + [piece for part, piece in of_parts if part.shared])
    summed = [tensor * share for tensor in summed]
    beside = iter(summed[1 + len(step.dense):])
    below = iter(_gathered(communicator, [piece * share for part, piece in of_parts if not part.shared]))
    rows = [tf.concat([next(beside) if part.shared else next(below) for part in parts], 0) for parts in lookup.parts]
    return step._replace(loss=summed[0], dense=tuple(summed[1:1 + len(step.dense)]), rows=tuple(rows))


def _length(part, ranks):
    return part.size if part.shared else part.size * ranks.size


def _summed(communicator, tensors):
    """Sums over the ranks, by one message."""
    flat = communicator.all_reduce(tf.concat([tf.reshape(t, [-1]) for t in tensors], 0))
    sizes = [int(np.prod(t.shape.as_list(), dtype=np.int64)) for t in tensors]
    return [tf.reshape(piece, t.shape) for piece, t in zip(tf.split(flat, sizes), tensors)]


def _gathered(communicator, tensors):
    """[n, D] of each rank -> [W * n, D] in rank order, by one message."""
    flat = communicator.all_gather(tf.concat([tf.reshape(t, [1, -1]) for t in tensors], 1))
    sizes = [int(np.prod(t.shape.as_list())) for t in tensors]
    return [tf.reshape(piece, [-1, t.shape.as_list()[1]]) for piece, t in zip(tf.split(flat, sizes, 1), tensors)]

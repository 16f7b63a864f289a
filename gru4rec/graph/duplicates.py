"""Sums over the occurrences of the same row in one step: static shapes, the same order of summation
on every run.
"""

from gru4rec.tf_compat import tf

PAIRS = 256  # indices up to which the matrix of equal pairs is cheaper than a table of slots


def of(index_n, scratch):
    """The duplicates of an index.

    Args:
      index_n: [n] int32.
      scratch: int32 variable [I] whose values nobody reads but this function, for this index alone;
      used above PAIRS.
    Returns: object with `sum(values_nd)` -> [n, D], for each occurrence the sum over all of the
    same index, and
      `first(dtype)` -> [n], 1 at one occurrence of each index, 0 at its repeats.
    """
    return _Pairs(index_n) if index_n.shape.as_list()[0] <= PAIRS else _Slots(index_n, scratch)


class _Pairs:
    """One product with the matrix of equal pairs."""

    def __init__(self, index_n):
        self._same = tf.equal(index_n[:, None], index_n[None, :])

    def sum(self, values_nd):
        return tf.matmul(tf.cast(self._same, values_nd.dtype), values_nd)

    def first(self, dtype):
        position = tf.range(self._same.shape.as_list()[0])
        earlier = tf.logical_and(self._same, position[None, :] < position[:, None])
        return 1.0 - tf.reduce_max(tf.cast(earlier, dtype), 1)


class _Slots:
    """Each occurrence writes its position into the row of its index; whichever stays there collects
    the sum.
    """

    def __init__(self, index_n, scratch):
        self._n = index_n.shape.as_list()[0]
        write = tf.scatter_update(scratch, index_n, tf.range(self._n))
        with tf.control_dependencies([_op(write)]):
            self._slot_n = tf.gather(scratch, index_n)

    def sum(self, values_nd):
        return tf.gather(tf.math.unsorted_segment_sum(values_nd, self._slot_n, self._n),
                         self._slot_n)

    def first(self, dtype):
        return tf.cast(tf.equal(self._slot_n, tf.range(self._n)), dtype)


def _op(update):
    """The operation of a scatter, whatever kind of variable it wrote."""
    return update.op if hasattr(update, "op") else update

"""Sums the gradients of a row that occurs several times in one step.

Shapes are static, and the order of summation is the same on every run.
"""

from gru4rec.tf_compat import tf

PAIRS = 256  # up to so many indices the matrix of equal pairs is cheaper than a table of slots


def of(index_n, scratch):
    """The duplicates of an index.

    Args:
      index_n: [n] int32.
      scratch: int32 variable [I] whose values are used here alone, for this index alone; needed
        for more than PAIRS indices.
    Returns: object with `sum(values_nd)` -> [n, D], for each occurrence the sum over all of the
      same index, and `first(dtype)` -> [n], 1 at one occurrence of each index, 0 at its repeats.
    """
    if index_n.shape.as_list()[0] <= PAIRS:
        return _Pairs(index_n)
    return _Slots(index_n, scratch)


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
    """Each occurrence writes its position into the row of its index; the one that stays is a slot.

    All occurrences of an index read the same slot, which collects their sum.
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

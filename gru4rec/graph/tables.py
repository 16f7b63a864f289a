"""Embedding tables: how a step reads and updates rows, and how a table is stored in variables.

For Adam a row is wide:

    [value (D) | m (D) | v (D) | last (1)]

`last` is an int whose bits are kept in the float column (a float column counts exactly only to
2^24). One gather and one scatter a step serve everything the optimizer needs, and there are no
narrow per-row arrays, which compiled loops handle badly.

Other optimizers need no `last`. There a value and each slot have a variable of their own: steps
with drawn negatives touch thousands of rows, and a compiled loop scatters rows of 101 floats twice
in less than half the time it takes for rows of 202.
"""

import numpy as np

from gru4rec.graph import optimizers
from gru4rec.model import lazy_adam
from gru4rec.tf_compat import tf

_INT_OF = {tf.float32: tf.int32, tf.float64: tf.int64}


class _Graph:
    """The functions `model.lazy_adam.catch_up` needs, on tensors."""

    exp, sqrt = staticmethod(tf.exp), staticmethod(tf.sqrt)
    where = staticmethod(tf.where)
    ones_like, zeros_like = staticmethod(tf.ones_like), staticmethod(tf.zeros_like)
    take = staticmethod(tf.gather)

    @staticmethod
    def cast(value, like):
        return tf.cast(value, like.dtype)

    @staticmethod
    def constant(value, like):
        return tf.constant(value, like.dtype)

    @staticmethod
    def column(vector):
        return vector[:, None]


GRAPH = _Graph()


def pack(values, last=None):
    """Arrays of a table -> those of its variables; inverse of `unpack`.

    Args:
      values: list of [I, D] float: value, then its slots.
      last: [I] int, or None for rows without it.
    Returns: the list itself, or with `last` a list of one array of wide rows in the dtype of the
      first.
    """
    if last is None:
        return list(values)
    dtype = values[0].dtype
    bits = np.asarray(last, _INT_OF[tf.as_dtype(dtype)].as_numpy_dtype).view(dtype)
    return [np.concatenate(list(values) + [bits[:, None]], 1)]


def unpack(packed, has_last):
    """Arrays of a table's variables -> (list of [I, D] values, last [I] int32 or None)."""
    if not has_last:
        return list(packed), None
    wide, = packed
    d = wide.shape[1] // 3
    int_type = _INT_OF[tf.as_dtype(wide.dtype)].as_numpy_dtype
    last = np.ascontiguousarray(wide[:, -1]).view(int_type)
    return [wide[:, i * d:(i + 1) * d] for i in range(3)], last.astype(np.int32)


class Table:
    """How a step reads and updates the rows of one table."""

    def __init__(self, variables, training):
        """variables: made from the arrays of `pack`. training: config.TrainConfig."""
        self._vars, self._training = list(variables), training
        self._lazy = training.optimizer == "adam"

    def read(self, index_n, number, adam):
        """Rows as they are before update `number`.

        Args:
          index_n: [n] int32. number: int32 scalar, 1-based.
          adam: model.lazy_adam.Tables of tensors; used by adam alone, whose rows are caught up.
        Returns: tuple (value, *slots) of [n, D] float.
        """
        if not self._lazy:
            return tuple(tf.gather(var, index_n) for var in self._vars)
        wide = tf.gather(self._vars[0], index_n)
        d = wide.shape.as_list()[1] // 3
        last = tf.cast(tf.bitcast(wide[:, 3 * d], _INT_OF[wide.dtype.base_dtype]), tf.int32)
        values = [wide[:, i * d:(i + 1) * d] for i in range(3)]
        return tuple(lazy_adam.catch_up(GRAPH, adam, *values, last=last, now=number - 1))

    def updated(self, rows, gradient_nd, same, lr, number):
        """New values of the rows of one step, with the gradients of duplicate rows summed.

        Args:
          rows: what `read` gave. gradient_nd: [n, D] float, one per occurrence.
          same: `duplicates.of` the index that was read.
          lr: float scalar. number: as for `read`.
        Returns: tuple of what `write` takes.
        """
        values = optimizers.update(self._training, rows, same.sum(gradient_nd), lr)
        if self._lazy:
            int_type = _INT_OF[rows[0].dtype.base_dtype]
            last = tf.bitcast(tf.fill([rows[0].shape.as_list()[0], 1], tf.cast(number, int_type)),
                              rows[0].dtype)
            values = [tf.concat(list(values) + [last], 1)]
        return tuple(values)

    def write(self, index_n, values):
        """Put the values of `updated` in the table; list of the scatter ops."""
        # Some scatters may come first: what they are made of is read before.
        with tf.control_dependencies(list(values)):
            return [tf.scatter_update(var, index_n, value)
                    for var, value in zip(self._vars, values)]

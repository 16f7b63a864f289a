"""Embedding tables as wide rows: a value, its optimizer slots and, for Adam, the step of the last touch side by side.

A row is [value (D) | slots (D each) | last (1)], `last` an int whose bits are kept in the float column (a float column
counts exactly only to 2^24). One gather and one scatter a step serve everything the optimizer needs, and narrow
per-row arrays, which compiled loops handle badly, do not exist.
"""

import numpy as np

from gru4rec import lazy_adam
from gru4rec.graph import optimizers
from gru4rec.tf_compat import tf

_INT_OF = {tf.float32: tf.int32, tf.float64: tf.int64}


class _Graph:
    """The functions `lazy_adam.catch_up` needs, on tensors."""

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
    """Arrays -> wide rows in the dtype of the first; inverse of `unpack`.

    Args:
      values: list of [I, D] float: value, then its slots. last: [I] int, or None for rows without it.
    """
    columns = list(values)
    if last is not None:
        dtype = columns[0].dtype
        columns.append(np.asarray(last, np.int32 if dtype == np.float32 else np.int64).view(dtype)[:, None])
    return np.concatenate(columns, 1)


def unpack(wide, num_values, has_last):
    """Wide rows -> (list of [I, D] values, last [I] int32 or None)."""
    d = (wide.shape[1] - has_last) // num_values
    last = None
    if has_last:
        bits = np.ascontiguousarray(wide[:, -1]).view(np.int32 if wide.dtype == np.float32 else np.int64)
        last = bits.astype(np.int32)
    return [wide[:, i * d:(i + 1) * d] for i in range(num_values)], last


class Table:
    """How a step reads and updates the wide rows of a variable."""

    def __init__(self, wide_var, training, num_values):
        """wide_var: variable [I, num_values * D (+ 1)]. training: config.TrainConfig. num_values: 1 + slots."""
        self._var, self._training, self._num_values = wide_var, training, num_values
        self._lazy = training.optimizer == "adam"

    def read(self, index_n, number, adam):
        """Rows as they are before update `number`.

        Args:
          index_n: [n] int32. number: int32 scalar, 1-based.
          adam: lazy_adam.Tables of tensors; used by adam alone, whose rows are caught up.
        Returns: tuple (value, *slots) of [n, D] float.
        """
        wide = tf.gather(self._var, index_n)
        width = wide.shape.as_list()[1]
        d = (width - self._lazy) // self._num_values
        values = tuple(wide[:, i * d:(i + 1) * d] for i in range(self._num_values))
        if not self._lazy:
            return values
        last = tf.cast(tf.bitcast(wide[:, width - 1], _INT_OF[wide.dtype.base_dtype]), tf.int32)
        return tuple(lazy_adam.catch_up(GRAPH, adam, *values, last=last, now=number - 1))

    def write(self, index_n, rows, gradient_nd, same, live_n, lr, number):
        """Update the rows of one step. A row that occurs several times gets its gradients summed and is written alike.

        Args:
          rows: what `read` gave for the same index_n and number. gradient_nd: [n, D] float, one per occurrence.
          same: `duplicates.of(index_n)`. live_n: [n] float, 1 where the row is really used. lr: float scalar.
        Returns: the scatter op.
        """
        values = optimizers.update(self._training, rows, same.sum(gradient_nd), lr)
        values = optimizers.keep_untouched(self._training, rows, values, same, live_n)
        columns = list(values)
        if self._lazy:
            int_type = _INT_OF[rows[0].dtype.base_dtype]
            shape = [rows[0].shape.as_list()[0], 1]
            columns.append(tf.bitcast(tf.fill(shape, tf.cast(number, int_type)), rows[0].dtype))
        return tf.scatter_update(self._var, index_n, tf.concat(columns, 1))

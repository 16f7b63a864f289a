"""Embedding tables as wide rows: values, moments and the step of the last touch side by side.

A row is [p (D) | m (D) | v (D) | last (1)], `last` an int whose bits are kept in the float column (a float column
counts exactly only to 2^24). One gather and one scatter a step serve everything the optimizer needs, and narrow
per-row arrays, which compiled loops handle badly, do not exist.
"""

from typing import Any, NamedTuple

import numpy as np

from gru4rec import lazy_adam
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


class Rows(NamedTuple):
    """Rows read for one step, up to date as dense Adam would have them before it."""

    p: Any  # [n, D] float
    m: Any  # [n, D] float
    v: Any  # [n, D] float


def pack(p, m, v, last):
    """Arrays -> wide rows [I, 3D + 1] in the dtype of p; inverse of `unpack`."""
    bits = np.asarray(last, np.int32 if p.dtype == np.float32 else np.int64).view(p.dtype)
    return np.concatenate([p, m, v, bits[:, None]], 1)


def unpack(wide):
    """Wide rows [I, 3D + 1] -> (p, m, v, last [I] int32)."""
    d = (wide.shape[1] - 1) // 3
    last = np.ascontiguousarray(wide[:, 3 * d]).view(np.int32 if wide.dtype == np.float32 else np.int64)
    return wide[:, :d], wide[:, d:2 * d], wide[:, 2 * d:3 * d], last.astype(np.int32)


def read(wide_var, index_n, step, tables):
    """Rows as they are before update `step`.

    Args:
      wide_var: variable [I, 3D + 1]. index_n: [n] int32. step: int32 scalar, 1-based. tables: lazy_adam.Tables.
    Returns: Rows.
    """
    wide = tf.gather(wide_var, index_n)
    d = (wide.shape.as_list()[1] - 1) // 3
    last = tf.cast(tf.bitcast(wide[:, 3 * d], _INT_OF[wide.dtype.base_dtype]), tf.int32)
    return Rows(*lazy_adam.catch_up(GRAPH, tables, wide[:, :d], wide[:, d:2 * d], wide[:, 2 * d:3 * d], last, step - 1))


def write(wide_var, index_n, rows, gradient_nd, step, tables):
    """Update the rows of one step. A row that occurs twice gets its gradients summed and is written twice alike.

    Args:
      rows: what `read` gave for the same index_n and step. gradient_nd: [n, D] float, one per occurrence.
    Returns: the scatter op.
    """
    summed = sum_duplicates(index_n, gradient_nd)
    p, m, v = lazy_adam.update(GRAPH, rows.p, rows.m, rows.v, summed, tf.gather(tables.lr, step))
    n, _ = p.shape.as_list()
    int_type = _INT_OF[p.dtype.base_dtype]
    last = tf.bitcast(tf.fill([n, 1], tf.cast(step, int_type)), p.dtype)
    return tf.scatter_update(wide_var, index_n, tf.concat([p, m, v, last], 1))


def sum_duplicates(index_n, gradient_nd):
    """[n, D]: for each occurrence the sum over all occurrences of the same index.

    One product with the matrix of equal pairs: static shapes, the same order of summation on every run.
    """
    same = tf.cast(tf.equal(index_n[:, None], index_n[None, :]), gradient_nd.dtype)
    return tf.matmul(same, gradient_nd)


def first_of_index(index_n, dtype):
    """[n] 1 where an index occurs for the first time, 0 where it is a repeat."""
    n = index_n.shape.as_list()[0]
    position = tf.range(n)
    earlier = tf.logical_and(tf.equal(index_n[:, None], index_n[None, :]), position[None, :] < position[:, None])
    return 1.0 - tf.reduce_max(tf.cast(earlier, dtype), 1)

"""Negatives drawn in proportion to support ** alpha, by an alias table.

A draw reads one row of the table, whatever the number of items.
"""

import numpy as np

from gru4rec.tf_compat import tf


def alias_table(support, alpha):
    """The table of draws with P(item) ~ support ** alpha.

    A draw chooses a row i uniformly. It gives item i if a uniform number of 31 bits is below the
    row's threshold, else the row's alias.

    Args:
      support: [I] numbers > 0. alpha: float >= 0; 0 draws uniformly.
    Returns: int32 [I, 2]: threshold (of 2**31), alias.
    Source: Walker 1977; Vose 1991.
    """
    weights = np.asarray(support, np.float64) ** alpha
    share = weights * (len(weights) / weights.sum())
    threshold, alias = np.full(len(share), 2 ** 31 - 1, np.int64), np.arange(len(share))
    small, large = np.flatnonzero(share < 1.0).tolist(), np.flatnonzero(share >= 1.0).tolist()
    rest = share.tolist()
    while small and large:
        low, high = small.pop(), large[-1]
        threshold[low], alias[low] = int(rest[low] * 2 ** 31), high
        rest[high] -= 1.0 - rest[low]
        if rest[high] < 1.0:
            small.append(large.pop())
    return np.stack([np.minimum(threshold, 2 ** 31 - 1), alias], 1).astype(np.int32)


def draw(table, word_2n):
    """Items for uniform random words.

    Args:
      table: int32 tensor [I, 2] of `alias_table`.
      word_2n: int32 tensor [2, n], uniform over [0, 2**31).
    Returns: int32 [n]; the choice of a row is off from uniform by less than I / 2**31 of itself.
    """
    row_n = tf.math.floormod(word_2n[0], tf.shape(table)[0])
    threshold_alias_n2 = tf.gather(table, row_n)
    return tf.where(word_2n[1] < threshold_alias_n2[:, 0], row_n, threshold_alias_n2[:, 1])

"""The k best of many rows of scores, equal ones by index."""

import numpy as np

BLOCKS_PER_PLACE = 8  # blocks a row is cut into for each place of the list


def top_k(scores, k):
    """The k largest scores of each row, best first; of equal ones the lower index first, at the end
    of the list too.

    The k-th largest of the maxima of disjoint blocks is a lower bound of the k-th largest score, so
    that only the few scores that reach it are sorted. Any k gives the first k of a longer list.

    Args:
      scores: [B, I] float32; -inf where an item must not be in the list. Not NaN.
      k: int >= 1.
    Returns: (index int64 [B, k'], score float32 [B, k']) with k' = min(k, I); -1 and -inf fill
    lists that are shorter.
    Example: scores [[3, 5, 5, -inf]], k 2 -> [[1, 2]], [[5, 5]].
    """
    rows, columns = scores.shape
    k = min(k, columns)
    index, best = np.full((rows, k), -1, np.int64), np.full((rows, k), -np.inf, np.float32)
    if not rows or not columns:
        return index, best
    bound = _bounds(scores, k)
    found = np.flatnonzero((scores >= bound[:, None]) & (scores > -np.inf))
    row, column = np.divmod(found, columns)
    value = scores.ravel()[found]
    # stable: equal scores of a row stay in the order of their index
    order = np.lexsort((-value, row))
    row, column, value = row[order], column[order], value[order]
    place = np.arange(len(row)) - np.searchsorted(row, np.arange(rows))[row]
    kept = place < k
    index[row[kept], place[kept]], best[row[kept], place[kept]] = column[kept], value[kept]
    return index, best


def _bounds(scores, k):
    """[B] a score at or below the k-th largest of each row."""
    rows, columns = scores.shape
    width = columns // (BLOCKS_PER_PLACE * k)
    if width > 1:
        blocks = columns // width
        maxima = scores[:, :width * blocks].reshape(rows, width, blocks).max(1)
    else:
        maxima = scores
    return np.partition(maxima, maxima.shape[1] - k, axis=1)[:, maxima.shape[1] - k]

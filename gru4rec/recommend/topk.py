"""The k largest scores of each of many rows; equal scores in the order of their index."""

import numpy as np

BLOCKS_PER_PLACE = 8  # a row is cut into this many blocks for each place of the list


def top_k(scores, k):
    """The k largest scores of each row, best first; of equal scores the lower index comes first.

    The k-th largest of the maxima of disjoint blocks is a lower bound of the k-th largest score, so
    only the few scores that reach it are sorted. A list of k is the start of every longer list,
    also where equal scores meet at its end.

    Args:
      scores: [B, I] float32; -inf where an item must not be in the list; never NaN.
      k: int >= 1.
    Returns: (index int64 [B, k'], score float32 [B, k']) with k' = min(k, I); a list with fewer
      items ends in -1 and -inf.
    Example: scores [[3, 5, 5, -inf]], k 2 -> [[1, 2]], [[5, 5]].
    """
    rows, columns = scores.shape
    k = min(k, columns)
    index, best = np.full((rows, k), -1, np.int64), np.full((rows, k), -np.inf, np.float32)
    if not rows or not columns:
        return index, best
    bound = _bounds(scores, k)
    places = np.flatnonzero((scores >= bound[:, None]) & (scores > -np.inf))
    row, column = np.divmod(places, columns)
    value = scores.ravel()[places]
    # lexsort is stable: equal scores of a row stay in the order of their index
    order = np.lexsort((-value, row))
    row, column, value = row[order], column[order], value[order]
    place = np.arange(len(row)) - np.searchsorted(row, np.arange(rows))[row]
    kept = place < k
    index[row[kept], place[kept]], best[row[kept], place[kept]] = column[kept], value[kept]
    return index, best


def _bounds(scores, k):
    """[B] a score that is at most the k-th largest of its row."""
    rows, columns = scores.shape
    width = columns // (BLOCKS_PER_PLACE * k)
    if width > 1:
        blocks = columns // width
        maxima = scores[:, :width * blocks].reshape(rows, width, blocks).max(1)
    else:
        maxima = scores
    return np.partition(maxima, maxima.shape[1] - k, axis=1)[:, maxima.shape[1] - k]

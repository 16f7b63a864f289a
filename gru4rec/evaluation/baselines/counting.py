"""Compute the two counts of evaluation.metrics.ranks_from_counts from sparse scores.

Only items with a score above 0 are listed. All others score 0 and tie; so does the target if it is
not listed.
"""
from typing import NamedTuple

import numpy as np

BATCH = 1 << 21  # entries handled at once; limits the memory to a few hundred MiB


class Counts(NamedTuple):
    """Of every target, session by session; see evaluation.metrics.ranks_from_counts."""

    greater: np.ndarray        # [N] int64
    greater_equal: np.ndarray  # [N] int64


def batches(cost_n, limit=None):
    """Yields (first, stop) of runs of targets whose costs add up to at most `limit`.

    A target that costs more than that is a run of its own.
    """
    limit, total, first = limit or BATCH, np.cumsum(cost_n), 0
    while first < len(total):
        done = total[first - 1] if first else 0
        stop = max(first + 1, int(np.searchsorted(total, done + limit, "right")))
        yield first, stop
        first = stop


def sums(keys, values):
    """(each key once, sum of its values), from ascending keys and their values."""
    if not len(keys):
        return keys, values
    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
    return keys[starts], np.add.reduceat(values, starts)


def lookup(keys, wanted):
    """(position of each wanted number in ascending keys, whether it is there)."""
    at = np.searchsorted(keys, wanted)
    return at, np.append(keys, -1)[at] == wanted


def place_in_group(group):
    """0, 1, 2, ... within each group, from ascending group numbers."""
    at = np.arange(len(group))
    is_first = np.append(True, group[1:] != group[:-1])[:len(group)]
    return at - np.maximum.accumulate(np.where(is_first, at, 0))


def ordinals(score, num_rows):
    """Scores as `places_in_rows` takes them: 1, 2, 3, ... in their order if they are too large.

    Args:
      score: [P] int64 > 0. num_rows: number of different rows.
    """
    if num_rows * (int(score.max(initial=0)) + 1) < 2 ** 63:
        return score
    return np.unique(score, return_inverse=True)[1].reshape(-1) + 1


def places_in_rows(row, score, wanted_row, wanted_score):
    """How many entries of a row score higher than a wanted score, and at least as high.

    Args:
      row: [P] int64, ascending. score: [P] int64 > 0 of `ordinals`.
      wanted_row: [N] int64. wanted_score: [N] int64 >= 0.
    Returns: (greater [N], greater_equal [N]) int64.
    """
    top = int(score.max(initial=0))
    # Sorted by row, then from the highest score to the lowest.
    packed = np.sort(row * (top + 1) + (top - score))
    wanted, start = wanted_row * (top + 1) + (top - wanted_score), np.searchsorted(row, wanted_row)
    return np.searchsorted(packed, wanted) - start, np.searchsorted(packed, wanted, "right") - start


def counts_of_entries(event, item, score, target, num_items):
    """Counts of targets from their listed items.

    Args:
      event: [P] int, number of the target that an entry belongs to, 0 <= event < N.
      item: [P] item index, distinct within an event. score: [P] > 0. target: [N] item index.
    Returns: Counts.
    """
    own = np.zeros(len(target), score.dtype)
    mine = item == target[event]
    own[event[mine]] = score[mine]
    greater = np.bincount(event[score > own[event]], minlength=len(target))
    greater_equal = np.bincount(event[score >= own[event]], minlength=len(target))
    return Counts(greater, np.where(own > 0, greater_equal, num_items))


def joined(parts):
    """Counts of all targets, from the counts of consecutive batches."""
    return Counts(*(np.concatenate(part).astype(np.int64) for part in zip(*parts)))

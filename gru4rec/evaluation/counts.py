"""What an evaluation counts for every target, and what came before the target."""

from typing import NamedTuple

import numpy as np


class Counts(NamedTuple):
    """Of every target, session by session; see evaluation.metrics.ranks_from_counts."""

    greater: np.ndarray        # [N] int64
    greater_equal: np.ndarray  # [N] int64


class Contexts(NamedTuple):
    """What a recommender may look at: the known items before each target of
    data.sessions.EvalSessions.
    """

    target: np.ndarray  # [N] int32 item index
    last: np.ndarray    # [N] int32 item index of the input, -1 if no known item came before
    start: np.ndarray   # [N] int64 first event of the session in EvalSessions.items
    length: np.ndarray  # [N] int64 events before the target


def contexts(sessions):
    """Contexts of every ranked target, in the order of the events."""
    steps = np.diff(sessions.offsets) - 1 + sessions.leading_skip
    start = np.repeat(sessions.offsets[:-1], steps)
    first = np.repeat(np.cumsum(steps) - steps, steps)
    length = (np.arange(len(start)) - first
              + 1 - np.repeat(sessions.leading_skip.astype(np.int64), steps))
    items, at = sessions.items, start + length
    return Contexts(items[at], np.where(length > 0, items[at - 1], np.int32(-1)), start, length)

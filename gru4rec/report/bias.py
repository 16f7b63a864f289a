"""Popularity bias: how often popular and rare items are clicked, and how often recommended.

The catalogue is sorted by popularity and cut into tenths.
"""

from typing import NamedTuple

import numpy as np

GROUPS, SESSIONS, K = 10, 2000, 20


class Bias(NamedTuple):
    """Shares of each tenth of the items, the most popular first; each column sums to 1."""

    training: np.ndarray  # [10] of the events of the training file
    targets: np.ndarray  # [10] of the last events of the test sessions
    recommended: np.ndarray  # [10] of the places in the lists made before these last events
    sessions: int  # number of these lists


def measure(model, sessions, count=SESSIONS, k=K):
    """Bias of a model on test sessions.

    Args:
      model: recommend.model.Model.
      sessions: data.sessions.EvalSessions.
      count: number of sessions that are used, spread evenly over all of them.
      k: length of the lists; one list is made for each session without its last event.
    Returns: Bias.
    """
    num_items = len(model)
    group = np.empty(num_items, np.int64)
    group[model.popularity.order] = np.arange(num_items) * GROUPS // num_items
    lengths = np.diff(sessions.offsets)
    enough = np.flatnonzero(lengths >= 2)
    chosen = enough[np.linspace(0, len(enough) - 1, min(count, len(enough))).astype(int)]
    prefixes = [sessions.items[sessions.offsets[s]:sessions.offsets[s + 1] - 1] for s in chosen]
    lengths = [len(prefix) for prefix in prefixes]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    index, _, _ = model.rank(np.concatenate(prefixes).astype(np.int64), offsets, model.query(k))
    targets = sessions.items[sessions.offsets[chosen + 1] - 1]
    return Bias(_shares(group, model.vocabulary.support), _shares(group[targets]),
                _shares(group[index[index >= 0]]), len(chosen))


def _shares(group, weights=None):
    """Share of each group: [GROUPS]."""
    counts = np.bincount(group, weights, GROUPS)
    return counts / counts.sum()

"""Popularity in the training file, and in the session so far.

Source: POP and S-POP of Hidasi et al. 2016, "Session-based recommendations with recurrent neural
networks", section 4.2.
"""

import numpy as np

from gru4rec.data.sessions import rows_of
from gru4rec.data.targets import contexts
from gru4rec.evaluation.baselines.counting import Counts, batches, joined, sums


def _counts_by_support(support):
    """For each item, (items with higher support [I], items with at least its support [I])."""
    ascending = np.sort(support)
    return (len(support) - np.searchsorted(ascending, support, "right"),
            len(support) - np.searchsorted(ascending, support, "left"))


def popularity(sessions, support):
    """Counts when the score of an item is its number of events in the training file.

    Args:
      sessions: data.sessions.EvalSessions. support: [I] int64, Vocabulary.support.
    """
    target = contexts(sessions).target
    return Counts(*(counts[target] for counts in _counts_by_support(support)))


def session_popularity(sessions, support):
    """Counts when the score of an item is its number of events in the session so far.

    Of items with equal scores (0 too) the one that is more popular in the training file is higher.

    Args:
      sessions: data.sessions.EvalSessions. support: [I] int64, Vocabulary.support.
    """
    seen, (higher, at_least) = contexts(sessions), _counts_by_support(support)
    num_items, top, parts = len(support), int(support.max()), []
    for first, stop in batches(seen.length):
        target, length = seen.target[first:stop], seen.length[first:stop]
        event = np.repeat(np.arange(stop - first), length)
        item = sessions.items[rows_of(seen.start[first:stop], length)[0]]
        pairs = np.sort(event * num_items + item)
        pairs, times = sums(pairs, np.ones(len(pairs), np.int64))
        event, item = np.divmod(pairs, num_items)

        def count(mask, event=event, size=stop - first):
            return np.bincount(event[mask], minlength=size)

        # Scores of the items seen in the session; the score of every other item is its support.
        score = times * (top + 1) + support[item]
        is_target = item == target[event]
        was_seen = np.zeros(stop - first, bool)
        was_seen[event[is_target]] = True
        own = support[target]
        own[event[is_target]] = score[is_target]
        parts.append([count(above(score, own[event])) + np.where(
            was_seen, 0, of_all[target] - count(above(support[item], own[event])))
            for above, of_all in ((np.greater, higher), (np.greater_equal, at_least))])
    return joined(parts)

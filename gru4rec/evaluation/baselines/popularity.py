"""Popularity in the training file, and in the session so far (POP and S-POP of Hidasi et al. 2016,
section 4.2).
"""

import numpy as np

from gru4rec.data.sessions import rows_of
from gru4rec.data.targets import contexts
from gru4rec.evaluation.baselines.counting import Counts, batches, joined, sums


def _counts_by_support(support):
    """Per item, (items with higher support [I], with at least its support [I])."""
    ascending = np.sort(support)
    return (len(support) - np.searchsorted(ascending, support, "right"),
            len(support) - np.searchsorted(ascending, support, "left"))


def popularity(sessions, support):
    """Counts when every item scores its events in the training file.

    Args:
      sessions: data.sessions.EvalSessions. support: [I] int64, Vocabulary.support.
    """
    target = contexts(sessions).target
    return Counts(*(counts[target] for counts in _counts_by_support(support)))


def session_popularity(sessions, support):
    """Counts when items score their events in the session so far, equal ones (those at 0 too)
    the higher the more popular in the training file."""
    found, (higher, at_least) = contexts(sessions), _counts_by_support(support)
    num_items, top, parts = len(support), int(support.max()), []
    for first, stop in batches(found.length):
        target, length = found.target[first:stop], found.length[first:stop]
        event = np.repeat(np.arange(stop - first), length)
        pairs = np.sort(event * num_items
                        + sessions.items[rows_of(found.start[first:stop], length)[0]])
        pairs, times = sums(pairs, np.ones(len(pairs), np.int64))
        event, item = np.divmod(pairs, num_items)

        def count(mask, event=event, size=stop - first):
            return np.bincount(event[mask], minlength=size)

        # of the listed items; the others score their support
        score = times * (top + 1) + support[item]
        mine = item == target[event]
        seen = np.zeros(stop - first, bool)
        own = support[target]
        seen[event[mine]] = True
        own[event[mine]] = score[mine]
        parts.append([count(above(score, own[event])) +
                      np.where(seen, 0, of_all[target] - count(above(support[item], own[event])))
                      for above, of_all in ((np.greater, higher), (np.greater_equal, at_least))])
    return joined(parts)

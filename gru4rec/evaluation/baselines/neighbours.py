"""V-SKNN: the training sessions most like the current one vote for their items.

The current session is a vector over items: the item at place p of n weighs p/n (linear decay
towards the past; an item seen twice has the weight of its last place). A training session is the
0/1 vector of its items. The similarity of two sessions is the inner product of their vectors. Of
the training sessions that share an item with the current one, the `sample` most recent are
candidates, and the `k` most similar candidates are neighbours. The score of an item is the sum of
the similarities of the neighbours that hold it. Items in no neighbour score 0; items already seen
may be recommended again.

Source: Ludewig and Jannach 2018, "Evaluation of session-based recommendation algorithms" (arXiv
1803.09587), session-based kNN and its vector multiplication variant, by their formulas. Choices
made here: sample 1000 and k 100; recency is the order of the sessions' first events; of equally
similar candidates the more recent comes first; no further weights by place, frequency or age, which
later variants of the method have; all arithmetic is in whole numbers (similarities times n), so
that equal scores are equal.
"""

import numpy as np

from gru4rec.data.sessions import rows_of
from gru4rec.data.targets import contexts
from gru4rec.evaluation.baselines.counting import (
    batches,
    counts_of_entries,
    joined,
    place_in_group,
    sums,
)

SAMPLE, NEIGHBOURS = 1000, 100


class Index:
    """Training sessions by item and items by session; session 0 is the most recent."""

    def __init__(self, sessions, num_items, sample=SAMPLE):
        """Index the training sessions.

        Args:
          sessions: data.sessions.Sessions, oldest first (session_order "time").
          num_items: I. sample: number of sessions kept for each item, the most recent.
        """
        self.num_items, self.num_sessions = num_items, sessions.num_sessions
        age = np.repeat(np.arange(self.num_sessions)[::-1], np.diff(sessions.offsets))
        by_item = np.unique(sessions.items.astype(np.int64) * self.num_sessions + age)
        item, age = np.divmod(by_item, self.num_sessions)
        self.session_items, self.session_starts = _grouped(age, item, self.num_sessions)
        # Every candidate is among the `sample` most recent sessions of each item that it shares.
        kept = place_in_group(item) < sample
        self.item_sessions, self.item_starts = _grouped(item[kept], age[kept], num_items)


def _grouped(group, value, size):
    """(values, starts): the values of group g are values[starts[g]:starts[g + 1]]."""
    order = np.argsort(group, kind="stable")
    return value[order], np.append(0, np.cumsum(np.bincount(group, minlength=size)))


def vsknn(index, sessions, sample=SAMPLE, k=NEIGHBOURS):
    """Counts of every target.

    Args:
      index: Index of the training sessions, made with the same `sample`.
      sessions: data.sessions.EvalSessions. sample: most candidates. k: most neighbours.
    """
    seen, sessions_of_item = contexts(sessions), np.diff(index.item_starts)
    before = np.append(0, np.cumsum(sessions_of_item[sessions.items]))
    cost, parts = before[seen.start + seen.length] - before[seen.start] + 1, []
    for first, stop in batches(cost):
        rows = slice(first, stop)
        event, item, place = _contents(sessions.items, seen.start[rows], seen.length[rows],
                                       index.num_items)
        event, session, similarity = _candidates(index, event, item, place, sample)
        near = _nearest(event, similarity, k)
        event, item, score = _votes(index, event[near], session[near], similarity[near])
        parts.append(counts_of_entries(event, item, score, seen.target[rows], index.num_items))
    return joined(parts)


def _contents(items, start, length, num_items):
    """The distinct items before each target: (event, item, last place of the item, from 1)."""
    event = np.repeat(np.arange(len(start)), length)
    at = rows_of(start, length)[0]
    place = at - start[event] + 1
    width = int(length.max(initial=0)) + 1
    packed = np.sort((event * num_items + items[at]) * width + place)
    packed = packed[np.append(packed[1:] // width != packed[:-1] // width, True)[:len(packed)]]
    pair, place = np.divmod(packed, width)
    return pair // num_items, pair % num_items, place


def _candidates(index, event, item, place, sample):
    """(event, session, similarity * n) of each event's candidates, most recent first."""
    starts, lengths = index.item_starts[item], index.item_starts[item + 1] - index.item_starts[item]
    width = int(place.max(initial=0)) + 1
    session = index.item_sessions[rows_of(starts, lengths)[0]]
    packed = np.repeat(event, lengths) * index.num_sessions + session
    packed = np.sort(packed * width + np.repeat(place, lengths))
    pair, similarity = sums(packed // width, packed % width)
    event = pair // index.num_sessions
    kept = place_in_group(event) < sample
    return event[kept], pair[kept] % index.num_sessions, similarity[kept]


def _nearest(event, similarity, k):
    """Positions of the k most similar entries of each event; of equal ones the first, most recent.
    """
    top = int(similarity.max(initial=0))
    order = np.argsort(event * (top + 1) + (top - similarity), kind="stable")
    return order[place_in_group(event[order]) < k]


def _votes(index, event, session, similarity):
    """(event, item, score): similarities summed over the neighbours that hold the item."""
    starts, lengths = index.session_starts[session], np.diff(index.session_starts)[session]
    width = int(similarity.max(initial=0)) + 1
    item = index.session_items[rows_of(starts, lengths)[0]]
    packed = np.repeat(event, lengths) * index.num_items + item
    packed = np.sort(packed * width + np.repeat(similarity, lengths))
    pair, score = sums(packed // width, packed % width)
    return pair // index.num_items, pair % index.num_items, score

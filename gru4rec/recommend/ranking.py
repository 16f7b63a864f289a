"""Prefixes of sessions, in item indices -> the best next items; what Python, shell and server all
run.
"""

from typing import NamedTuple, Optional

import numpy as np

from gru4rec.errors import DivergenceError
from gru4rec.recommend.topk import top_k

LANES = 4096  # sessions that run through the network side by side
SCORE_BYTES = 16 << 20  # of one tile of scores
# sessions scored at once: fewer would read the table of a large catalogue from memory too often
MIN_TILE = 64


class Query(NamedTuple):
    """What is asked of a session."""

    k: int
    # sorted int [C]: the only items that may be recommended; None: all
    candidates: Optional[np.ndarray] = None
    dropped: Optional[np.ndarray] = None  # int [D]: items that must not be; None: none


# at most one item in so many makes scoring the candidates alone worth the copy of their rows
FEW = 8


def make_query(k, num_items, candidates=None, dropped=None):
    """Query of item indices in any order; negative ones (unknown ids) have no effect."""
    allowed, gone = (None if codes is None else np.unique(codes[codes >= 0])
                     for codes in (candidates, dropped))
    if allowed is None or len(allowed) * FEW <= num_items:
        return Query(k, allowed, gone)
    others = np.ones(num_items, bool)
    others[allowed] = False
    if gone is not None:
        others[gone] = True
    return Query(k, None, np.flatnonzero(others))


def list_width(query, num_items):
    """Columns of the lists of a query."""
    return min(query.k, num_items if query.candidates is None else len(query.candidates))


def last_states(network, items, offsets, states=None):
    """States of sessions after their last item.

    Sessions are run longest first, so that those still running are the first rows: nothing is
    padded.

    Args:
      network: NumpyNetwork or TFNetwork. items: int [E]. offsets: int [S + 1], as
      data.sessions.Sessions.
      states: list, per layer [S, H] to start from; None: zero.
    Returns: list, per layer [S, H] float32.
    """
    lengths = np.diff(offsets)
    order = np.argsort(-lengths, kind="stable")
    starts, lengths = np.asarray(offsets)[:-1][order], lengths[order]
    running = [s[order] for s in (network.zero_states(len(order)) if states is None else states)]
    for step in range(int(lengths[0]) if len(lengths) else 0):
        live = int(np.searchsorted(-lengths, -step))
        for rows, new in zip(running,
                             network.step([s[:live] for s in running],
                                          items[starts[:live] + step])):
            rows[:live] = new
    out = [np.empty_like(s) for s in running]
    for target, rows in zip(out, running):
        target[order] = rows
    return out


def tile_rows(num_items):
    """Sessions whose scores are in memory at once; memory: 4 * rows * num_items bytes, and half as
    much to find the best.
    """
    return max(MIN_TILE, SCORE_BYTES // (4 * num_items))


def best_items(network, num_items, hidden, query, dropped=None):
    """Lists of sessions that share `k` and `candidates`.

    Args:
      hidden: [S, H] float32 states of the last layer. query: Query; its own `dropped` holds for
      every session.
      dropped: None, or per session an int array (or None) of items to leave out besides.
    Returns: (index int64 [S, k'], score float32 [S, k']), k' = min(k, items); -1 and -inf fill
    lists that are shorter.
    Raises: DivergenceError if a state is not finite.
    """
    if not np.isfinite(hidden).all():
        raise DivergenceError("a hidden state is not finite; use an earlier epoch, or train with a "
                              "lower --lr")
    candidates = query.candidates
    width = list_width(query, num_items)
    index, best = np.empty((len(hidden), width),
                           np.int64), np.empty((len(hidden), width), np.float32)
    tile = tile_rows(num_items)
    for start in range(0, len(hidden), tile):
        part = slice(start, start + tile)
        scores = network.scores(hidden[part], candidates)
        _drop(scores, query, dropped[part] if dropped else ())
        found, best[part] = top_k(scores, query.k) if width else (index[part], best[part])
        index[part] = found if candidates is None else np.where(found < 0, -1, candidates[found])
    return index, best


def _drop(scores, query, dropped):
    """Set the scores of items that must not be recommended to -inf, in place."""
    if query.dropped is not None:
        scores[:, _columns(query.dropped, query.candidates)] = -np.inf
    for row, items in enumerate(dropped):
        if items is not None:
            scores[row, _columns(items, query.candidates)] = -np.inf


def _columns(items, candidates):
    """Columns of scores that stand for items."""
    if candidates is None:
        return items
    place = np.searchsorted(candidates, items)
    place[place == len(candidates)] = 0
    return place[candidates[place] == items] if len(candidates) else place[:0]


class Popularity:
    """Items by their events in the training file, equal ones by index: what is said of a session
    nothing is known of.
    """

    def __init__(self, support):
        self._support = support
        self.order = np.argsort(-support, kind="stable")

    def best(self, query, dropped=None):
        """(index int64 [k'], score float32 [k']: events in the training file), as many as may be
        recommended.
        """
        k = query.k
        gone = np.concatenate([part for part in (query.dropped, dropped,
                                                 np.zeros(0, np.int64)) if part is not None])
        if query.candidates is not None:
            allowed = np.setdiff1d(query.candidates, gone)
            index = allowed[np.argsort(-self._support[allowed], kind="stable")][:k]
        else:
            index = self.order[:k + len(gone)]
            index = index[~np.isin(index, gone)][:k]
        return index.astype(np.int64), self._support[index].astype(np.float32)

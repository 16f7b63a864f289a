"""Sessions as item indices -> the best next items; Python, the shell and the server all use it."""

from typing import NamedTuple, Optional

import numpy as np

from gru4rec.errors import DivergenceError
from gru4rec.recommend.topk import top_k

LANES = 4096  # sessions that run through the network side by side
SCORE_BYTES = 16 << 20  # of one tile of scores: a few sessions, all items
# sessions of a tile at least: fewer would read the table of a large catalogue from memory too often
MIN_TILE = 64
# scoring the candidates alone copies their rows; that pays if at most one item in FEW is one
FEW = 8


class Query(NamedTuple):
    """What is asked of a session."""

    k: int  # length of the list
    # sorted int [C]: the only items that may be recommended; None: all
    candidates: Optional[np.ndarray] = None
    dropped: Optional[np.ndarray] = None  # int [D]: items that must not be recommended; None: none


def make_query(k, num_items, candidates=None, dropped=None):
    """Query of item indices in any order; negative ones (unknown ids) have no effect."""
    candidates, dropped = (None if codes is None else np.unique(codes[codes >= 0])
                           for codes in (candidates, dropped))
    if candidates is None or len(candidates) * FEW <= num_items:
        return Query(k, candidates, dropped)
    others = np.ones(num_items, bool)
    others[candidates] = False
    if dropped is not None:
        others[dropped] = True
    return Query(k, None, np.flatnonzero(others))


def list_width(query, num_items):
    """Length of the longest list that a query can have."""
    if query.candidates is None:
        return min(query.k, num_items)
    return min(query.k, len(query.candidates))


def last_states(network, items, offsets, states=None):
    """States of sessions after their last item.

    The longest session has the first row, so sessions that are not over are always the first rows,
    and nothing is padded.

    Args:
      network: NumpyNetwork or TFNetwork.
      items: int [E]. offsets: int [S + 1], as in data.sessions.Sessions.
      states: list, per layer [S, H] to start from; None: zero.
    Returns: list, per layer [S, H] float32.
    """
    lengths = np.diff(offsets)
    order = np.argsort(-lengths, kind="stable")
    starts, lengths = np.asarray(offsets)[:-1][order], lengths[order]
    if states is None:
        states = network.zero_states(len(order))
    running = [s[order] for s in states]
    for step in range(int(lengths[0]) if len(lengths) else 0):
        live = int(np.searchsorted(-lengths, -step))
        stepped = network.step([s[:live] for s in running], items[starts[:live] + step])
        for rows, new in zip(running, stepped):
            rows[:live] = new
    out = [np.empty_like(s) for s in running]
    for target, rows in zip(out, running):
        target[order] = rows
    return out


def tile_rows(num_items):
    """Sessions whose scores are in memory at once.

    They take 4 * rows * num_items bytes, and finding the best of them half as much again.
    """
    return max(MIN_TILE, SCORE_BYTES // (4 * num_items))


def best_items(network, num_items, hidden, query, dropped=None):
    """Lists of sessions that share `k` and `candidates`.

    Args:
      hidden: [S, H] float32 states of the last layer.
      query: Query; its own `dropped` holds for every session.
      dropped: None, or for each session an int array (or None) of more items to leave out.
    Returns: (index int64 [S, k'], score float32 [S, k']), k' = min(k, items that may be listed); a
      list with fewer items ends in -1 and -inf.
    Raises: DivergenceError if a state is not finite.
    """
    if not np.isfinite(hidden).all():
        raise DivergenceError("a hidden state is not finite; use an earlier epoch, or train with a "
                              "lower --lr")
    candidates = query.candidates
    width = list_width(query, num_items)
    index = np.empty((len(hidden), width), np.int64)
    best = np.empty((len(hidden), width), np.float32)
    if not width:
        return index, best
    tile = tile_rows(num_items)
    for start in range(0, len(hidden), tile):
        part = slice(start, start + tile)
        scores = network.scores(hidden[part], candidates)
        _drop(scores, query, dropped[part] if dropped else ())
        columns, best[part] = top_k(scores, query.k)
        if candidates is not None:
            columns = np.where(columns < 0, -1, candidates[columns])
        index[part] = columns
    return index, best


def _drop(scores, query, dropped):
    """Set the scores of items that must not be recommended to -inf, in place."""
    if query.dropped is not None:
        scores[:, _columns(query.dropped, query.candidates)] = -np.inf
    for row, items in enumerate(dropped):
        if items is not None:
            scores[row, _columns(items, query.candidates)] = -np.inf


def _columns(items, candidates):
    """The columns of scores that belong to items; those that are no candidate have none."""
    if candidates is None:
        return items
    place = np.searchsorted(candidates, items)
    place[place == len(candidates)] = 0
    return place[candidates[place] == items]


class Popularity:
    """Items by their number of events in the training file, equal ones by index.

    They are recommended to a session of which no item is known.
    """

    def __init__(self, support):
        self._support = support
        self.order = np.argsort(-support, kind="stable")

    def best(self, query):
        """(index int64 [k'], score float32 [k']: events in the training file), k' <= k."""
        k, left_out = query.k, query.dropped
        if left_out is None:
            left_out = np.zeros(0, np.int64)
        if query.candidates is not None:
            allowed = np.setdiff1d(query.candidates, left_out)
            index = allowed[np.argsort(-self._support[allowed], kind="stable")][:k]
        else:
            index = self.order[:k + len(left_out)]
            index = index[~np.isin(index, left_out)][:k]
        return index.astype(np.int64), self._support[index].astype(np.float32)

"""Make sessions of item indices from events, as one flat array; count what is dropped."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from gru4rec.data.vocab import Vocabulary
from gru4rec.errors import DataError


class Sessions(NamedTuple):
    """Training sessions: session s is `items[offsets[s]:offsets[s + 1]]`, at least two events."""

    items: np.ndarray    # [E] int32 item indices, by time within a session
    offsets: np.ndarray  # [S + 1] int64

    @property
    def num_sessions(self):
        return len(self.offsets) - 1

    @property
    def num_events(self):
        return len(self.items)

    @property
    def num_targets(self):
        """Next events to predict: the sum of (length - 1)."""
        return self.num_events - self.num_sessions


class EvalSessions(NamedTuple):
    """Test sessions that have something to rank; `items` holds known items only.

    The targets of a session are `items[1:]`. Where `leading_skip` is set, `items[0]` is a target
    too: the session of the file began with unknown items, so its first known item is predicted from
    the zero state.
    """

    items: np.ndarray          # [E] int32 item indices
    offsets: np.ndarray        # [S + 1] int64
    leading_skip: np.ndarray   # [S] bool; all False with unknown="drop"
    num_misses: int            # unknown targets, misses at every cut-off; 0 with unknown="drop"
    session_index: np.ndarray  # [S] int64 place among all sessions of the test file in id order


class TrainReport(NamedTuple):
    """Counts of what `index_train` read, kept and dropped."""

    events_read: int
    sessions_read: int
    items: int           # distinct items of the file, those of dropped sessions included
    events: int          # kept
    sessions: int        # kept
    targets: int
    short_sessions: int  # sessions of one event, dropped


class TestReport(NamedTuple):
    """Counts of what `index_test` read, kept and dropped."""

    __test__ = False  # keeps pytest from taking it for a test class

    events_read: int
    sessions_read: int
    events: int          # targets counted, misses included
    sessions: int        # sessions with a counted target
    unknown_items: int   # distinct items the vocabulary does not know
    unknown_events: int  # events of such items
    short_sessions: int  # sessions with no target, dropped


def index_train(events, session_order="id"):
    """Vocabulary and sessions of a training file.

    Args:
      events: loader.Events.
      session_order: "id" (numeric, or by code point for text) or "time" (of the first event; ties
        by id).
    Returns: (Vocabulary, Sessions, TrainReport). Vocabulary and support count sessions of one event
      too, which Sessions drops.
    Raises: DataError if no session has two events; ValueError for an unknown order.
    Example: sessions 2, 1, 2, 1 with items c, a, b, a in time order -> ids [c a b],
      items [1 1 0 2], offsets [0 2 4].
    """
    if session_order not in ("id", "time"):
        raise ValueError("session_order %r is unknown; use one of: id, time" % (session_order,))
    vocab, codes = Vocabulary.build_with_codes(events.item)
    order, offsets = sort_events(events)
    lengths = np.diff(offsets)
    kept = np.flatnonzero(lengths >= 2)
    if not len(kept):
        raise DataError("%s: none of its %d sessions has two events, so there is nothing to learn; "
                        "check that the session column holds session ids"
                        % (events.path, len(lengths)))
    if session_order == "time":
        kept = kept[np.argsort(events.time[order[offsets[kept]]], kind="stable")]
    rows, kept_offsets = _gather(offsets, kept)
    sessions = Sessions(codes[order[rows]], kept_offsets)
    report = TrainReport(events_read=len(codes), sessions_read=len(lengths), items=len(vocab),
                         events=sessions.num_events, sessions=sessions.num_sessions,
                         targets=sessions.num_targets, short_sessions=len(lengths) - len(kept))
    return vocab, sessions, report


def index_test(events, vocab, unknown="drop"):
    """Sessions of a test file, in a model's item indices.

    Args:
      events: loader.Events.
      vocab: Vocabulary of the model.
      unknown: "drop" removes events of unknown items, then sessions shorter than two. "miss" keeps
        the sessions of the file: an unknown target is a miss; an unknown input is skipped, and the
        state stays as it was.
    Returns: (EvalSessions, TestReport). Targets to rank plus `num_misses` is `TestReport.events`.
    Raises: DataError if no item is known or nothing is left to rank; ValueError for another
      `unknown`.
    Example: known a, b; sessions [x a b], [a x] -> drop: [a b], 1 target. miss: [a b] with
      leading_skip, 2 targets, and 1 miss.
    """
    if unknown not in ("drop", "miss"):
        raise ValueError("unknown %r is unknown; use one of: drop, miss" % (unknown,))
    order, offsets = sort_events(events)
    codes = vocab.encode(events.item)
    unknown_items = len(pd.unique(events.item[codes < 0]))
    codes = codes[order]
    known = codes >= 0
    if not known.any():
        raise DataError("%s: none of its %d items is known to the model (first one: %.60r); give a "
                        "test file with the ids of the training file"
                        % (events.path, unknown_items, events.item.tolist()[0]))
    known_lengths = np.diff(np.concatenate([[0], np.cumsum(known)])[offsets])
    if unknown == "drop":
        lengths = known_lengths
        leading = np.zeros(len(lengths), bool)
        num_misses = 0
    else:
        lengths = np.diff(offsets)
        leading = ~known[offsets[:-1]]
        # Every unknown event is a target except one that opens its session.
        num_misses = int((~known).sum() - leading.sum())
    kept = np.flatnonzero(known_lengths + leading >= 2)
    if not len(kept):
        raise DataError("%s: no session has two events of known items, so there is nothing to "
                        "rank; check the session column and that the ids are those of the training "
                        "file" % events.path)
    rows, kept_offsets = _gather(np.concatenate([[0], np.cumsum(known_lengths)]), kept)
    counted = lengths[lengths >= 2]
    sessions = EvalSessions(codes[known][rows], kept_offsets, leading[kept], num_misses,
                            kept.astype(np.int64))
    report = TestReport(events_read=len(codes), sessions_read=len(lengths),
                        events=int((counted - 1).sum()), sessions=len(counted),
                        unknown_items=unknown_items, unknown_events=int((~known).sum()),
                        short_sessions=len(lengths) - len(counted))
    return sessions, report


def sort_events(events):
    """Row numbers by (session, time), ties in file order: (int64 [E], offsets int64 [S + 1])."""
    key, time = events.session, events.time
    if key.dtype == object:
        codes, ids = pd.factorize(key)
        rank = np.empty(len(ids), np.int64)
        rank[np.argsort(ids, kind="stable")] = np.arange(len(ids))
        key = rank[codes]
    order = _stable_order(key)
    key, time = key[order], time[order]
    new = np.concatenate([[True], key[1:] != key[:-1]])
    # In most files a session is in time order already; then the second sort is not needed.
    if (~new[1:] & (time[1:] < time[:-1])).any():
        # Complex numbers compare by real part, then by imaginary part. The sessions are in place
        # already, so the stable sort only merges short runs. It is several times faster than
        # lexsort, which would sort all events by time first.
        both = np.empty(len(time), np.complex128)
        both.real, both.imag = np.cumsum(new), time
        order = order[np.argsort(both, kind="stable")]
    return order, np.append(np.flatnonzero(new), len(key)).astype(np.int64)


def _stable_order(key):
    """As np.argsort(key, kind="stable") of int64 [E], but faster."""
    if (key[1:] >= key[:-1]).all():
        return np.arange(len(key))
    if (int(key.max()) - int(key.min()) + 1) * len(key) >= 2 ** 63:
        return np.argsort(key, kind="stable")
    # (key, row) packed into one number: values are sorted, not indices, which is four times faster
    # at 32 million rows.
    packed = (key - key.min()) * len(key) + np.arange(len(key))
    packed.sort()
    packed %= len(key)
    return packed


def _gather(offsets, kept):
    """(row numbers, new offsets) of the sessions `kept`, one after the other."""
    return rows_of(offsets[kept], np.diff(offsets)[kept])


def rows_of(start, lengths):
    """Runs of consecutive numbers, one after the other.

    Args:
      start, lengths: int64 [S], first number of each run, and how many numbers it has.
    Returns: (numbers int64 [sum of lengths], offsets of the runs int64 [S + 1]).
    Example: start [5, 0], lengths [2, 3] -> [5 6 0 1 2], [0 2 5].
    """
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return np.arange(offsets[-1]) + np.repeat(start - offsets[:-1], lengths), offsets

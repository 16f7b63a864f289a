"""Targets of a test file: with their raw ids, or with the known items that came before them."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from gru4rec.data.sessions import sort_events


class Targets(NamedTuple):
    """One row per counted target, by session (in id order), then time; TestReport.events rows."""

    session: np.ndarray   # [N] raw session id, int64 or object of str
    position: np.ndarray  # [N] int64 events before the target in its session of the file, >= 1
    item: np.ndarray      # [N] raw item id of the target
    known: np.ndarray     # [N] bool, the model knows the item; others are misses (unknown="miss")
    repeated: np.ndarray  # [N] bool, the item occurred earlier in the session
    last: np.ndarray      # [N] bool, the last target of its session


def list_targets(events, vocab, unknown="drop"):
    """The targets that `sessions.index_test` counts.

    Those whose item is known are its ranked targets, in the same order.

    Args:
      events: loader.Events. vocab: Vocabulary. unknown: "drop" | "miss", as there.
    Returns: Targets.
    Example: known a, b; session [x a b a] -> drop: positions 2, 3 (b, a), the second repeated;
      miss: positions 1, 2, 3.
    """
    order, offsets = sort_events(events)
    lengths = np.diff(offsets)
    session = np.repeat(np.arange(len(lengths)), lengths)
    position = np.arange(len(order)) - np.repeat(offsets[:-1], lengths)
    codes, distinct = pd.factorize(events.item)
    repeated = pd.Series(session * len(distinct) + codes[order]).duplicated().to_numpy()
    known = vocab.encode(events.item)[order] >= 0
    kept = np.flatnonzero(known) if unknown == "drop" else np.arange(len(order))
    starts = np.append(True, session[kept][1:] != session[kept][:-1])[:len(kept)]
    rows, last = kept[~starts], np.append(starts[1:], True)[:len(kept)][~starts]
    return Targets(events.session[order[rows]], position[rows], events.item[order[rows]],
                   known[rows], repeated[rows], last)


class Contexts(NamedTuple):
    """What a recommender may look at: the known items before each target of `EvalSessions`."""

    target: np.ndarray  # [N] int32 item index
    last: np.ndarray    # [N] int32 item index of the input, -1 if no known item came before
    start: np.ndarray   # [N] int64 first event of the session in EvalSessions.items
    length: np.ndarray  # [N] int64 events before the target


def contexts(sessions):
    """Contexts of every ranked target of data.sessions.EvalSessions, in the order of the events."""
    steps = np.diff(sessions.offsets) - 1 + sessions.leading_skip
    start = np.repeat(sessions.offsets[:-1], steps)
    first = np.repeat(np.cumsum(steps) - steps, steps)
    skipped = np.repeat(sessions.leading_skip.astype(np.int64), steps)
    length = np.arange(len(start)) - first + 1 - skipped
    items, at = sessions.items, start + length
    return Contexts(items[at], np.where(length > 0, items[at - 1], np.int32(-1)), start, length)

"""Every counted target of a test file with its raw ids, in the order of the file's sessions."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from gru4rec.data.sessions import sort_events


class Targets(NamedTuple):
    """One row per counted target, by session (in id order), then time; TestReport.events rows."""

    session: np.ndarray   # [N] raw session id, int64 or object of str
    # [N] int64 events before the target in its session of the file: 1 is the first next event
    position: np.ndarray
    item: np.ndarray      # [N] raw item id of the target
    # [N] bool, the model knows the item; the others are misses (unknown="miss" only)
    known: np.ndarray
    repeated: np.ndarray  # [N] bool, the item occurred earlier in the session
    last: np.ndarray      # [N] bool, the last target of its session


def list_targets(events, vocab, unknown="drop"):
    """Targets that `sessions.index_test` counts; those known are its ranked targets, in the same
    order.

    Args:
      events: loader.Events. vocab: Vocabulary. unknown: "drop" | "miss", as there.
    Returns: Targets.
    Example: known a, b; session [x a b a] -> drop: positions 2, 3 (b, a), the second repeated;
    miss: 1, 2, 3."""
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
                   known[rows], repeated[rows],
                   last)

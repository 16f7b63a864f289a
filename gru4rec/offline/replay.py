"""Runs test sessions through an exported graph -> ranks of the targets, or places in its lists."""

from typing import NamedTuple

import numpy as np

from gru4rec.data import schedule
from gru4rec.data.targets import contexts
from gru4rec.errors import DivergenceError
from gru4rec.export.signature import IDS, LENGTHS, NEW_STATE, SCORES, STATE, TOP_IDS, TOP_SCORES


class Places(NamedTuple):
    """Places of the targets in the lists of a prefix graph."""

    # [n] float64, 1 is best; the number of items for a target that is not in its list
    rank: np.ndarray
    num_cut: int  # prefixes longer than the graph takes; their last ids alone were used


def _names(tensors, role):
    """Names of the tensors of one role; states in the order of their layers."""
    return [t.name for t in sorted(tensors, key=lambda t: t.layer) if t.role == role]


def by_step(runner, sessions, progress=None):
    """Counts of every target from the scores of a step graph, whose new states are fed back.

    Args:
      runner: of offline.runtimes. sessions: data.sessions.EvalSessions.
      progress: None, or an object with update(number of targets).
    Returns: (greater, greater_equal) int [N] as evaluation.metrics.ranks_from_counts takes them,
      session by session.
    """
    epoch, cells = schedule.build_longest_first(sessions.items, sessions.offsets, runner.lanes,
                                                sessions.leading_skip)
    (ids,) = _names(runner.signature.inputs, IDS)
    (scores,) = _names(runner.signature.outputs, SCORES)
    fed_back = list(zip(_names(runner.signature.inputs, STATE),
                        _names(runner.signature.outputs, NEW_STATE)))
    states = start_states(runner.signature, runner.lanes)
    greater, greater_equal = np.zeros((2,) + epoch.x.shape, np.int32)
    for t in range(epoch.num_steps):
        states = {name: np.where(epoch.reset[t][:, None], np.float32(0), value)
                  for name, value in states.items()}
        outputs = runner.run(dict(states, **{ids: epoch.x[t]}))
        states = {state: outputs[new_state] for state, new_state in fed_back}
        live = np.flatnonzero(epoch.weight[t])
        rows = outputs[scores][live]
        own = rows[np.arange(len(live)), epoch.y[t, live]][:, None]
        greater[t, live], greater_equal[t, live] = (rows > own).sum(1), (rows >= own).sum(1)
        if progress is not None:
            progress.update(len(live))
    return greater.ravel()[cells], greater_equal.ravel()[cells]


def by_prefix(runner, sessions, num_items, progress=None):
    """Place of every target in its list of a prefix graph.

    Args:
      runner, sessions, progress: as for `by_step`. num_items: I.
    Returns: Places, session by session.
    """
    (ids,), (lengths,) = (_names(runner.signature.inputs, role) for role in (IDS, LENGTHS))
    (top_ids,), (top_scores,) = (_names(runner.signature.outputs, role)
                                 for role in (TOP_IDS, TOP_SCORES))
    target, _, first, length = contexts(sessions)
    width = next(t.shape[1] for t in runner.signature.inputs if t.name == ids)
    if width is None:  # the graph takes any
        width = max(1, int(length.max(initial=0)))
    ranks = np.empty(len(target))
    for start in range(0, len(target), runner.lanes):
        part = slice(start, start + runner.lanes)
        ids_bt, length_b = prefixes(sessions.items, first[part], length[part], width, runner.lanes)
        values = runner.run({ids: ids_bt, lengths: length_b})
        lists, scores = (values[name][:len(target[part])] for name in (top_ids, top_scores))
        if not np.isfinite(scores).all():
            raise DivergenceError("scores of the prefix graph are not finite; export another "
                                  "epoch, or compile it with another precision")
        hits = lists == target[part, None]
        own = np.max(np.where(hits, scores, -np.inf), 1, keepdims=True)
        # the last place among equal scores
        ranks[part] = np.where(hits.any(1), (scores >= own).sum(1), num_items)
        if progress is not None:
            progress.update(len(lists))
    return Places(ranks, int((length > width).sum()))


def prefixes(items, first, length, width, rows):
    """Prefixes of sessions, padded: (ids [rows, width] int32, lengths [rows] int32).

    After the last id of a row comes -1; the rows after the n prefixes have length 0.

    Args:
      items: [E]. first, length: [n]; a prefix is items[first:first + length], of which the last
        `width` are taken.
      rows: at least n.
    """
    ids, lengths = np.full((rows, width), -1, np.int32), np.zeros(rows, np.int32)
    lengths[:len(length)] = np.minimum(length, width)
    inside = np.arange(width) < lengths[:, None]
    at = (first + length)[:, None] - np.minimum(length, width)[:, None] + np.arange(width)
    ids[inside] = items[at[inside[:len(length)]]]
    return ids, lengths


def start_states(signature, lanes):
    """Zeros [lanes, H] for each layer, by the name of the graph's input."""
    return {t.name: np.zeros((lanes, t.shape[1]), np.float32)
            for t in signature.inputs if t.role == STATE}

"""Session-parallel mini-batches: which lane gets which item at which step of an epoch.

A lane is one row of the batch. It takes one session after the other, one event a step.
"""

import heapq
from typing import NamedTuple

import numpy as np


class Epoch(NamedTuple):
    """Arrays of one pass over the sessions; step t feeds `x[t]` and predicts `y[t]`.

    Lanes that have run out of sessions keep x = y = 0 and weight 0. Example: two lanes, sessions
    [1 2 3], [4 5], [6 7]:

        x      [[1 4] [2 6]]     reset  [[1 1] [0 1]]
        y      [[2 5] [3 7]]     weight [[1 1] [1 1]]
    """

    x: np.ndarray  # [T, B] int32 item indices
    y: np.ndarray  # [T, B] int32 item indices
    reset: np.ndarray  # [T, B] bool: a session starts here; the lane's state is set to zero first
    weight: np.ndarray  # [T, B] bool: the lane is live

    @property
    def num_steps(self):
        return self.x.shape[0]

    @property
    def num_lanes(self):
        return self.x.shape[1]


def assign_lanes(num_steps_s, num_lanes):
    """First step and lane of each session.

    A lane that has finished its session takes the next one; lanes that finish in the same step do
    so in lane order.

    Args:
      num_steps_s: [S] int, steps each session needs (>= 1), in the order the sessions are taken.
      num_lanes: B >= 1.
    Returns: (start [S] int64, lane [S] int32).
    """
    lengths = np.asarray(num_steps_s, np.int64)
    if num_lanes == 1:
        return np.cumsum(lengths) - lengths, np.zeros(len(lengths), np.int32)
    keys = np.fromiter(_lane_keys(lengths, num_lanes), np.int64, count=len(lengths))
    return keys // num_lanes, (keys % num_lanes).astype(np.int32)


def _lane_keys(lengths, num_lanes):
    """Yields start * B + lane of each session.

    A heap holds such a number for each lane, so lanes are ordered by (first free step, lane).
    """
    free = list(range(num_lanes))
    replace = heapq.heapreplace
    for taken in (lengths * num_lanes).tolist():
        key = free[0]
        replace(free, key + taken)
        yield key


def build(items, offsets, num_lanes):
    """Epoch of training sessions.

    Args:
      items: [E] int32 item indices, sessions one after the other.
      offsets: [S + 1] int64, session s is items[offsets[s]:offsets[s + 1]], at least two events.
      num_lanes: B >= 1; with more lanes than sessions, the other lanes stay at weight 0.
    Returns: Epoch; its weights sum to exactly the number of targets.
    """
    steps = np.diff(offsets) - 1
    return fill(items, offsets, steps, *assign_lanes(steps, num_lanes), num_lanes=num_lanes)


def build_longest_first(items, offsets, num_lanes, leading_skip):
    """Epoch of test sessions, longest first, so that all lanes end at about the same step.

    Args:
      items, offsets, num_lanes: as `build`.
      leading_skip: [S] bool: the session gets one more step in front, with x = -1 (no input, the
        state stays zero) and its first item as target; such a session may have one event.
    Returns: (Epoch, cells int64 [number of targets]): target n, counted session by session, is at
      position cells[n] of the flattened [T * B] arrays.
    """
    steps = np.diff(offsets) - 1 + leading_skip
    order = np.argsort(-steps, kind="stable")
    start, lane = np.zeros(len(steps), np.int64), np.zeros(len(steps), np.int32)
    start[order], lane[order] = assign_lanes(steps[order], num_lanes)
    epoch = fill(items, offsets, steps, start, lane, num_lanes, leading_skip)
    return epoch, _cells(start, lane, steps, num_lanes)


def fill(items, offsets, steps, start, lane, num_lanes, leading_skip=None):
    """Epoch with each session at its start [S] and lane [S]; arguments as above."""
    items, offsets = np.asarray(items, np.int32), np.asarray(offsets, np.int64)
    total = int((start + steps).max()) if len(steps) else 0
    x, y = np.zeros((2, total, num_lanes), np.int32)
    reset, weight = np.zeros((2, total, num_lanes), bool)
    if total:
        at = _cells(start, lane, steps, num_lanes)
        target = _targets(offsets, steps)
        source = items[target - 1]
        if leading_skip is not None:
            source[(np.cumsum(steps) - steps)[np.asarray(leading_skip, bool)]] = -1
        x.ravel()[at] = source
        y.ravel()[at] = items[target]
        weight.ravel()[at] = True
        reset[start, lane] = True
    return Epoch(x, y, reset, weight)


def _cells(start, lane, steps, num_lanes):
    """Flat [T * B] position of every target, session by session."""
    first = np.cumsum(steps) - steps
    at = np.arange(int(steps.sum()), dtype=np.int64)
    at -= np.repeat(first - start, steps)
    at *= num_lanes
    at += np.repeat(lane.astype(np.int64), steps)
    return at


def _targets(offsets, steps):
    """Index into items of every target: the last `steps` events of each session."""
    first = np.cumsum(steps) - steps
    target = np.arange(int(steps.sum()), dtype=np.int64)
    target += np.repeat(offsets[1:] - steps - first, steps)
    return target


def padded(epoch, num_steps):
    """An Epoch with steps of weight 0 appended, up to `num_steps`."""
    missing = num_steps - epoch.num_steps
    return Epoch(*[np.concatenate([a, np.zeros((missing,) + a.shape[1:], a.dtype)]) for a in epoch])

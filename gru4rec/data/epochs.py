"""The schedule of each epoch for one of several workers: its share of the sessions.

All workers make the same number of steps. A run that is resumed with another number of workers, or
without the hidden states of all of them, cannot keep the lanes in which the epoch was begun. What
is left of each session then starts in a new lane, at the event that was reached, with a hidden
state of zero.
"""

import logging
from typing import Any, Callable, NamedTuple, Optional

import numpy as np

from gru4rec.data import dataset, schedule
from gru4rec.data.sessions import Sessions, rows_of
from gru4rec.errors import ConfigError

_log = logging.getLogger(__name__)


class Share(NamedTuple):
    """The sessions of one worker.

    number: int64 [S], place of each of them among the sessions of all workers; None if unknown.
    steps_of_all: function () -> int64, number of steps of each session of all workers, by number.
    data: of a dataset directory (checksum of its header, number of events of all workers), else
      None.
    """

    sessions: Sessions
    number: Optional[np.ndarray]
    steps_of_all: Callable[[], np.ndarray]
    data: Any = None

    @property
    def is_whole(self):
        """Whether this worker alone holds all events of a dataset directory."""
        return self.data is not None and self.sessions.num_events == self.data[1]


def share_of(sessions, workers):
    """Share of one worker, from the data.sessions.Sessions of all workers."""
    number = np.arange(workers.rank, sessions.num_sessions, workers.size)
    return Share(shard(sessions, workers), number, lambda: np.diff(sessions.offsets) - 1)


def share_of_dataset(header, sessions, workers, session_order):
    """Share of one worker, which has read its `sessions` of a dataset directory.

    Args:
      header: data.dataset.Header. sessions: data.sessions.Sessions.
      workers: parallel.workers.Workers.
      session_order: "id" or "time".
    """
    def steps_of_all():
        steps = np.empty(header.sessions, np.int64)
        for partition in range(header.partitions):
            steps[partition::header.partitions] = dataset.lengths(header.path, partition) - 1
        return steps

    number = None
    if session_order == "id":
        number = np.arange(workers.rank, header.sessions, workers.size)
    return Share(sessions, number, steps_of_all, (dataset.digest(header.path), header.events))


class Epochs:
    """Schedules of the epochs of one worker; all workers build them at the same time.

    whole: data.schedule.Epoch from the first step to the last. num_targets: of all workers.
    """

    def __init__(self, share, num_lanes, workers, exchange=None):
        """Build the schedule of a whole epoch.

        Args:
          share: Share. num_lanes: of this worker. workers: parallel.workers.Workers.
          exchange: function (value) -> list of the values of all workers; None if they cannot talk
            to each other.
        """
        self._share, self._num_lanes = share, num_lanes
        self._workers, self._exchange = workers, exchange
        self.whole, self.num_targets = self._built(share.sessions)

    def of(self, divisions=()):
        """(data.schedule.Epoch, number of targets of all workers) of the rest of an epoch.

        Args:
          divisions: how its first part was trained: a sequence of (number of workers, lanes of
            each, steps made).
        """
        if not divisions:
            return self.whole, self.num_targets
        if self._share.number is None:
            _log.warning("the lanes in which this epoch was begun cannot be made again "
                         "(--session_order time, a dataset directory): it is trained from its "
                         "start")
            return self.whole, self.num_targets
        done = done_steps(self._share.steps_of_all(), divisions)[self._share.number]
        return self._built(tails(self._share.sessions, done))

    def _built(self, sessions):
        """(data.schedule.Epoch as long as the longest of all workers, targets of all workers)."""
        epoch = schedule.build(sessions.items, sessions.offsets, self._num_lanes)
        own = [epoch.num_steps, int(epoch.weight.sum())]
        if self._exchange is not None:
            of_workers = self._exchange(own)
        elif self._workers.size > 1:
            of_workers = self._of_workers()
        else:
            return epoch, own[1]
        num_steps, num_targets = zip(*of_workers)
        return schedule.padded(epoch, max(num_steps)), sum(num_targets)

    def _of_workers(self):
        """Yields (steps, targets) of the whole epoch of each worker; needs all sessions."""
        steps_of_all = self._share.steps_of_all()
        for rank in range(self._workers.size):
            steps = steps_of_all[rank::self._workers.size]
            start, _ = schedule.assign_lanes(steps, self._num_lanes)
            yield int((start + steps).max()), int(steps.sum())


def done_steps(steps, divisions):
    """How many steps of each session were made.

    Args:
      steps: int64 [S], number of steps of every session of all workers, by number; worker r of W
        trains the sessions r, r + W, ...
      divisions: as for `Epochs.of`.
    Returns: int64 [S].
    """
    left = np.array(steps, np.int64)
    for num_workers, num_lanes, steps_made in divisions:
        for rank in range(num_workers):
            own = np.arange(rank, len(left), num_workers)
            own = own[left[own] > 0]
            start, _ = schedule.assign_lanes(left[own], num_lanes)
            left[own] -= np.clip(steps_made - start, 0, left[own])
    return steps - left


def tails(sessions, done):
    """Sessions without their first `done` [S] steps; those that have no step left are dropped."""
    start, end = sessions.offsets[:-1] + done, sessions.offsets[1:]
    kept = np.flatnonzero(end - start >= 2)
    events, offsets = rows_of(start[kept], (end - start)[kept])
    return Sessions(sessions.items[events], offsets)


def shard(sessions, workers):
    """The sessions of one worker: every `size`-th, starting with number `rank`.

    Args:
      sessions: data.sessions.Sessions of all workers. workers: parallel.workers.Workers.
    Returns: Sessions.
    Raises: ConfigError if there are fewer sessions than workers.
    """
    if workers.size == 1:
        return sessions
    if sessions.num_sessions < workers.size:
        raise ConfigError("%d sessions cannot be shared by %d devices; train on fewer"
                          % (sessions.num_sessions, workers.size))
    own = np.arange(workers.rank, sessions.num_sessions, workers.size)
    events, offsets = rows_of(sessions.offsets[own], np.diff(sessions.offsets)[own])
    return Sessions(sessions.items[events], offsets)

"""The schedule of each epoch for one of several processes: its share of the sessions, in as many
steps as all make.

A run that goes on with another number of processes (or without the hidden states of all) gives up
the lanes in which an epoch was begun: what is left of each session then starts anew, from the event
that was reached, with a state of zero.
"""

import logging
from typing import Any, Callable, NamedTuple, Optional

import numpy as np

from gru4rec.data import dataset, schedule
from gru4rec.data.sessions import Sessions, rows_of
from gru4rec.errors import ConfigError

_log = logging.getLogger(__name__)


class Share(NamedTuple):
    """The sessions of one rank.

    number: int64 [S], the place of each of them among those of all ranks; None where it is not
    known.
    steps_of_all: function () -> int64, steps that each session of all ranks takes, by number.
    data: None, or (what stands for the data of all ranks, str; events) of a training file that
    is read in parts."""

    sessions: Sessions
    number: Optional[np.ndarray]
    steps_of_all: Callable[[], np.ndarray]
    data: Any = None

    @property
    def is_whole(self):
        """Whether a training file that is read in parts was read by this rank alone."""
        return self.data is not None and self.sessions.num_events == self.data[1]


def share_of(sessions, workers):
    """Share of data.sessions.Sessions of all ranks."""
    number = np.arange(workers.rank, sessions.num_sessions, workers.size)
    return Share(shard(sessions, workers), number, lambda: np.diff(sessions.offsets) - 1)


def share_of_dataset(header, sessions, workers, session_order):
    """Share of a data.dataset.Header, of which `sessions` are those of this rank."""
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
    """Schedules of the epochs of a rank; every rank makes one, at the same time."""

    def __init__(self, share, num_lanes, workers, exchange=None):
        """exchange: function (value) -> list of the values of all ranks; None where there is no
        such thing.
        """
        self._share, self._lanes = share, num_lanes
        self._workers, self._exchange = workers, exchange
        self.whole, self.num_targets = self._built(share.sessions)

    def of(self, divisions=()):
        """(data.schedule.Epoch, targets of all ranks) of what is left of an epoch.

        Args:
          divisions: how it was trained so far, a sequence of (workers, lanes of each, steps).
        """
        if not divisions:
            return self.whole, self.num_targets
        if self._share.number is None:
            _log.warning("the lanes in which this epoch was begun cannot be made again "
                         "(--session_order time, a dataset "
                         "directory): it is trained from its start")
            return self.whole, self.num_targets
        done = done_steps(self._share.steps_of_all(), divisions)[self._share.number]
        return self._built(tails(self._share.sessions, done))

    def _built(self, sessions):
        epoch = schedule.build(sessions.items, sessions.offsets, self._lanes)
        own = [epoch.num_steps, int(epoch.weight.sum())]
        if self._exchange is not None:
            said = self._exchange(own)
        elif self._workers.size > 1:
            said = self._of_ranks()
        else:
            return epoch, own[1]
        said = list(said)
        return schedule.padded(epoch,
                               max(steps for steps, _ in said)), sum(count for _, count in said)

    def _of_ranks(self):
        """[steps, targets] of the whole epoch of each rank, where each knows all sessions."""
        every = self._share.steps_of_all()
        for rank in range(self._workers.size):
            steps = every[rank::self._workers.size]
            yield int((schedule.assign_lanes(steps,
                                             self._lanes)[0] + steps).max()), int(steps.sum())


def build_epoch(sessions, num_lanes, workers):
    """schedule.Epoch of a rank, of data.sessions.Sessions of all: as long as the longest of any,
    for steps are made together.

    Steps without a live lane fill up the shorter ones, so every target is trained exactly once
    and no process waits."""
    return Epochs(share_of(sessions, workers), num_lanes, workers).whole


def done_steps(steps, divisions):
    """Steps of each session that were made.

    Args:
      steps: int64 [S] of all sessions, by number; session i is of rank i % size. divisions: as for
      Epochs.of.
    Returns: int64 [S].
    """
    left = np.array(steps, np.int64)
    for size, lanes, made in divisions:
        for rank in range(size):
            mine = np.arange(rank, len(left), size)
            mine = mine[left[mine] > 0]
            start, _ = schedule.assign_lanes(left[mine], lanes)
            left[mine] -= np.clip(made - start, 0, left[mine])
    return steps - left


def tails(sessions, done):
    """Sessions without their first `done` [S] steps; those with no step left are left out."""
    start, end = sessions.offsets[:-1] + done, sessions.offsets[1:]
    kept = np.flatnonzero(end - start >= 2)
    events, offsets = rows_of(start[kept], (end - start)[kept])
    return Sessions(sessions.items[events], offsets)


def shard(sessions, workers):
    """Every `size`-th session, from `rank` on: the share of a process.

    Args:
      sessions: data.sessions.Sessions. workers: parallel.workers.Workers.
    Returns: Sessions.
    Raises: ConfigError if there are fewer sessions than devices.
    """
    if workers.size == 1:
        return sessions
    if sessions.num_sessions < workers.size:
        raise ConfigError("%d sessions cannot be shared by %d devices; train on fewer"
                          % (sessions.num_sessions, workers.size))
    mine = np.arange(workers.rank, sessions.num_sessions, workers.size)
    events, offsets = rows_of(sessions.offsets[mine], np.diff(sessions.offsets)[mine])
    return Sessions(sessions.items[events], offsets)

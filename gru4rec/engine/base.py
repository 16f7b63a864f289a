"""What every engine has, and what it is given: a chunk of steps."""

from typing import NamedTuple

import numpy as np


class Chunk(NamedTuple):
    """Consecutive steps of an epoch; arrays [n, B] as in data.schedule.Epoch."""

    x: np.ndarray
    y: np.ndarray
    reset: np.ndarray
    weight: np.ndarray
    first_step: int  # number (1-based, as in the log) of the update its first row makes


class Engine:
    """What engines have in common."""

    whole_calls = False

    def agree(self, *votes):
        """What any of the processes that train together says, as a list of numbers; of one alone,
        what it says itself.
        """
        return list(votes)

    def rescued(self):
        """As `arrays`, after a process that trained together with this one is gone: hidden states
        are of this one alone.
        """
        raise RuntimeError("the state is that of one process alone")

    scaling = None  # with --loss_scale, after the first call: (scale, skipped steps so far)

    def start_epoch(self, epoch, steps_before, start=0):
        """Told of a data.schedule.Epoch before a chunk of it is run.

        steps_before: updates made before the epoch. start: its first row that is still to be
        trained."""


def chunk_of(epoch, start, stop, steps_before):
    """Rows start..stop of a data.schedule.Epoch; `steps_before` updates were made before the epoch
    began.
    """
    part = slice(start, stop)
    return Chunk(epoch.x[part], epoch.y[part], epoch.reset[part], epoch.weight[part],
                 steps_before + start + 1)

"""What every engine has, and what it is given: a chunk of steps."""

from typing import NamedTuple

import numpy as np

from gru4rec.model import state


class Chunk(NamedTuple):
    """Consecutive steps of an epoch; arrays [n, B] as in data.schedule.Epoch."""

    x: np.ndarray
    y: np.ndarray
    reset: np.ndarray
    weight: np.ndarray
    first_step: int  # number (1-based, as in the log) of the update its first row makes


class Engine:
    """What engines have in common; one that is derived from it makes the variables and the session.

    steps_per_run: the most steps of one call.
    whole_calls: whether every call but the last of an epoch makes exactly `steps_per_run` steps.
    scaling: with --loss_scale, after the first call: (scale, steps skipped so far).
    """

    whole_calls = False
    scaling = None

    def __init__(self, config, arrays):
        self._config, self._model, self._training = config, config.model, config.training
        self._endings = ("",) + state.slots(config.training)
        self._step_number = int(arrays[state.GLOBAL_STEP])

    def agree(self, *votes):
        """Sums of the votes of all processes that train together, as a list; of one alone, its own.

        votes: whole numbers.
        """
        return list(votes)

    def rescued(self):
        """As `arrays`, after another process of the training is gone.

        Hidden states are then those of this process alone.
        """
        raise RuntimeError("the state is that of one process alone")

    def start_epoch(self, epoch, steps_before, start=0):
        """Called with a data.schedule.Epoch before a chunk of it is run.

        Args:
          steps_before: updates made before the epoch.
          start: the first row of the epoch that is still to be trained.
        """

    def close(self):
        """End the session."""
        self._session.close()

    def _run(self, fetches, feed=None):
        return self._session.run(fetches, feed)

    def _losses(self, fetched):
        """The losses of a call, the first of what it fetched; a second is kept as `scaling`."""
        if self._scaling:
            scale, skipped = fetched[1]
            self.scaling = float(scale), int(skipped)
        return fetched[0]

    def _add_common(self, out):
        """Adds to the arrays of a state what all engines hold alike: no weights."""
        for i, value in enumerate(self._run(self._states)):
            out[state.hidden_state(i)] = value
        if self._scaling:
            out.update(zip(state.LOSS_SCALE, self._run(self._scaling.variables)))
        out[state.GLOBAL_STEP] = np.array(self._step_number, np.int64)


def chunk_of(epoch, start, stop, steps_before):
    """Rows start..stop of a data.schedule.Epoch, before which `steps_before` updates were made."""
    part = slice(start, stop)
    return Chunk(epoch.x[part], epoch.y[part], epoch.reset[part], epoch.weight[part],
                 steps_before + start + 1)

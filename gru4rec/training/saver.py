"""Saving a run: at the end of each epoch, at --save_every, and when a signal stops it. What is
saved is never NaN.
"""

import logging
import shlex
import time

import numpy as np

from gru4rec import checkpoint
from gru4rec.checkpoint import names as names_module
from gru4rec.command import invocation
from gru4rec.errors import ClusterError, DivergenceError, Interrupted
from gru4rec.model import state

_log = logging.getLogger(__name__)

NEVER = 2 ** 62


def interval(text):
    """--save_every -> (steps or None, seconds or None)."""
    if text is None:
        return None, None
    return (None, float(text[:-1])) if text.endswith("s") else (int(text), None)


def not_finite(config, arrays):
    """Name of the first weight or hidden state that holds a NaN or an infinity; None if all are
    finite.
    """
    names = list(state.weight_shapes(config.model,
                                     0)) + [state.hidden_state(i)
                                            for i in range(config.model.layer)]
    return next((name for name in names if not np.isfinite(arrays[name]).all()), None)


class Saver:
    """Writes the checkpoints of one run; knows when the next is due and what was saved last."""

    def __init__(self, config, directory, vocabulary, num_steps, data, phase="train",
                 validation=None,
                 writes=True):
        """directory: str, exists. data: function () -> `data_of`. validation: None or
        training.validation.Validation.

        writes: False saves nothing; of devices that train together one does.
        """
        self._writes = writes
        self._config, self._directory, self._vocabulary, self._num_steps = config, directory, vocabulary, num_steps
        self._make_data, self._data, self._phase, self._validation = data, None, phase, validation
        self._steps, self._seconds = interval(config.run.save_every)
        self._clock, self.saved_step, self._path, self._is_moment = time.monotonic(), None, None, False

    def next_step(self, done):
        """The first step after `done` that --save_every names: a chunk ends there. Far away if it
        names none.
        """
        return (done // self._steps + 1) * self._steps if self._steps else NEVER

    def is_due(self, done):
        """Whether --save_every asks for a save after update `done`; of several processes the one
        that writes decides.
        """
        if not self._writes:
            return False
        if self._steps:  # some calls go beyond the step that was asked for
            return done // self._steps > (self.saved_step or 0) // self._steps
        return self._seconds is not None and time.monotonic() - self._clock >= self._seconds

    def resumed(self, path, step, is_moment):
        """Tell of the checkpoint the run goes on from."""
        self._path, self.saved_step, self._is_moment = path, step, is_moment

    def save(self, arrays, position, is_moment):
        """Write a checkpoint unless this step was the last to be saved (the end of an epoch is no
        moment within it).

        Args:
          arrays: engine.arrays(). position: Position. is_moment: whether the epoch goes on.
        Raises: DivergenceError naming the tensor, and nothing is written; CheckpointError if the
        disk refuses."""
        step = int(arrays[state.GLOBAL_STEP])
        if not self._writes or (step == self.saved_step and (is_moment or not self._is_moment)):
            return
        bad = not_finite(self._config, arrays)
        if bad is not None:
            raise DivergenceError("%s is not finite after step %d (epoch %d); it was not saved, "
                                  "checkpoints saved before are "
                                  "intact, train again with a lower --lr or with --grad_cap"
                                  % (bad, step, position.epoch))
        if self._data is None:
            self._data = self._make_data()
        self._path = checkpoint.save(
            self._directory, self._config, self._vocabulary, arrays, position.epoch,
            self._num_steps,
            self._validation.record(position.epoch) if self._validation else None,
            position=position._asdict(), data=self._data, phase=self._phase, is_moment=is_moment)
        self.saved_step, self._is_moment = step, is_moment
        self.prune()
        self._clock = time.monotonic()

    def record_validation(self, epoch):
        """Add what the validation found to the checkpoint of an epoch."""
        if not self._writes:
            return
        checkpoint.record_validation(self._directory, epoch, self._validation.record(epoch))
        self.prune()

    def prune(self):
        """Remove what --keep does not ask for."""
        names_module.prune(self._directory, self._config.run.keep,
                           self._validation.best_epoch if self._validation else None)

    def finished(self):
        """The run is over: what was saved within epochs is needed no more."""
        if self._writes:
            names_module.remove(self._directory,
                                [n
                                 for n in names_module.listing(self._directory) if not n.is_epoch])

    def stopped(self, error, arrays, position, is_moment):
        """Save what a signal would lose -> the Interrupted to raise, which says how to go on.

        Args:
          error: Interrupted, as raised. arrays, position, is_moment: as for `save`.
        """
        if int(arrays[state.GLOBAL_STEP]) > 0:
            self.save(arrays, position, is_moment)
        if not self._writes:
            return Interrupted(error.signal_number, "interrupted; rank 0 saved what there was")
        if self._path is None:
            return Interrupted(error.signal_number,
                               "interrupted before the first step; nothing was saved")
        return Interrupted(error.signal_number, "interrupted; " + self._how_to_go_on())

    def _how_to_go_on(self):
        return ("saved %s; go on with: %s --resume 1 --checkpoint_dir %s"
                % (self._path, invocation.name("python -m gru4rec.main"),
                   shlex.quote(self._directory)))

    def lost(self, error, rescued, position):
        """Save what a process that is gone would take with it -> the ClusterError to raise, which
        says how to go on.

        Args:
          error: ClusterError, as raised. rescued: function () -> arrays, of this process alone.
          position: Position at the start of the epoch at hand; the steps made in it become one of
          its divisions.
        """
        if not self._writes:
            return error
        try:
            arrays = rescued()
            made = int(arrays[state.GLOBAL_STEP]) - position.steps
            if made > 0:
                lanes = self._config.training.batch_size
                position = position._replace(steps=0, loss_sum=0.0, seconds=0.0,
                                             divisions=position.divisions + (
                    (position.workers, lanes, made),))
                self.save(state.without_hidden(arrays, self._config, position.workers), position,
                          is_moment=True)
        # TensorFlow's errors are nothing narrower, and the one to say is `error`
        except Exception as failed:
            _log.warning("what was trained since the last checkpoint could not be saved: %s",
                         failed)
        if self._path is None:
            return ClusterError("%s; nothing was saved" % error)
        return ClusterError("%s; %s" % (error, self._how_to_go_on()))

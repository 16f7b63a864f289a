"""Saving a run: at the end of each epoch, at --save_every, and when a signal stops it.

Also when another process is lost. After each save, what --keep does not ask for is removed. A
weight that is not finite is never saved.
"""

import logging
import shlex
import time

import numpy as np

from gru4rec import checkpoint
from gru4rec.checkpoint import names
from gru4rec.command import invocation
from gru4rec.errors import ClusterError, DivergenceError, Interrupted
from gru4rec.model import state
from gru4rec.training.plan import interval, redivided

_log = logging.getLogger(__name__)


class Saver:
    """Writes the checkpoints of one run; knows when the next is due and what was saved last."""

    def __init__(self, config, device, vocabulary, num_steps, make_data, phase="train",
                 validation=None):
        """The directory is --checkpoint_dir; it need not exist yet.

        Args:
          config: config.Config. vocabulary: data.vocab.Vocabulary. num_steps: of the whole run.
          device: device.base.Device; of several that train together rank 0 alone saves.
          make_data: function () -> training.fingerprint.data_of; called before the first save.
          phase: "train" | "refit". validation: None, or training.validation.Validation.
        """
        self._config, self._vocabulary, self._num_steps = config, vocabulary, num_steps
        self._directory = config.run.checkpoint_dir
        self._make_data, self._data = make_data, None
        self._phase, self._validation = phase, validation
        workers = device.workers
        self._writes = workers.rank == 0
        # within an epoch the hidden states of all devices are needed, and somebody to collect them
        self._saves_moments = workers.size == 1 or device.communicator.exchange is not None
        self._every_steps, self._every_seconds = interval(config.run.save_every)
        self._clock = time.monotonic()
        self.saved_step, self._path, self._is_moment = None, None, False  # of the last checkpoint

    def is_due(self, done):
        """Whether --save_every asks for a save after update `done`.

        Of several processes the one that writes decides.
        """
        if not self._writes:
            return False
        if self._every_steps:  # some calls go beyond the step that was asked for
            return done // self._every_steps > (self.saved_step or 0) // self._every_steps
        return (self._every_seconds is not None
                and time.monotonic() - self._clock >= self._every_seconds)

    def resumed(self, path, step, is_moment):
        """Tell of the checkpoint that the run goes on from."""
        self._path, self.saved_step, self._is_moment = path, step, is_moment

    def save(self, arrays, position, is_moment):
        """Write a checkpoint, unless the last one was saved at this step.

        The end of an epoch is written even then if the last one was a moment within the epoch.

        Args:
          arrays: engine.arrays(). position: checkpoint.manifest.Position. is_moment: whether the
          epoch goes on.
        Raises: DivergenceError naming the tensor that is not finite, and nothing is written;
          CheckpointError if the disk refuses.
        """
        step = int(arrays[state.GLOBAL_STEP])
        is_saved = step == self.saved_step and (is_moment or not self._is_moment)
        if not self._writes or is_saved:
            return
        tensor = self.not_finite(arrays)
        if tensor is not None:
            raise DivergenceError("%s is not finite after step %d (epoch %d); it was not saved, "
                                  "checkpoints saved before are intact, train again with a lower "
                                  "--lr or with --grad_cap" % (tensor, step, position.epoch))
        if self._data is None:
            self._data = self._make_data()
        record = self._validation.record(position.epoch) if self._validation else None
        self._path = checkpoint.save(
            self._directory, self._config, self._vocabulary, arrays, position.epoch,
            self._num_steps, record, position=position._asdict(), data=self._data,
            phase=self._phase, is_moment=is_moment)
        self.saved_step, self._is_moment = step, is_moment
        self._prune()
        self._clock = time.monotonic()

    def not_finite(self, arrays):
        """Name of the first weight or hidden state with a NaN or an infinity in it, or None."""
        model = self._config.model
        checked = list(state.weight_shapes(model, 0))
        checked += [state.hidden_state(i) for i in range(model.layer)]
        return next((name for name in checked if not np.isfinite(arrays[name]).all()), None)

    def record_validation(self, epoch):
        """Add what the validation measured to the checkpoint of an epoch."""
        if self._writes:
            checkpoint.record_validation(self._directory, epoch, self._validation.record(epoch))
            self._prune()

    def _prune(self):
        """Remove what --keep does not ask for."""
        best_epoch = self._validation.best_epoch if self._validation else None
        names.prune(self._directory, self._config.run.keep, best_epoch)

    def finished(self):
        """The run is over: remove the moments within epochs, which nobody needs any more."""
        if self._writes:
            moments = [name for name in names.listing(self._directory) if not name.is_epoch]
            names.remove(self._directory, moments)

    def stopped(self, error, make_arrays, position, is_moment):
        """Save what a signal would lose.

        Args:
          error: Interrupted, as raised. make_arrays: function () -> engine.arrays().
          position, is_moment: as for `save`.
        Returns: the Interrupted to raise, which says how to go on.
        """
        if not self._saves_moments:
            return error
        arrays = make_arrays()
        if int(arrays[state.GLOBAL_STEP]) > 0:
            self.save(arrays, position, is_moment)
        if not self._writes:
            message = "interrupted; rank 0 saved what there was"
        elif self._path is None:
            message = "interrupted before the first step; nothing was saved"
        else:
            message = "interrupted; " + self._how_to_go_on()
        return Interrupted(error.signal_number, message)

    def lost(self, error, rescue, position, before):
        """Save what would be lost because another process is gone.

        Args:
          error: ClusterError, as raised. rescue: function () -> arrays, of this process alone.
          position: Position in the epoch at hand. before: updates made before that epoch; the
          steps made in it become one of its divisions.
        Returns: the ClusterError to raise, which says how to go on.
        """
        if not self._writes:
            return error
        try:
            arrays = rescue()
            steps = int(arrays[state.GLOBAL_STEP]) - before
            if steps > 0:
                arrays = state.without_hidden(arrays, self._config, position.workers)
                lanes = self._config.training.batch_size
                self.save(arrays, redivided(position, lanes, steps), is_moment=True)
        # TensorFlow's errors have no narrower class in common; the error to report is `error`
        except Exception as failure:
            _log.warning("what was trained since the last checkpoint could not be saved: %s",
                         failure)
        if self._path is None:
            return ClusterError("%s; nothing was saved" % error)
        return ClusterError("%s; %s" % (error, self._how_to_go_on()))

    def _how_to_go_on(self):
        return ("saved %s; go on with: %s --resume 1 --checkpoint_dir %s"
                % (self._path, invocation.name("python -m gru4rec.main"),
                   shlex.quote(self._directory)))

"""The training loop: epochs in calls of the engine; what is logged and saved between them.

`training.plan` says which steps are made, `training.start` where a run begins, `training.saver`
what is saved.
"""

import contextlib
import itertools
import logging
import os
import signal
import time

from gru4rec import engine
from gru4rec.checkpoint import manifest
from gru4rec.command.interrupts import StopRequest
from gru4rec.command.process import progress
from gru4rec.data.epochs import Epochs, Share, share_of
from gru4rec.engine import base
from gru4rec.errors import ClusterError, ConfigError, DivergenceError, Interrupted
from gru4rec.evaluation.baselines import rules
from gru4rec.model import divergence, state
from gru4rec.runlog.rows import Metrics
from gru4rec.training import fingerprint
from gru4rec.training.log import TrainLog
from gru4rec.training.plan import divided, plan_of
from gru4rec.training.saver import Saver

_log = logging.getLogger("gru4rec.train")


def train(start, device, vocabulary, sessions, directory, validation=None):
    """Train, and save after every epoch.

    Args:
      start: training.start.Start. device: device.base.Device; of several that train together rank 0
      alone writes files.
      vocabulary: data.vocab.Vocabulary. sessions: data.sessions.Sessions of all workers, or
      data.epochs.Share of this one.
      directory: training.directory.RunDirectory of --checkpoint_dir, entered.
      validation: None, or training.validation.Validation, which is told of every epoch and may end
      the training.
    Raises: ConfigError for too many steps, and for what several devices cannot do;
      Interrupted if SIGINT or SIGTERM came, after the call at hand has ended and is saved;
      DivergenceError with the step at which the loss was not finite, or absurd (model.divergence);
      ClusterError if another process is gone. Checkpoints saved before stay in each case.
    """
    config, workers, exchange = start.config, device.workers, device.communicator.exchange
    _check_workers(config, workers, exchange is not None, isinstance(sessions, Share))
    share = sessions if isinstance(sessions, Share) else share_of(sessions, workers)
    lanes = config.training.batch_size
    epochs = Epochs(share, lanes, workers, exchange)
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(StopRequest())
        arrays = start.origin.arrays(config, vocabulary)
        num_saved = workers.size if exchange else 1  # workers whose hidden states are saved
        position = divided(start.origin.position or manifest.START, num_saved, lanes)
        first = epochs.of(position.divisions)
        updates = int(arrays[state.GLOBAL_STEP])
        plan = plan_of(config, position, updates, first[0].num_steps, epochs.whole.num_steps)
        # the saved hidden states are those of other lanes, or there are none
        if len(arrays[state.hidden_state(0)]) != num_saved * lanes:
            arrays = state.without_hidden(arrays, config, num_saved)
        trainer = stack.enter_context(contextlib.closing(
            engine.create(config, device, arrays, plan.num_steps, vocabulary.support)))
        stop.check()
        test = validation.test if validation else None
        saver = Saver(config, device, vocabulary, plan.num_steps,
                      lambda: fingerprint.data_of(vocabulary, sessions, test), start.phase,
                      validation)
        if workers.rank == 0:
            _prepare_directory(start, directory, saver, vocabulary, sessions)
        if validation and start.origin.record:
            validation.restore(start.origin.record)
        log = TrainLog(config, position, workers.rank == 0, state.skipped_steps(arrays),
                       _watch(config, position, vocabulary, workers.size))
        bar = stack.enter_context(progress("train", "step")(plan.num_steps))
        if bar is not None:
            bar.update(updates)
        loop = Loop(plan, trainer, log, saver, stop, bar, validation)
        loop.run(first, (epochs.whole, epochs.num_targets))
        saver.finished()


class Loop:
    """The steps of a run; between the engine's calls it logs, saves and obeys signals."""

    def __init__(self, plan, trainer, log, saver, stop, bar=None, validation=None):
        """The parts of a run.

        Args:
          plan: training.plan.Plan. trainer: engine.base.Engine. log: training.log.TrainLog.
          saver: training.saver.Saver. stop: command.interrupts.StopRequest, entered.
          bar: None, or object with update(steps). validation: as for `train`.
        """
        self._plan, self._trainer, self._log, self._saver = plan, trainer, log, saver
        self._stop, self._bar, self._validation = stop, bar, validation
        self._epoch = None  # training.plan.PlannedEpoch at hand

    def run(self, first, other):
        """Train the epochs of the plan.

        Args:
          first, other: (data.schedule.Epoch, targets of all workers) of the first epoch and of each
          later one.
        Raises: as `train`.
        """
        schedules = itertools.chain([first], itertools.repeat(other))
        try:
            for epoch, (schedule, num_targets) in zip(self._plan.epochs(), schedules):
                self._epoch = epoch
                self._make_steps(schedule)
                self._log.epoch_done(num_targets)
                self._end_epoch()
                if self._validation and self._validation.is_over(epoch.number):
                    break
        except Interrupted as error:
            position = self._log.position()
            is_moment = position.steps < self._epoch.num_steps
            raise self._saver.stopped(error, self._trainer.arrays, position, is_moment) from None
        except ClusterError as error:
            raise self._saver.lost(error, self._trainer.rescued, self._log.position(),
                                   self._epoch.before) from None

    def _make_steps(self, schedule):
        """The steps of the epoch at hand, from the first that was not made before the run began."""
        epoch, start = self._epoch, self._log.start_epoch(self._epoch.number)
        self._trainer.start_epoch(schedule, epoch.before, start)
        may_save = False  # nothing is new before the first call
        while start < epoch.num_steps:
            self._obey(epoch.before + start, may_save)
            end = self._plan.call_end(epoch, start, self._trainer.steps_per_run,
                                      self._trainer.whole_calls)
            self._call(schedule, start, end)
            start, may_save = end, True

    def _obey(self, done, may_save):
        """Save where --save_every asks for it after update `done`, and stop where a signal asks.

        Processes that train together agree on both, so that all do the same after the same step.
        """
        signal_number = self._signal()
        is_due = may_save and self._saver.is_due(done)
        signals, saves = self._trainer.agree(signal_number, int(is_due))
        if saves:
            with self._log.clock_stopped():
                self._saver.save(self._trainer.arrays(), self._log.position(), is_moment=True)
        if signals:
            raise Interrupted(signal_number or signal.SIGTERM)

    def _signal(self):
        """Number of the signal that asks this process to stop; 0 for none."""
        try:
            self._stop.check()
            return 0
        except Interrupted as error:
            return error.signal_number

    def _call(self, schedule, start, end):
        """Make the steps start..end of the epoch at hand in one call of the engine."""
        done, began = self._epoch.before + start, time.perf_counter()
        losses = self._trainer.run(base.chunk_of(schedule, start, end, self._epoch.before))
        diverged = self._log.watch.first(losses)
        if diverged:
            raise self._divergence(diverged, done + diverged.index + 1)
        self._log.scaling = self._trainer.scaling
        self._log.add(done, losses, schedule.weight[start:end], began)
        if self._bar is not None:
            self._bar.update(end - start)

    def _divergence(self, diverged, step):
        """The DivergenceError of a model.divergence.Diverged; nothing is saved any more."""
        tensor = self._saver.not_finite(self._trainer.arrays())
        also = ""
        if tensor is not None:
            also = ", %s is not finite" % tensor + ("" if diverged.why else " either")
        return DivergenceError("the loss is %g at step %d (epoch %d)%s%s; checkpoints saved before "
                               "are intact, train again with a lower --lr or with --grad_cap"
                               % (diverged.loss, step, self._epoch.number, diverged.why, also))

    def _end_epoch(self):
        """Save, then validate: what was trained stays, whatever stops the validation."""
        with self._log.clock_stopped():
            arrays = self._trainer.arrays()
            self._saver.save(arrays, self._log.position(), is_moment=False)
            if self._validation:
                self._validation.add(self._epoch.number, arrays)
                self._saver.record_validation(self._epoch.number)


def _check_workers(config, workers, can_exchange, in_parts):
    """Refuse what devices that train together cannot do yet."""
    if workers.size == 1:
        return
    training, run = config.training, config.run
    if in_parts and not can_exchange:
        raise ConfigError("--train_path %s: a dataset directory cannot be trained on by %d devices "
                          "yet; give the plain file" % (config.data.train_path, workers.size))
    if config.validation.is_on and not can_exchange:
        raise ConfigError("a validation is not possible on %d devices yet; train on one device, or "
                          "leave the validation out" % workers.size)
    if (run.resume or run.save_every) and not can_exchange:
        raise ConfigError("--resume and --save_every are not possible on %d devices yet: each "
                          "device has its own lanes, and a checkpoint holds only the hidden states "
                          "of rank 0; leave the flags out" % workers.size)
    used = "as it is given"
    if training.base_lr != training.lr:
        used = "times %g" % (training.base_lr / training.lr)
    _log.info("rank %d of %d devices: %d lanes on each, gradients are means over all; --lr %g is "
              "used %s", workers.rank, workers.size, training.batch_size, training.lr, used)


def _watch(config, position, vocabulary, num_workers):
    """model.divergence.Watch of a run that goes on at a Position."""
    largest_support = int(vocabulary.support.max())
    chance = divergence.chance(config, len(vocabulary), largest_support, num_workers)
    return divergence.Watch(chance, position.mean_loss, position.best_loss,
                            divergence.limit(config))


def _prepare_directory(start, directory, saver, vocabulary, sessions):
    """Make the directory ready for a new run, or the rows of an earlier one for going on."""
    config, saved = start.config, start.origin.saved
    if saved is None:
        directory.begin(start.refit.text() if start.refit else None)
    else:
        saver.resumed(saved.path, saved.step, not saved.name.is_epoch)
        Metrics(config.run.checkpoint_dir).rewind(saved.position.epoch, saved.step)
    # An evaluation sees no training file, so the rules are saved here.
    path = directory.file(rules.FILE)
    if not config.evaluation.compare_rules or (saved is not None and os.path.exists(path)):
        return
    if isinstance(sessions, Share):
        if not sessions.is_whole:
            _log.info("no sequential rules are saved: no process has read all events")
            return
        sessions = sessions.sessions
    rules.save(path, rules.build(sessions, len(vocabulary)), vocabulary)

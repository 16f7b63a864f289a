"""The training loop: epochs over chunks, log lines, checkpoints; from the start or from where a run stopped."""

import contextlib
import logging
import os
import time

import numpy as np

from gru4rec import engine, lr_schedule, resume, run_state, schedule
from gru4rec.baselines import rules
from gru4rec.engine import state
from gru4rec.errors import ConfigError, DivergenceError, Interrupted
from gru4rec.interrupts import StopRequest
from gru4rec.run_directory import RunDirectory
from gru4rec.runlog import Metrics, say, time_line, train_line

_log = logging.getLogger(__name__)


def train(config, device, vocabulary, sessions, progress=None, validation=None, start=None, directory=None):
    """Train and save every epoch.

    Args:
      config: config.Config. device: device.base.Device.
      vocabulary: data.vocab.Vocabulary. sessions: data.sessions.Sessions.
      progress: None, or function (total steps) -> context manager with update(n), such as a tqdm bar.
      validation: None, or validation.Validation, which is told of every epoch and may end the training.
      start: None for fresh weights, or resume.Start.
      directory: None, or run_directory.RunDirectory of --checkpoint_dir, entered.
    Raises: ConfigError for too many steps; Interrupted, after the chunk at hand is made and saved, if SIGINT or SIGTERM came;
      DivergenceError with the step at which the loss stopped being finite. Checkpoints before either stay.
    """
    epoch = schedule.build(sessions.items, sessions.offsets, config.training.batch_size)
    num_steps = epoch.num_steps * config.training.epoch
    if num_steps > state.MAX_STEPS:
        raise ConfigError("--epoch %d makes %d steps; at most %d are possible"
                          % (config.training.epoch, num_steps, state.MAX_STEPS))
    start = start or resume.Start(config)
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(StopRequest())
        directory = directory or stack.enter_context(RunDirectory(config.run.checkpoint_dir))
        trainer = stack.enter_context(contextlib.closing(
            engine.create(config, device, start.arrays(vocabulary), num_steps, vocabulary.support)))
        stop.check()
        test = validation.test if validation else None
        saver = run_state.Saver(config, config.run.checkpoint_dir, vocabulary, num_steps,
                                lambda: run_state.data_of(vocabulary, sessions, test), start.phase, validation)
        position = _prepare_directory(config, directory, start, saver, vocabulary, sessions)
        if validation and start.record:
            validation.restore(start.record)
        log = _Log(config, position)
        with progress(num_steps) if progress else contextlib.nullcontext() as bar:
            if bar is not None:
                bar.update(position.epoch * epoch.num_steps + position.steps)
            try:
                for number in range(position.epoch, config.training.epoch):
                    _train_epoch(config, trainer, epoch, number, log, bar, stop, saver)
                    log.epoch_done(sessions.num_targets)
                    _end_epoch(trainer, number, log, saver, validation)
                    if validation and validation.is_over(number):
                        break
            except Interrupted as error:
                at = log.position()
                raise saver.stopped(error, trainer.arrays(), at, at.steps < epoch.num_steps) from None
        saver.finished()


def _prepare_directory(config, directory, start, saver, vocabulary, sessions):
    """Make the directory ready for a new run, or the records of an earlier one for going on -> Position to go on from."""
    position = start.position()
    if position is None:
        directory.begin(start.refit.text() if start.refit else None)
    else:
        saver.resumed(directory.file(str(start.name)), start.manifest["step"])
        Metrics(config.run.checkpoint_dir).rewind(position.epoch, start.manifest["step"])
    path = directory.file(rules.FILE)
    if config.evaluation.compare_rules and not (position and os.path.exists(path)):  # evaluation sees no training file
        rules.save(path, rules.build(sessions, len(vocabulary)), vocabulary)
    return position or run_state.START


def _train_epoch(config, trainer, epoch, number, log, bar, stop, saver):
    before, start = number * epoch.num_steps, log.start_epoch(number)
    while start < epoch.num_steps:
        stop.check()
        # A log line ends a chunk, so that its time is that of its own steps.
        end = min(start + trainer.steps_per_run, epoch.num_steps, log.next_line(before + start) - before,
                  saver.next_step(before + start) - before)
        losses = trainer.run(engine.chunk_of(epoch, start, end, before))
        bad = np.flatnonzero(~np.isfinite(losses))
        if len(bad):
            raise _diverged(config, trainer, losses[bad[0]], before + start + bad[0] + 1, number)
        log.add(before + end, losses)
        if bar is not None:
            bar.update(end - start)
        start = end
        if start < epoch.num_steps and saver.is_due(before + start):
            with log.clock_stopped():
                saver.save(trainer.arrays(), log.position(), is_moment=True)


def _diverged(config, trainer, loss, step, number):
    tensor = run_state.not_finite(config, trainer.arrays())
    return DivergenceError("the loss is %s at step %d (epoch %d)%s; checkpoints saved before are intact, train again with a "
                           "lower --lr or with --grad_cap"
                           % (loss, step, number, "" if tensor is None else ", %s is not finite either" % tensor))


def _end_epoch(trainer, number, log, saver, validation):
    with log.clock_stopped():
        arrays = trainer.arrays()
        saver.save(arrays, log.position(), is_moment=False)  # first: what was trained stays, whatever stops the validation
        if validation:
            validation.add(number, arrays)
            saver.record_validation(number)


class _Log:
    """Running mean and clock of the log lines."""

    def __init__(self, config, position=run_state.START):
        """position: run_state.Position to begin at; from a later epoch on `start_epoch` begins with nothing."""
        self._training, self._every = config.training, config.run.log_every
        self._metrics = Metrics(config.run.checkpoint_dir, config.run.tensorboard)
        self._steps_since, self._clock = 0, time.perf_counter()
        self._begin(position)

    def _begin(self, position):
        self._epoch, self._count, self._loss_sum, self._seconds = position
        self._epoch_clock = time.perf_counter()

    def start_epoch(self, number):
        """Steps of the epoch that were made before: 0, but for the one a run goes on in."""
        self._begin(self.position() if number == self._epoch else run_state.START._replace(epoch=number))
        return self._count

    def position(self):
        """run_state.Position after the last step that was counted."""
        seconds = self._seconds + time.perf_counter() - self._epoch_clock
        return run_state.Position(self._epoch, self._count, self._loss_sum, seconds)

    def next_line(self, done):
        """The first step after `done` that is logged: 1, then each multiple of --log_every."""
        return 1 if done == 0 else (done // self._every + 1) * self._every

    def add(self, step, losses):
        """Count a chunk that ended with update `step`; writes the lines if it is one that is logged."""
        for loss in losses.tolist():  # one by one: the sum must not depend on where chunks end
            self._loss_sum += loss
        self._count += len(losses)
        self._steps_since += len(losses)
        if step == 1 or step % self._every == 0:
            self._write(step)

    def _write(self, step):
        lr, loss = self._rate(step), self._loss_sum / self._count
        seconds = (time.perf_counter() - self._clock) / self._steps_since
        say(train_line(self._epoch, step, lr, loss))
        say(time_line(seconds))
        self._metrics.add("train", epoch=self._epoch, step=step, lr=lr, loss=loss, seconds_per_step=seconds)
        self._steps_since, self._clock = 0, time.perf_counter()

    def _rate(self, step):
        return float(lr_schedule.learning_rate(step, self._training.lr, self._training.decay, self._training.decay_steps))

    @contextlib.contextmanager
    def clock_stopped(self):
        """What happens meanwhile (writing a checkpoint) is no step's time; the steps before it still count."""
        stopped = time.perf_counter()
        yield
        seconds = time.perf_counter() - stopped
        self._clock, self._epoch_clock = self._clock + seconds, self._epoch_clock + seconds

    def epoch_done(self, num_targets):
        number, seconds = self._epoch, self.position().seconds
        self._metrics.add("epoch", epoch=number, loss=self._loss_sum / self._count, seconds=seconds,
                          events=num_targets, events_per_s=num_targets / seconds)
        _log.info("epoch %d: loss %.6f, %d events in %.1f s (%.0f events/s)", number, self._loss_sum / self._count,
                  num_targets, seconds, num_targets / seconds)

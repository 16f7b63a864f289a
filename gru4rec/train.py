"""The training loop: epochs over chunks, log lines, one checkpoint per epoch."""

import contextlib
import logging
import os
import time

import numpy as np

from gru4rec import checkpoint, engine, lr_schedule, ranks
from gru4rec.baselines import rules
from gru4rec.engine import state
from gru4rec.errors import ConfigError, DivergenceError
from gru4rec.interrupts import StopRequest
from gru4rec.runlog import Metrics, modelzoo_lines, say, time_line, train_line

_log = logging.getLogger(__name__)

MANY_SKIPPED = 100  # overflowing steps in a row after which a training is given up
MAX_STEPS = 10 ** 8  # a typing error in --epoch must not take the machine's memory: each step has a row in three tables


def train(config, device, vocabulary, sessions, progress=None, validation=None):
    """Train from fresh weights and save every epoch.

    Args:
      config: config.Config. device: device.base.Device.
      vocabulary: data.vocab.Vocabulary. sessions: data.sessions.Sessions.
      progress: None, or function (total steps) -> context manager with update(n), such as a tqdm bar.
      validation: None, or validation.Validation, which is told of every epoch and may end the training.
    Raises: ConfigError for too many steps; Interrupted, after the chunk at hand, if SIGINT or SIGTERM came;
      DivergenceError with the step at which the loss stopped being finite. Checkpoints before either stay.
    """
    _check_ranks(config, device.ranks)
    writes = device.ranks.rank == 0
    epoch = ranks.build_epoch(sessions, config.training.batch_size, device.ranks)
    num_steps = epoch.num_steps * config.training.epoch
    if num_steps > MAX_STEPS:
        raise ConfigError("--epoch %d makes %d steps; at most %d are possible"
                          % (config.training.epoch, num_steps, MAX_STEPS))
    with StopRequest() as stop, contextlib.closing(
            engine.create(config, device, state.initial(config, len(vocabulary)), num_steps,
                          vocabulary.support)) as trainer:
        stop.check()
        if writes:
            checkpoint.prepare_directory(config.run.checkpoint_dir)
        if writes and config.evaluation.compare_rules:  # evaluation does not see the training file
            rules.save(os.path.join(config.run.checkpoint_dir, rules.FILE), rules.build(sessions, len(vocabulary)),
                       vocabulary)
        log = _Log(config, writes)
        with progress(num_steps) if progress else contextlib.nullcontext() as bar:
            for number in range(config.training.epoch):
                _train_epoch(trainer, epoch, number, log, bar, stop)
                log.epoch_done(number, int(epoch.weight.sum()))
                with log.clock_stopped():
                    arrays = trainer.arrays()
                    try:
                        if validation:
                            validation.add(number, arrays)
                    finally:  # what was trained is saved, whatever stopped the validation
                        if writes:
                            checkpoint.save(config.run.checkpoint_dir, config, vocabulary, arrays, number, num_steps,
                                            validation.record(number) if validation else None)
                if validation and validation.is_over(number):
                    break


def _check_ranks(config, found):
    """Refuse what devices that train together cannot do yet."""
    if found.size == 1:
        return
    training = config.training
    if config.validation.is_on:
        raise ConfigError("a validation has no meaning on %d devices yet: train on one, or leave it out" % found.size)
    if training.momentum or training.optimizer == "rmsprop":
        raise ConfigError("--optimizer %s with --momentum %s is not there on %d devices: a device without live lanes would "
                          "move rows that no batch names; use adam, adagrad or sgd"
                          % (training.optimizer, training.momentum, found.size))
    _log.info("rank %d of %d devices: %d lanes on each, gradients are means over all; --lr %g is used as it is given",
              found.rank, found.size, training.batch_size, training.lr)


def _train_epoch(trainer, epoch, number, log, bar, stop):
    before, start = number * epoch.num_steps, 0
    log.start_epoch(number)
    trainer.start_epoch(epoch, before)
    while start < epoch.num_steps:
        stop.check()
        end = min(start + trainer.steps_per_run, epoch.num_steps)
        if not trainer.whole_calls:  # a log line ends a call, so that its time is that of its own steps
            end = min(end, log.next_line(before + start) - before)
        began = time.perf_counter()
        losses = trainer.run(engine.chunk_of(epoch, start, end, before))
        bad = np.flatnonzero(~np.isfinite(losses))
        if len(bad):
            raise DivergenceError("the loss is %s at step %d (epoch %d); checkpoints of earlier epochs are intact, train "
                                  "again with a lower --lr or with --grad_cap"
                                  % (losses[bad[0]], before + start + bad[0] + 1, number))
        log.scaling = trainer.scaling
        log.add(before + start, losses, epoch.weight[start:end], began)
        if bar is not None:
            bar.update(end - start)
        start = end


class _Log:
    """Running mean and clock of the log lines."""

    def __init__(self, config, writes=True):
        """writes: whether rows go to metrics.jsonl; of devices that train together one does."""
        self._training, self._every = config.training, config.run.log_every
        self._metrics = Metrics(config.run.checkpoint_dir) if writes else None
        self.scaling, self._skipped = None, 0  # with --loss_scale: (scale, skipped steps), and those of the last line
        self._modelzoo = config.port.log_format == "modelzoo"
        self._steps_since, self._targets_since, self._clock = 0, 0, time.perf_counter()

    def start_epoch(self, number):
        self._epoch, self._loss_sum, self._count = number, 0.0, 0
        self._epoch_clock = time.perf_counter()

    def next_line(self, done):
        """The first step after `done` that is logged: 1, then each multiple of --log_every."""
        return 1 if done == 0 else (done // self._every + 1) * self._every

    def add(self, done, losses, weight, began):
        """Count the steps of a session call and write the lines due; a step inside it ended after its share of the time.

        Args:
          done: updates made before. losses: [n] float. weight: [n, B] bool, of the schedule.
          began: time.perf_counter() before the call.
        """
        seconds, count, start = time.perf_counter() - began, len(losses), 0
        while start < count:
            stop = min(count, self.next_line(done + start) - done)
            self._loss_sum += float(np.sum(losses[start:stop], dtype=np.float64))
            self._count += stop - start
            self._steps_since += stop - start
            if self._modelzoo:
                self._targets_since += int(weight[start:stop].sum())
            if done + stop == self.next_line(done + stop - 1):
                self._write(done + stop, began + seconds * stop / count)
            start = stop

    def _write(self, step, now):
        writing = time.perf_counter()
        lr, loss = self._rate(step), self._loss_sum / self._count
        seconds = (now - self._clock) / self._steps_since
        say(train_line(self._epoch, step, lr, loss))
        say(time_line(seconds))
        if self._modelzoo:
            for line in modelzoo_lines(seconds, self._targets_since / (seconds * self._steps_since)):
                say(line)
        self._row("train", step=step, lr=lr, loss=loss, seconds_per_step=seconds, **self._overflows(step))
        self._steps_since, self._targets_since = 0, 0
        self._clock = now + time.perf_counter() - writing

    def _row(self, kind, **values):
        if self._metrics is not None:
            self._metrics.add(kind, epoch=self._epoch, **values)

    def _overflows(self, step):
        """What a row says of the loss scale; a warning for steps skipped since the last line.

        Raises: DivergenceError if all of many steps were skipped: nothing is learnt any more.
        """
        if self.scaling is None:
            return {}
        scale, skipped = self.scaling
        new, self._skipped = skipped - self._skipped, skipped
        if new:
            _log.warning("step %d: gradients of %d of the last %d steps overflowed and count as zero; the loss scale is %g",
                         step, new, self._steps_since, scale)
        if new >= max(self._steps_since, MANY_SKIPPED):
            raise DivergenceError("the gradients of all %d steps up to step %d overflowed (loss scale %g); checkpoints of "
                                  "earlier epochs are intact, train again with a smaller --loss_scale or another "
                                  "--precision_mode" % (new, step, scale))
        return {"loss_scale": scale, "skipped_steps": skipped}

    def _rate(self, step):
        return float(lr_schedule.learning_rate(step, self._training.lr, self._training.decay, self._training.decay_steps))

    @contextlib.contextmanager
    def clock_stopped(self):
        """What happens meanwhile (writing a checkpoint) is no step's time; the steps before it still count."""
        stopped = time.perf_counter()
        yield
        self._clock += time.perf_counter() - stopped

    def epoch_done(self, number, num_targets):
        seconds = time.perf_counter() - self._epoch_clock
        self._row("epoch", loss=self._loss_sum / self._count, seconds=seconds, events=num_targets,
                  events_per_s=num_targets / seconds)
        _log.info("epoch %d: loss %.6f, %d events in %.1f s (%.0f events/s)", number, self._loss_sum / self._count,
                  num_targets, seconds, num_targets / seconds)

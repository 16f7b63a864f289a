"""What a training logs while it runs: log lines, rows of metrics.jsonl, and the clock for both.

It ends a run whose gradients overflow in every step.
"""

import contextlib
import logging
import time

from gru4rec.checkpoint import manifest
from gru4rec.command.process import say
from gru4rec.errors import DivergenceError
from gru4rec.model import divergence, learning_rate
from gru4rec.runlog.lines import modelzoo_lines, time_line, train_line
from gru4rec.runlog.rows import Metrics
from gru4rec.training.plan import next_line

_log = logging.getLogger("gru4rec.train")

MANY_SKIPPED = 100  # overflowing steps in a row after which a training is given up


class TrainLog:
    """Mean loss and step time of a run, and the lines and rows that tell of them.

    scaling: with --loss_scale (scale, skipped steps so far) after the last call; None without.
    watch: model.divergence.Watch of the run.
    """

    def __init__(self, config, position=manifest.START, writes=True, skipped=0, watch=None):
        """Begin at a position; its sums belong to its epoch, later epochs begin with none.

        Args:
          config: config.Config. position: checkpoint.manifest.Position.
          writes: whether rows go to metrics.jsonl; of devices that train together one writes.
          skipped: steps skipped so far with --loss_scale.
          watch: model.divergence.Watch, whose numbers are part of the position; None for a new one.
        """
        self._training, self._every = config.training, config.run.log_every
        self._metrics = None
        if writes:
            self._metrics = Metrics(config.run.checkpoint_dir, config.run.tensorboard)
        self.scaling, self._skipped, self.watch = None, skipped, watch or divergence.Watch(1.0)
        self._modelzoo = config.port.log_format == "modelzoo"
        self._steps_since, self._targets_since, self._clock = 0, 0, time.perf_counter()
        self._begin(position)

    def _begin(self, position):
        self._start = position
        self._epoch, self._count, self._loss_sum, self._seconds = position[:4]
        self._epoch_clock = time.perf_counter()

    def start_epoch(self, number):
        """Steps of the epoch that were made before: 0, but for the one a run goes on in."""
        if number == self._epoch:
            position = self.position()
        else:
            position = manifest.START._replace(epoch=number, workers=self._start.workers)
        self._begin(position)
        return self._count

    def position(self):
        """checkpoint.manifest.Position after the last step that was counted."""
        seconds = self._seconds + time.perf_counter() - self._epoch_clock
        return self._start._replace(epoch=self._epoch, steps=self._count, loss_sum=self._loss_sum,
                                    seconds=seconds, mean_loss=self.watch.mean,
                                    best_loss=self.watch.best)

    def add(self, done, losses, weight, began):
        """Count the steps of a call of the engine, and write the lines that are due.

        Each step of the call counts as having taken the same time.

        Args:
          done: updates made before. losses: [n] float. weight: [n, B] bool, of the schedule.
          began: time.perf_counter() before the call.
        """
        seconds, count, start = time.perf_counter() - began, len(losses), 0
        while start < count:
            line = next_line(done + start, self._every)
            stop = min(count, line - done)
            # one by one: the sum must not depend on where calls end
            for loss in losses[start:stop].tolist():
                self._loss_sum += loss
            self._count += stop - start
            self._steps_since += stop - start
            if self._modelzoo:
                self._targets_since += int(weight[start:stop].sum())
            if done + stop == line:
                self._write(line, began + seconds * stop / count)
            start = stop

    def _write(self, step, now):
        writing = time.perf_counter()
        lr, loss = self._rate(step), self._loss_sum / self._count
        seconds = (now - self._clock) / self._steps_since
        say(train_line(self._epoch, step, lr, loss))
        say(time_line(seconds))
        if self._modelzoo:
            targets_per_second = self._targets_since / (seconds * self._steps_since)
            for line in modelzoo_lines(seconds, targets_per_second):
                say(line)
        self._row("train", step=step, lr=lr, loss=loss, seconds_per_step=seconds,
                  **self._overflows(step))
        self._steps_since, self._targets_since = 0, 0
        self._clock = now + time.perf_counter() - writing

    def _row(self, kind, **values):
        if self._metrics is not None:
            self._metrics.add(kind, epoch=self._epoch, **values)

    def _overflows(self, step):
        """What a row says of the loss scale; a warning if steps were skipped since the last line.

        Raises: DivergenceError if all of many steps were skipped: nothing is learnt any more.
        """
        if self.scaling is None:
            return {}
        scale, skipped = self.scaling
        new, self._skipped = skipped - self._skipped, skipped
        if new:
            _log.warning("step %d: gradients of %d of the last %d steps overflowed and count as "
                         "zero; the loss scale is %g", step, new, self._steps_since, scale)
        if new >= max(self._steps_since, MANY_SKIPPED):
            raise DivergenceError("the gradients of all %d steps up to step %d overflowed (loss "
                                  "scale %g); checkpoints of earlier epochs are intact, train "
                                  "again with a smaller --loss_scale or another --precision_mode"
                                  % (new, step, scale))
        return {"loss_scale": scale, "skipped_steps": skipped}

    def _rate(self, step):
        training = self._training
        return float(learning_rate.learning_rate(step, training.base_lr, training.decay,
                                                 training.decay_steps))

    @contextlib.contextmanager
    def clock_stopped(self):
        """Context whose time counts for no step, such as that of writing a checkpoint."""
        stopped = time.perf_counter()
        yield
        seconds = time.perf_counter() - stopped
        self._clock, self._epoch_clock = self._clock + seconds, self._epoch_clock + seconds

    def epoch_done(self, num_targets):
        """Write the row and the line of an epoch; num_targets: of all that train together."""
        if not self._count:  # all of it was trained, in other lanes, before the run went on
            _log.info("epoch %d: nothing was left to train", self._epoch)
            return
        seconds, loss = self.position().seconds, self._loss_sum / self._count
        per_second = num_targets / seconds
        self._row("epoch", loss=loss, seconds=seconds, events=num_targets, events_per_s=per_second)
        _log.info("epoch %d: loss %.6f, %d events in %.1f s (%.0f events/s)", self._epoch, loss,
                  num_targets, seconds, per_second)

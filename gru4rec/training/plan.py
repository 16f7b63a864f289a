"""What a training will do, as plain arithmetic: which epochs, how many steps, where calls end."""

import logging
from typing import NamedTuple, Optional

from gru4rec.errors import ConfigError
from gru4rec.model import state

_log = logging.getLogger("gru4rec.train")


class PlannedEpoch(NamedTuple):
    """One epoch that is still to be trained, or the rest of one."""

    number: int  # 0-based
    before: int  # updates made before its first step
    num_steps: int


class Plan(NamedTuple):
    """The epochs that a run still has to train, and where the engine's calls end in them.

    Example: 30 updates were made, of which 10 are the first steps of epoch 1. Epochs have 20 steps,
    and --epoch is 3. Then first_epoch is 1 and before is 20; epochs 1 and 2 are planned, and the
    whole run has 60 steps.
    """

    first_epoch: int  # 0-based
    num_epochs: int  # --epoch
    before: int  # updates made before the first step of first_epoch
    first_steps: int  # of first_epoch
    other_steps: int  # of each later epoch
    log_every: int
    save_every: Optional[int] = None  # steps; None where --save_every names none

    @property
    def num_steps(self):
        """Updates of the whole run, those that were made before included."""
        num_later = max(self.num_epochs - self.first_epoch - 1, 0)
        return self.before + self.first_steps + num_later * self.other_steps

    def epochs(self):
        """The PlannedEpochs in turn."""
        before, num_steps = self.before, self.first_steps
        for number in range(self.first_epoch, self.num_epochs):
            yield PlannedEpoch(number, before, num_steps)
            before, num_steps = before + num_steps, self.other_steps

    def call_end(self, epoch, start, most, whole_calls=False):
        """Where a call of the engine ends that begins at step `start` of a PlannedEpoch.

        A step that is logged ends a call, so that the time of a log line is that of its own steps;
        a step after which --save_every saves ends one too.

        Args:
          most: steps that a call can make. whole_calls: whether it must make that many, but at the
          end of an epoch.
        Returns: int, start < end <= epoch.num_steps.
        """
        end = min(start + most, epoch.num_steps)
        if whole_calls:
            return end
        done = epoch.before + start
        end = min(end, next_line(done, self.log_every) - epoch.before)
        if self.save_every is not None:
            end = min(end, _next_multiple(done, self.save_every) - epoch.before)
        return end


def plan_of(config, position, updates, first_steps, other_steps):
    """The Plan of a run.

    Args:
      config: config.Config. position: checkpoint.manifest.Position to begin at. updates: int, made
      before. first_steps, other_steps: steps of the epoch of the position and of each later one.
    Raises: ConfigError if the run would have more steps than can be counted.
    """
    plan = Plan(position.epoch, config.training.epoch, updates - position.steps, first_steps,
                other_steps, config.run.log_every, interval(config.run.save_every)[0])
    if plan.num_steps > state.MAX_STEPS:
        raise ConfigError("--epoch %d makes %d steps; at most %d are possible"
                          % (config.training.epoch, plan.num_steps, state.MAX_STEPS))
    return plan


def next_line(done, log_every):
    """The first step after `done` that is logged: 1, then each multiple of --log_every."""
    return 1 if done == 0 else _next_multiple(done, log_every)


def _next_multiple(done, every):
    return (done // every + 1) * every


def interval(text):
    """--save_every -> (steps or None, seconds or None)."""
    if text is None:
        return None, None
    if text.endswith("s"):
        return None, float(text[:-1])
    return int(text), None


def divided(position, workers, lanes):
    """The Position at which a run goes on with so many workers, each with so many lanes.

    Another number of workers cannot go on in the lanes in which the epoch was begun. What is left
    of the epoch is then laid out anew (`data.epochs`), and the steps made so far become one of its
    divisions.
    """
    if position.steps and position.workers != workers:
        _log.info("epoch %d was begun by %d processes and goes on with %d: what is left of each "
                  "session starts anew, from the event that was reached, with an empty state",
                  position.epoch, position.workers, workers)
        position = redivided(position, lanes, position.steps)
    return position._replace(workers=workers)


def redivided(position, lanes, steps):
    """A Position whose epoch is laid out anew after `steps` steps of its workers in these lanes."""
    division = position.workers, lanes, steps
    return position._replace(steps=0, loss_sum=0.0, seconds=0.0,
                             divisions=position.divisions + (division,))

"""Engines run training steps: many per session call with lazy rows (default), or one with the stock optimizer.

An engine holds weights, optimizer state and hidden state in variables; `run` takes a Chunk of the schedule and returns
one loss per step, `arrays` gives its whole state back under the canonical names of `model.state`. TensorFlow is
imported when `create` is called.
"""

from typing import NamedTuple

import numpy as np

from gru4rec.errors import ConfigError


class Chunk(NamedTuple):
    """Consecutive steps of an epoch; arrays [n, B] as in schedule.Epoch."""

    x: np.ndarray
    y: np.ndarray
    reset: np.ndarray
    weight: np.ndarray
    first_step: int  # number (1-based, as in the log) of the update its first row makes


class Engine:
    """What engines have in common."""

    whole_calls = False

    def agree(self, *votes):
        """What any of the processes that train together says, as a list of numbers; of one alone, what it says itself."""
        return list(votes)

    def rescued(self):
        """As `arrays`, after a process that trained together with this one is gone: hidden states are of this one alone."""
        raise RuntimeError("the state is that of one process alone")

    scaling = None  # with --loss_scale, after the first call: (scale, skipped steps so far)

    def start_epoch(self, epoch, steps_before, start=0):
        """Told of a schedule.Epoch before a chunk of it is run.

        steps_before: updates made before the epoch. start: its first row that is still to be trained.
        """


def chunk_of(epoch, start, stop, steps_before):
    """Rows start..stop of a schedule.Epoch; `steps_before` updates were made before the epoch began."""
    part = slice(start, stop)
    return Chunk(epoch.x[part], epoch.y[part], epoch.reset[part], epoch.weight[part], steps_before + start + 1)


def create(config, device, arrays, num_steps, support=None):
    """The engine that suits options and device.

    Args:
      config: config.Config. device: device.base.Device.
      arrays: the state to start from, names of `model.state`.
      num_steps: steps of the whole run; the schedule's tables are made for so many.
      support: [I] int, training events of each item; needed with --n_sample and --logq.
    Returns: object with `steps_per_run`, `whole_calls` (whether a call makes that many steps but at the end of an epoch),
      `start_epoch(epoch, steps_before, start)`, `run(chunk)`, `arrays()`, `close()`.
    """
    run = config.run
    if run.engine == "plain" and device.communicator.exchange:
        raise ConfigError("--engine plain cannot train on the processes of TF_CONFIG; leave it out")
    if run.engine == "plain" or (run.engine == "auto" and device.conservative_optimizer):
        steps = run.steps_per_run or 1
        if steps > 1 and device.loops:
            from gru4rec.engine.device_loop import DeviceLoopEngine
            return DeviceLoopEngine(config, device, arrays, support, steps)
        if steps > 1:
            raise ConfigError("--steps_per_run %d needs --engine loop; the plain engine makes one step per call"
                              % steps)
        from gru4rec.engine.plain import PlainEngine
        return PlainEngine(config, device, arrays, support)
    if device.ranks.size > 1 and device.conservative_optimizer:
        raise ConfigError("--engine loop cannot train on %d devices together; use --engine plain" % device.ranks.size)
    if run.xla == "on" and not device.xla:
        raise ConfigError("--xla on cannot be had on device %s with this TensorFlow (2.6 or later on cpu or gpu is "
                          "needed); use --xla auto" % device.name)
    if device.ranks.size > 1:
        from gru4rec.engine.parallel import ParallelEngine as LoopEngine
    else:
        from gru4rec.engine.loop import LoopEngine
    return LoopEngine(config, device, arrays, num_steps, run.steps_per_run, run.xla != "off" and device.xla, support)

"""Run training steps: many per session call, or one. On top of data, device, graph.

An engine holds weights, optimizer state and hidden state in variables. `run` takes a Chunk of the
schedule and returns one loss per step; `arrays` gives the whole state back under the canonical
names of `model.state`. TensorFlow is imported when `create` is called.
"""

from gru4rec.errors import ConfigError


def create(config, device, arrays, num_steps, support=None):
    """The engine that suits options and device.

    Args:
      config: config.Config. device: device.base.Device.
      arrays: the state to start from, under the names of `model.state`.
      num_steps: steps of the whole run; learning rates are computed for so many.
      support: [I] int, training events of each item; needed with --n_sample and --logq.
    Returns: engine.base.Engine with `run(chunk)` and `arrays()`.
    Raises: ConfigError where options or device do not allow the engine that is asked for.
    """
    run = config.run
    if run.engine == "plain" and device.communicator.exchange:
        raise ConfigError("--engine plain cannot train with TF_CONFIG on several processes; leave "
                          "the flag out")
    if run.engine == "plain" or (run.engine == "auto" and device.conservative_optimizer):
        steps = run.steps_per_run or 1
        if steps > 1 and device.loops:
            from gru4rec.engine.device_loop import DeviceLoopEngine
            return DeviceLoopEngine(config, device, arrays, support, steps)
        if steps > 1:
            raise ConfigError("--steps_per_run %d needs --engine loop; the plain engine makes one "
                              "step per call" % steps)
        from gru4rec.engine.plain import PlainEngine
        return PlainEngine(config, device, arrays, support)
    if device.workers.size > 1 and device.conservative_optimizer:
        raise ConfigError("--engine loop cannot train on %d devices together; use --engine plain"
                          % device.workers.size)
    if run.xla == "on" and not device.xla:
        raise ConfigError("--xla on is not possible on device %s with this TensorFlow (it needs "
                          "2.6 or later, on cpu or gpu); use --xla auto" % device.name)
    if device.workers.size > 1:
        from gru4rec.engine.parallel import ParallelEngine as LoopEngine
    else:
        from gru4rec.engine.loop import LoopEngine
    return LoopEngine(config, device, arrays, num_steps, run.steps_per_run,
                      run.xla != "off" and device.xla, support)

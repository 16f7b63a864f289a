"""A training from its options to its last checkpoint, on one process or on several."""

import contextlib
import logging
import os

from gru4rec.command.interrupts import StopRequest
from gru4rec.command.process import progress
from gru4rec.device import device_for
from gru4rec.errors import ConfigError
from gru4rec.parallel.cluster import left_behind
from gru4rec.training.events import index, training_events, validation_set

_log = logging.getLogger("gru4rec.main")


def train(config):
    """Find out where to start, load, index, train. What can be wrong is found before TensorFlow is
    imported.
    """
    from gru4rec.parallel import cluster
    from gru4rec.training import resume
    from gru4rec.training import start as start_module
    from gru4rec.training.directory import RunDirectory
    found = cluster.from_environment()
    if found:
        return _train_together(config, found)
    with RunDirectory(config.run.checkpoint_dir, _writes(config)) as directory:
        start = resume.find(config, directory) if config.run.resume else start_module.afresh(config)
        if start.is_finished:
            _log.info("the run in %s is finished; nothing is left to do", config.run.checkpoint_dir)
            return
        if start.refit:
            _refit(start, directory, training_events(start.refit.config)[2])
        else:
            _train_from(start, directory)


def _train_together(config, found):
    """Train as one of the processes of a parallel.cluster.Cluster; where to start is rank 0's to
    say.
    """
    from gru4rec.training import resume, together
    from gru4rec.training import start as training_start
    from gru4rec.training.directory import RunDirectory
    # of a broken connection it says much, and we what it means
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    first = found.rank == 0
    if config.validation.refit:
        raise ConfigError("--refit 1 has no meaning with TF_CONFIG: train on one process, or leave "
                          "it out")
    with RunDirectory(config.run.checkpoint_dir, first) as directory:
        own = None
        if first:
            own = resume.find(config,
                              directory) if config.run.resume else training_start.afresh(config)
            if own.refit or own.config.validation.refit:
                raise ConfigError("the run in %s has --refit 1, which has no meaning with "
                                  "TF_CONFIG: go on on one process"
                                  % config.run.checkpoint_dir)
        device = device_for(config, "train", found)
        communicator = device.communicator
        with left_behind(communicator), StopRequest() as stop:
            communicator.wait(stop.check)
            start = together.agreed(config, own, communicator)
            if start.is_finished:
                _log.info("the run in %s is finished; nothing is left to do",
                          config.run.checkpoint_dir)
            else:
                _train_from(start, directory, device)
            communicator.leave()


def _writes(config):
    """Whether this process writes: of devices that train together rank 0 does. What is wrong with
    that is said later.
    """
    from gru4rec.parallel import workers
    if config.run.device not in ("npu", "auto"):
        return True
    try:
        return workers.from_environment(config.accelerator.npu_nums).rank == 0
    except ConfigError:
        return True


def _train_from(start, directory, device=None):
    """Train from a training.start.Start; then again on everything where --refit 1 asks for it."""
    from gru4rec.parallel import workers
    config = start.config
    events, held_out, everything = training_events(config)
    indexed = index(events, config, start, device.workers if device else workers.ALONE)
    test = None if held_out is None else validation_set(held_out, indexed[0], config)
    del events, held_out
    start.check_data(*indexed, test=test)
    device = device or device_for(config, "train")
    if device.workers.rank == 0 and start.name is None:
        _say_parity(config)
    from gru4rec import tf_compat
    from gru4rec.training import loop
    with tf_compat.memory_errors():
        if test is None:
            loop.train(config, device, *indexed, progress=progress("train", "step"), start=start,
                       directory=directory)
        else:
            _train_validated(start, directory, device, indexed, test, everything)


def _say_parity(config):
    from gru4rec.config import advice
    notice = advice.parity_notice(config)
    if notice:
        _log.info("%s", notice)


def _train_validated(start, directory, device, indexed, test, everything):
    """Train with a validation after each epoch; where `everything` is given, then on it for the
    best number of epochs.
    """
    from gru4rec.training import loop, validation
    from gru4rec.training import start as training_start_module
    config = start.config
    with StopRequest() as stop:
        with contextlib.closing(validation.Validation(config, device, test)) as chosen:
            loop.train(config, device, *indexed, progress=progress("train", "step"),
                       validation=chosen, start=start,
                       directory=directory)
        _log.info("%s", chosen.summary())
        if everything is None:
            return
        stop.check()
        _refit(training_start_module.second_part(config, chosen.best_epoch, chosen.summary()),
               directory, everything, device)


def _refit(start, directory, everything, device=None):
    """The second part of a run with --refit 1: train on all events for the best number of epochs.
    """
    config = start.config
    _log.info("training again on all sessions for %d epochs", config.training.epoch)
    from gru4rec.parallel import workers
    indexed = index(everything, config, start, workers.ALONE)
    start.check_data(*indexed)
    device = device or device_for(config, "train")
    from gru4rec import tf_compat
    from gru4rec.training import loop
    with tf_compat.memory_errors():
        loop.train(config, device, *indexed, progress=progress("train", "step"), start=start,
                   directory=directory)
    _log.info("trained again on all sessions for %d epochs: %s", config.training.epoch,
              start.refit.summary)

"""A training from its options to its last checkpoint, on one process or on several.

Whatever can be wrong with files and flags is found before TensorFlow is imported.
"""

import contextlib
import logging
import os

from gru4rec.command.interrupts import StopRequest
from gru4rec.config import advice
from gru4rec.device import device_for
from gru4rec.errors import ConfigError
from gru4rec.parallel import cluster as clusters
from gru4rec.parallel import workers
from gru4rec.training import loop, resume, together, validation
from gru4rec.training.directory import RunDirectory
from gru4rec.training.events import index, training_events, validation_set
from gru4rec.training.start import afresh, second_part

_log = logging.getLogger("gru4rec.main")


def train(config):
    """Train as the flags say; config: config.Config."""
    cluster = clusters.from_environment()
    if cluster is not None:
        _train_together(config, cluster)
        return
    with RunDirectory(config.run.checkpoint_dir, _writes(config)) as directory:
        start = _find_start(config, directory)
        if start.is_finished:
            _say_finished(config)
        elif start.refit:
            _refit(start, directory, training_events(start.refit.config)[2])
        else:
            _train_from(start, directory)


def _train_together(config, cluster):
    """Train as one process of a parallel.cluster.Cluster; rank 0 says where to start."""
    # gRPC says a lot about a broken connection, which our own error explains in one line
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if config.validation.refit:
        raise ConfigError("--refit 1 is not possible with TF_CONFIG; train on one process, or "
                          "leave it out")
    is_first = cluster.rank == 0
    with RunDirectory(config.run.checkpoint_dir, is_first) as directory:
        own_start = None
        if is_first:
            own_start = _find_start(config, directory)
            if own_start.refit or own_start.config.validation.refit:
                raise ConfigError("the run in %s has --refit 1, which is not possible with "
                                  "TF_CONFIG; resume it on one process"
                                  % config.run.checkpoint_dir)
        device = device_for(config, "train", cluster)
        communicator = device.communicator
        with clusters.left_behind(communicator), StopRequest() as stop:
            communicator.wait(stop.check)
            start = together.agreed(config, own_start, communicator)
            if start.is_finished:
                _say_finished(config)
            else:
                _train_from(start, directory, device)
            communicator.leave()


def _find_start(config, directory):
    """training.start.Start of this process's --checkpoint_dir."""
    return resume.find(config, directory) if config.run.resume else afresh(config)


def _say_finished(config):
    _log.info("the run in %s is finished; nothing is left to do", config.run.checkpoint_dir)


def _writes(config):
    """Whether this process writes files: of devices that train together rank 0 does.

    Where the environment is wrong, opening the device says so later.
    """
    if config.run.device not in ("npu", "auto"):
        return True
    try:
        return workers.from_environment(config.accelerator.npu_nums).rank == 0
    except ConfigError:
        return True


def _train_from(start, directory, device=None):
    """Train from a training.start.Start; then on all sessions where --refit 1 asks for it.

    device: device.base.Device of a cluster's process; None to choose one when events are read.
    """
    config = start.config
    events, held_out, everything = training_events(config)
    vocabulary, sessions = index(events, config, start.origin,
                                 device.workers if device else workers.ALONE)
    test = None if held_out is None else validation_set(held_out, vocabulary, config)
    del events, held_out  # the sessions hold what is needed; a training keeps no second copy
    start.origin.check_data(config, vocabulary, sessions, test)
    device = device or device_for(config, "train")
    if device.workers.rank == 0 and start.origin.saved is None:
        _say_parity(config)
    from gru4rec import tf_compat
    with tf_compat.memory_errors():
        if test is None:
            loop.train(start, device, vocabulary, sessions, directory)
            return
        with StopRequest() as stop:
            with contextlib.closing(validation.Validation(config, device, test)) as measured:
                loop.train(start, device, vocabulary, sessions, directory, measured)
            _log.info("%s", measured.summary())
            if everything is not None:
                stop.check()
                _refit(second_part(config, measured.best_epoch, measured.summary()), directory,
                       everything, device)


def _say_parity(config):
    notice = advice.parity_notice(config)
    if notice:
        _log.info("%s", notice)


def _refit(start, directory, events, device=None):
    """The second part of a run with --refit 1: train on all events for the best number of epochs.

    start: training.start.Start with a refit. events: data.reading.loader.Events.
    """
    config = start.config
    _log.info("training again on all sessions for %d epochs", config.training.epoch)
    vocabulary, sessions = index(events, config, start.origin, workers.ALONE)
    start.origin.check_data(config, vocabulary, sessions)
    device = device or device_for(config, "train")
    from gru4rec import tf_compat
    with tf_compat.memory_errors():
        loop.train(start, device, vocabulary, sessions, directory)
    _log.info("trained again on all sessions for %d epochs: %s", config.training.epoch,
              start.refit.summary)

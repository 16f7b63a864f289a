"""Command line: flags -> train or evaluate. `python -m gru4rec.main --help` lists the flags."""

import contextlib
import json
import logging
import os
import sys

from gru4rec import config as config_module
from gru4rec.command.interrupts import StopRequest
from gru4rec.command.process import exit_status, leave, say, setup_logging
from gru4rec.command.process import progress as _progress
from gru4rec.config import accelerator as accelerator_flags
from gru4rec.device import device_for
from gru4rec.errors import ConfigError
from gru4rec.evaluation.run import evaluate
from gru4rec.parallel.cluster import left_behind
from gru4rec.runlog import tensorboard
from gru4rec.runlog.lines import counts_line

_log = logging.getLogger("gru4rec.main")  # __name__ is "__main__" when this runs as the command


def main(argv=None):
    """Run the command; returns its exit status (0 done, 2 input or device, 3 divergence, 130 or 143 stopped by a signal)."""
    setup_logging()
    return exit_status(lambda: _run(sys.argv[1:] if argv is None else argv),
                       "use fewer lanes (--batch_size, --eval_batch_size), units (--size) or --steps_per_run")


def _run(argv):
    config = config_module.parse(argv)
    tensorboard.check(config.run.tensorboard)
    accelerator_flags.check_files(config.accelerator, "train" if config.run.train else "infer")
    if config.accelerator.print_device_config:
        return _print_device_config(config)
    if config.run.train:
        _train(config)
    else:
        evaluate(config)


def _print_device_config(config):
    from gru4rec import tf_compat
    tf_compat.setup()
    from gru4rec.device import describe
    run = config.run
    found = describe.resolved(run.device, config_module.npu_session_options(run, config.accelerator),
                              "train" if run.train else "infer", config_module.npu_steps(run))
    found["accelerator"] = config.to_dict()["accelerator"]
    say(json.dumps(found, indent=2, sort_keys=True))


def _train(config):
    """Find out where to start, load, index, train. What can be wrong is found before TensorFlow is imported."""
    from gru4rec import resume
    from gru4rec.parallel import cluster
    from gru4rec.run_directory import RunDirectory
    found = cluster.from_environment()
    if found:
        return _train_together(config, found)
    with RunDirectory(config.run.checkpoint_dir, _writes(config)) as directory:
        start = resume.find(config, directory) if config.run.resume else resume.afresh(config)
        if start.is_finished:
            _log.info("the run in %s is finished; nothing is left to do", config.run.checkpoint_dir)
            return
        if start.refit:
            _refit(start, directory, _training_events(start.refit.config)[2])
        else:
            _train_from(start, directory)


def _train_together(config, found):
    """Train as one of the processes of a parallel.cluster.Cluster; where to start is rank 0's to say."""
    from gru4rec import resume, together
    from gru4rec.run_directory import RunDirectory
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # of a broken connection it says much, and we what it means
    first = found.rank == 0
    if config.validation.refit:
        raise ConfigError("--refit 1 has no meaning with TF_CONFIG: train on one process, or leave it out")
    with RunDirectory(config.run.checkpoint_dir, first) as directory:
        own = None
        if first:
            own = resume.find(config, directory) if config.run.resume else resume.afresh(config)
            if own.refit or own.config.validation.refit:
                raise ConfigError("the run in %s has --refit 1, which has no meaning with TF_CONFIG: go on on one process"
                                  % config.run.checkpoint_dir)
        device = device_for(config, "train", found)
        communicator = device.communicator
        with left_behind(communicator), StopRequest() as stop:
            communicator.wait(stop.check)
            start = together.agreed(config, own, communicator)
            if start.is_finished:
                _log.info("the run in %s is finished; nothing is left to do", config.run.checkpoint_dir)
            else:
                _train_from(start, directory, device)
            communicator.leave()


def _writes(config):
    """Whether this process writes: of devices that train together rank 0 does. What is wrong with that is said later."""
    from gru4rec.parallel import workers
    if config.run.device not in ("npu", "auto"):
        return True
    try:
        return workers.from_environment(config.accelerator.npu_nums).rank == 0
    except ConfigError:
        return True


def _train_from(start, directory, device=None):
    """Train from a resume.Start; then again on everything where --refit 1 asks for it."""
    from gru4rec.parallel import workers
    config = start.config
    events, held_out, everything = _training_events(config)
    indexed = _index(events, config, start, device.ranks if device else workers.ALONE)
    test = None if held_out is None else _validation_set(held_out, indexed[0], config)
    del events, held_out
    start.check_data(*indexed, test=test)
    device = device or device_for(config, "train")
    if device.ranks.rank == 0 and start.name is None:
        _say_parity(config)
    from gru4rec import tf_compat, train
    with tf_compat.memory_errors():
        if test is None:
            train.train(config, device, *indexed, progress=_progress("train", "step"), start=start, directory=directory)
        else:
            _train_validated(start, directory, device, indexed, test, everything)


def _say_parity(config):
    from gru4rec.config import advice
    notice = advice.parity_notice(config)
    if notice:
        _log.info("%s", notice)


def _training_events(config):
    """loader.Events: (to train on, to validate with or None, all of them or None where there is no --refit).

    What to train on is a dataset.Header if --train_path is a directory.
    """
    from gru4rec.data import dataset, sample, split
    from gru4rec.data.reading import loader
    data, options = config.data, config.validation
    keys = data.session_key, data.item_key, data.time_key
    if data.train_path and os.path.isdir(data.train_path):
        dataset.check_validation(data.train_path, options)
        held_out = None if options.valid_path is None else loader.load_events(options.valid_path, *keys)
        return dataset.header(data.train_path), held_out, None
    events = loader.load_events(data.train_path or sample.path("train"), *keys)
    if options.valid_path is not None:
        held_out = loader.load_events(options.valid_path, *keys)
        return events, held_out, split.join(events, held_out) if options.refit else None
    if not options.is_on:
        return events, None, None
    return split.split(events, options.valid_fraction, options.valid_days) + (events if options.refit else None,)


def _index(events, config, start, ranks):
    """(Vocabulary, Sessions) of training events, in the item indices of the weights to start from; counts are logged.

    Of a dataset directory the second is the data.epochs.Share of these parallel.workers.Workers.
    """
    from gru4rec import warm_start
    from gru4rec.data import dataset, sessions
    order, in_parts = config.training.session_order, isinstance(events, dataset.Header)
    vocabulary, train_sessions, report = (dataset.read(events.path, ranks, order) if in_parts
                                          else sessions.index_train(events, order))
    _log.info("%s: %d events, %d sessions, %d items, %d targets; %d sessions of one event dropped", events.path,
              report.events, report.sessions, report.items, report.targets, report.short_sessions)
    base = start.base_vocabulary()
    if base is not None:
        vocabulary, train_sessions = warm_start.onto(base, vocabulary, train_sessions)
    if start.source:
        warm_start.report(start.source, vocabulary)
    if in_parts:
        from gru4rec.data import epochs
        train_sessions = epochs.share_of_dataset(events, train_sessions, ranks, order)
    return vocabulary, train_sessions


def _validation_set(events, vocabulary, config):
    """evaluation.protocol.TestSet of validation events; what was counted and dropped is logged."""
    from gru4rec.evaluation import protocol
    test = protocol.load(events, vocabulary, config.evaluation)
    _log.info("%s: %s", events.path, counts_line(test.report, config.evaluation.unknown))
    return test


def _train_validated(start, directory, device, indexed, test, everything):
    """Train with a validation after each epoch; where `everything` is given, then on it for the best number of epochs."""
    from gru4rec import resume, train, validation
    config = start.config
    with StopRequest() as stop:
        with contextlib.closing(validation.Validation(config, device, test)) as chosen:
            train.train(config, device, *indexed, progress=_progress("train", "step"), validation=chosen, start=start,
                        directory=directory)
        _log.info("%s", chosen.summary())
        if everything is None:
            return
        stop.check()
        _refit(resume.second_part(config, chosen.best_epoch, chosen.summary()), directory, everything, device)


def _refit(start, directory, everything, device=None):
    """The second part of a run with --refit 1: train on all events for the best number of epochs."""
    config = start.config
    _log.info("training again on all sessions for %d epochs", config.training.epoch)
    from gru4rec.parallel import workers
    indexed = _index(everything, config, start, workers.ALONE)
    start.check_data(*indexed)
    device = device or device_for(config, "train")
    from gru4rec import tf_compat, train
    with tf_compat.memory_errors():
        train.train(config, device, *indexed, progress=_progress("train", "step"), start=start, directory=directory)
    _log.info("trained again on all sessions for %d epochs: %s", config.training.epoch, start.refit.summary)


if __name__ == "__main__":
    ended = main()
    if os.environ.get("TF_CONFIG"):  # a server of TensorFlow that waits for its cluster has been seen to hold the process
        leave(ended)
    sys.exit(ended)

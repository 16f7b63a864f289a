"""The events of a training: read, split off for a validation, and indexed."""

import logging
import os

from gru4rec.data import dataset, epochs, sample, sessions, split
from gru4rec.data.reading import loader
from gru4rec.evaluation import protocol
from gru4rec.runlog.lines import counts_line
from gru4rec.training import warm_start

_log = logging.getLogger("gru4rec.main")


def training_events(config):
    """The events that the flags name.

    Args:
      config: config.Config.
    Returns: three data.reading.loader.Events: to train on (of a directory a data.dataset.Header);
      to validate with, or None; all of them for --refit 1, or None.
    """
    data, options = config.data, config.validation
    keys = data.session_key, data.item_key, data.time_key
    if data.train_path and os.path.isdir(data.train_path):
        dataset.check_validation(data.train_path, options)
        held_out = None
        if options.valid_path is not None:
            held_out = loader.load_events(options.valid_path, *keys)
        return dataset.header(data.train_path), held_out, None
    events = loader.load_events(sample.train_file(data.train_path), *keys)
    if options.valid_path is not None:
        held_out = loader.load_events(options.valid_path, *keys)
        return events, held_out, split.join(events, held_out) if options.refit else None
    if not options.is_on:
        return events, None, None
    parts = split.split(events, options.valid_fraction, options.valid_days)
    return parts + (events if options.refit else None,)


def index(events, config, origin, workers):
    """Training events in the item indices of the weights to start from; counts are logged.

    Args:
      events: as from `training_events`, the first. config: config.Config.
      origin: training.start.Fresh. workers: parallel.workers.Workers, for a dataset directory.
    Returns: (Vocabulary, Sessions); of a dataset directory the second is the data.epochs.Share of
      this worker.
    """
    order, in_parts = config.training.session_order, isinstance(events, dataset.Header)
    if in_parts:
        vocabulary, train_sessions, report = dataset.read(events.path, workers, order)
    else:
        vocabulary, train_sessions, report = sessions.index_train(events, order)
    _log.info("%s: %d events, %d sessions, %d items, %d targets; %d sessions of one event dropped",
              events.path, report.events, report.sessions, report.items, report.targets,
              report.short_sessions)
    base = origin.base_vocabulary()
    if base is not None:
        vocabulary, train_sessions = warm_start.onto(base, vocabulary, train_sessions)
    origin.report(vocabulary)
    if in_parts:
        train_sessions = epochs.share_of_dataset(events, train_sessions, workers, order)
    return vocabulary, train_sessions


def validation_set(events, vocabulary, config):
    """evaluation.protocol.TestSet of validation events; what was counted and dropped is logged."""
    test = protocol.load(events, vocabulary, config.evaluation)
    _log.info("%s: %s", events.path, counts_line(test.report, config.evaluation.unknown))
    return test

"""The events of a training: read, split off for a validation, and indexed."""

import logging
import os

from gru4rec.runlog.lines import counts_line

_log = logging.getLogger("gru4rec.main")


def training_events(config):
    """loader.Events: (to train on, to validate with or None, all of them or None where there is no
    --refit).

    What to train on is a dataset.Header if --train_path is a directory.
    """
    from gru4rec.data import dataset, sample, split
    from gru4rec.data.reading import loader
    data, options = config.data, config.validation
    keys = data.session_key, data.item_key, data.time_key
    if data.train_path and os.path.isdir(data.train_path):
        dataset.check_validation(data.train_path, options)
        held_out = (None if options.valid_path is None
                    else loader.load_events(options.valid_path, *keys))
        return dataset.header(data.train_path), held_out, None
    events = loader.load_events(data.train_path or sample.path("train"), *keys)
    if options.valid_path is not None:
        held_out = loader.load_events(options.valid_path, *keys)
        return events, held_out, split.join(events, held_out) if options.refit else None
    if not options.is_on:
        return events, None, None
    return split.split(events, options.valid_fraction,
                       options.valid_days) + (events if options.refit else None,)


def index(events, config, start, workers):
    """(Vocabulary, Sessions) of training events, in the item indices of the weights to start from;
    counts are logged.

    Of a dataset directory the second is the data.epochs.Share of these parallel.workers.Workers.
    """
    from gru4rec.data import dataset, sessions
    from gru4rec.training import warm_start
    order, in_parts = config.training.session_order, isinstance(events, dataset.Header)
    vocabulary, train_sessions, report = (dataset.read(events.path, workers, order) if in_parts
                                          else sessions.index_train(events, order))
    _log.info("%s: %d events, %d sessions, %d items, %d targets; %d sessions of one event dropped",
              events.path,
              report.events, report.sessions, report.items, report.targets, report.short_sessions)
    base = start.base_vocabulary()
    if base is not None:
        vocabulary, train_sessions = warm_start.onto(base, vocabulary, train_sessions)
    if start.source:
        warm_start.report(start.source, vocabulary)
    if in_parts:
        from gru4rec.data import epochs
        train_sessions = epochs.share_of_dataset(events, train_sessions, workers, order)
    return vocabulary, train_sessions


def validation_set(events, vocabulary, config):
    """evaluation.protocol.TestSet of validation events; what was counted and dropped is logged."""
    from gru4rec.evaluation import protocol
    test = protocol.load(events, vocabulary, config.evaluation)
    _log.info("%s: %s", events.path, counts_line(test.report, config.evaluation.unknown))
    return test

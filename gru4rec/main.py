"""Command line: flags -> train or evaluate. `python -m gru4rec.main --help` lists the flags."""

import contextlib
import logging
import os
import signal
import sys

from gru4rec import config as config_module
from gru4rec.errors import Gru4RecError, InputError, Interrupted
from gru4rec.runlog import Metrics, counts_line, metric_line, say, setup_logging

_log = logging.getLogger("gru4rec.main")  # __name__ is "__main__" when this runs as the command

SAMPLE_DIR = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "data")


def main(argv=None):
    """Run the command; returns its exit status (0 done, 2 input or device, 3 divergence, 130 or 143 stopped by a signal)."""
    setup_logging()
    try:
        config = config_module.parse(sys.argv[1:] if argv is None else argv)
        (_train if config.run.train else _evaluate)(config)
        return 0
    except Gru4RecError as error:
        return _failed(str(error), error.exit_status)
    except MemoryError as error:
        return _failed("out of memory (%s); use fewer lanes (--batch_size, --eval_batch_size), units (--size) or "
                       "--steps_per_run" % (str(error) or "no more to be had"), 2)
    except KeyboardInterrupt:
        stopped = Interrupted(signal.SIGINT)
        return _failed(str(stopped), stopped.exit_status)


def _failed(message, status):
    sys.stderr.write("error: %s\n" % " ".join(message.split()))
    return status


def _sample(name):
    path = os.path.join(SAMPLE_DIR, name)
    if not os.path.exists(path):
        raise InputError("the bundled sample %s is not installed; give --train_path and --test_path" % path)
    return path


def _train(config):
    """Load, index, train. What can be wrong with flags and files is found before TensorFlow is imported."""
    from gru4rec.data import loader, sessions
    data = config.data
    path = data.train_path or _sample("sample_train.tsv.gz")
    events = loader.load_events(path, data.session_key, data.item_key, data.time_key)
    vocabulary, train_sessions, report = sessions.index_train(events, config.training.session_order)
    del events
    _log.info("%s: %d events, %d sessions, %d items, %d targets; %d sessions of one event dropped", path,
              report.events, report.sessions, report.items, report.targets, report.short_sessions)
    device = _device(config, "train")
    from gru4rec import tf_compat, train
    with tf_compat.memory_errors():
        train.train(config, device, vocabulary, train_sessions, _progress("train", "step"))


def _evaluate(config):
    """Load a checkpoint and the test sessions, print counts and metrics."""
    from gru4rec import checkpoint
    from gru4rec.data import loader, sessions
    found = checkpoint.load(config.run.checkpoint_dir, config.evaluation.test)
    checkpoint.check_flags(config, found)
    path, keys = _test_source(config, found.config)
    events = loader.load_events(path, *keys)
    options = config.evaluation
    test_sessions, report = sessions.index_test(events, found.vocabulary, options.unknown)
    device = _device(config, "infer")
    from gru4rec import evaluate, tf_compat
    from gru4rec.engine import state
    with tf_compat.memory_errors():
        evaluator = evaluate.Evaluator(found.config, device, state.caught_up(found.config, found.arrays),
                                       options.eval_batch_size)
        with _progress("evaluate", "event")(report.events) as bar:
            results = evaluate.evaluate(evaluator, test_sessions, options.tie, options.cut_off, bar)
        evaluator.close()
    say(counts_line(report, options.unknown))
    for result in results:
        say(metric_line(*result))
    row = dict(
        epoch=found.epoch, step=found.step, test_path=path, tie=options.tie, unknown=options.unknown,
        events=report.events, sessions=report.sessions, unknown_items=report.unknown_items,
        unknown_events=report.unknown_events, short_sessions=report.short_sessions,
        **{"%s@%d" % (name, cut): value for cut, recall, mrr in results
           for name, value in (("recall", recall), ("mrr", mrr))})
    try:
        Metrics(config.run.checkpoint_dir).add("eval", **row)
    except InputError as error:  # a model in a read-only place can be evaluated all the same
        _log.warning("%s", error)


def _test_source(config, trained):
    """(path, column names) of the test events: the flags given, else what the model was trained with."""
    keys = [getattr(config.data if key in config.explicit else trained.data, key)
            for key in ("session_key", "item_key", "time_key")]
    path = config.data.test_path or trained.data.test_path
    if path is None:
        if trained.data.train_path is not None:
            raise InputError("--test_path is missing: the model was trained on %s, so the bundled sample is no test of it"
                             % trained.data.train_path)
        path = _sample("sample_test.tsv.gz")
    return path, keys


def _device(config, job):
    from gru4rec import tf_compat
    tf_compat.setup()
    from gru4rec import device
    return device.choose(config.run.device, job=job)


def _progress(text, unit):
    """function (total) -> progress bar on a terminal, nothing in a pipe or without tqdm."""
    def make(total):
        try:
            from tqdm import tqdm
        except ImportError:  # device images may lack it; a bar is not worth a stop
            return contextlib.nullcontext()
        return tqdm(total=total, desc=text, unit=unit, disable=None, leave=False, mininterval=0.5, file=sys.stderr)
    return make


if __name__ == "__main__":
    sys.exit(main())

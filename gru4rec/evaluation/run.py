"""An evaluation from its options to its printed lines: a checkpoint and test sessions -> metrics.
"""

import logging
import os

from gru4rec.command.interrupts import StopRequest
from gru4rec.command.process import progress, say
from gru4rec.device import device_for
from gru4rec.errors import InputError
from gru4rec.parallel.cluster import left_behind
from gru4rec.runlog.lines import counts_line
from gru4rec.runlog.rows import Metrics

_log = logging.getLogger("gru4rec.main")


def evaluate(config):
    """Load a checkpoint and the test sessions, print counts and metrics."""
    from gru4rec.parallel import cluster
    together = cluster.from_environment()
    if together and together.rank:
        return _ranked_together(config, together)
    found, test, path = _to_evaluate(config)
    ranked = _ranked_together(config, together, found,
                              test) if together else _ranked(config, found, test)
    _say_results(config, found, test, path, ranked)


def _to_evaluate(config):
    """(checkpoint.Checkpoint, evaluation.protocol.TestSet, path of the test file)."""
    from gru4rec import checkpoint
    from gru4rec.data import sample
    from gru4rec.data.reading import loader
    from gru4rec.evaluation import protocol
    from gru4rec.files import outputs
    options = config.evaluation
    found = checkpoint.load(config.run.checkpoint_dir, options.test)
    checkpoint.check_flags(config, found)
    path = sample.test_file(config.data.test_path, found.config.data.train_path,
                            found.config.data.test_path)
    keys = [getattr(config.data if key in config.explicit else found.config.data, key)
            for key in ("session_key", "item_key", "time_key")]
    outputs.check_ranks_out(options.ranks_out, path)
    return found, protocol.load(loader.load_events(path, *keys), found.vocabulary, options), path


def _say_results(config, found, test, path, ranked):
    """Print what a model's evaluation.evaluator.Ranked come to, and write it down."""
    from gru4rec.evaluation import metrics, protocol, ranks_file
    options = config.evaluation
    ranks = protocol.ranks(test, ranked)
    results = protocol.results(test, ranks, ranked.recommended, found.vocabulary.support)
    say(counts_line(test.report, options.unknown))
    for line in protocol.result_lines(results):
        say(line)
    by_rules = _ranks_by_rules(config, found.vocabulary, test)
    rules = [] if by_rules is None else protocol.results(test, by_rules)
    for line in protocol.result_lines(rules, "sequential rules"):
        say(line)
    if by_rules is not None:
        _warn_if_below(found, *(metrics.recall_mrr(some, options.cut_off, test.num_misses)
                                for some in (ranks, by_rules)))
    rows = protocol.split_rows(test, ranks)
    for line in protocol.split_lines(rows, options.cut_off):
        say(line)
    ranks_file.write_ranks(test, ranks)
    try:
        log = Metrics(config.run.checkpoint_dir, config.run.tensorboard)
        log.add("eval", epoch=found.epoch, step=found.step, test_path=path,
                **protocol.eval_row(test, results),
                **protocol.flat(rules, "rules_"))
        for row in rows:
            log.add("split", epoch=found.epoch, step=found.step, **row)
    except InputError as error:  # a model in a read-only place can be evaluated all the same
        _log.warning("%s", error)


def _list_lengths(options):
    """Lengths of recommended lists that the metrics asked for look at."""
    from gru4rec.evaluation.metrics import OF_LISTS
    return options.cut_off if set(options.metrics) & set(OF_LISTS) else ()


def _ranked(config, found, test):
    """evaluation.evaluator.Ranked of the counted targets, by the model of a checkpoint.Checkpoint.
    """
    device = device_for(config, "infer")
    from gru4rec import tf_compat
    from gru4rec.evaluation import evaluator as evaluator_module
    from gru4rec.model import state
    options = config.evaluation
    with tf_compat.memory_errors():
        evaluator = evaluator_module.Evaluator(found.config, device,
                                               state.caught_up(found.config, found.arrays),
                                               options.eval_batch_size, _list_lengths(options),
                                               config.run.xla != "off")
        with progress("evaluate", "event")(test.report.events) as bar:
            ranked = evaluator.run(test.sessions, bar, test.wanted)
        evaluator.close()
    return ranked


def _ranked_together(config, together, found=None, test=None):
    """As `_ranked`, by the processes of a cluster.Cluster; `found` and `test` are those of rank 0,
    which gets the result.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    device = device_for(config, "infer", together)
    from gru4rec import tf_compat
    from gru4rec.evaluation import sharded
    from gru4rec.model import state
    weights = None if found is None else (found.config, state.caught_up(found.config, found.arrays))
    with tf_compat.memory_errors(), left_behind(device.communicator), StopRequest() as stop:
        device.communicator.wait(stop.check)
        ranked = sharded.ranked(config, device, weights, test, _list_lengths(config.evaluation),
                                progress("evaluate", "event"))
        device.communicator.leave()
    return ranked


def _ranks_by_rules(config, vocabulary, test):
    """Ranks of the counted targets by the rules saved in training; None without them."""
    if not config.evaluation.compare_rules:
        return None
    from gru4rec.evaluation import protocol
    from gru4rec.evaluation.baselines import rules
    try:
        saved = rules.load(os.path.join(config.run.checkpoint_dir, rules.FILE), vocabulary)
    except InputError as error:
        _log.warning("no comparison with sequential rules: %s", error)
        return None
    return protocol.ranks_of_all(test, saved.counts(test.sessions))


def _warn_if_below(found, model, rules):
    """Say so if the model is worse than counting which item follows which.

    Either metric is enough, in the longest list.
    Args: found: checkpoint.Checkpoint. model, rules: as evaluation.metrics.recall_mrr gives them.
    """
    from gru4rec.config import advice
    below = advice.shortfall(max(model), max(rules))
    if below:
        _log.warning("the model is below sequential rules, which learn nothing, in %s; before "
                     "relying on it %s", below, advice.below_rules(found.config, found.epoch))

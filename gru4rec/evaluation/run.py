"""One evaluation, from its options to its printed lines.

numpy, pandas and TensorFlow are imported inside the functions, because `--help` must do without.
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
    trained, test, path = _to_evaluate(config)
    if together:
        ranked = _ranked_together(config, together, trained, test)
    else:
        ranked = _ranked(config, trained, test)
    _say_results(config, trained, test, path, ranked)


def _to_evaluate(config):
    """(checkpoint.Checkpoint, evaluation.protocol.TestSet, path of the test file)."""
    from gru4rec import checkpoint
    from gru4rec.data import sample
    from gru4rec.data.reading import loader
    from gru4rec.evaluation import protocol
    from gru4rec.files import outputs
    options = config.evaluation
    trained = checkpoint.load(config.run.checkpoint_dir, options.test)
    checkpoint.check_flags(config, trained)
    given, of_training = config.data, trained.config.data
    path = sample.test_file(given.test_path, of_training.train_path, of_training.test_path)
    outputs.check("--ranks_out", options.ranks_out, path)
    keys = [getattr(given if key in config.explicit else of_training, key)
            for key in ("session_key", "item_key", "time_key")]
    test = protocol.load(loader.load_events(path, *keys), trained.vocabulary, options)
    return trained, test, path


def _say_results(config, trained, test, path, ranked):
    """Print and write down the metrics of a model's evaluation.evaluator.Ranked."""
    from gru4rec.evaluation import metrics, protocol, ranks_file
    options = config.evaluation
    ranks = protocol.ranks(test, ranked)
    results = protocol.results(test, ranks, ranked.recommended, trained.vocabulary.support)
    say(counts_line(test.report, options.unknown))
    for line in protocol.result_lines(results):
        say(line)
    rules_ranks = _ranks_by_rules(config, trained.vocabulary, test)
    rules_results = []
    if rules_ranks is not None:
        rules_results = protocol.results(test, rules_ranks)
        for line in protocol.result_lines(rules_results, "sequential rules"):
            say(line)
        _warn_if_below(trained, *(metrics.recall_mrr(each, options.cut_off, test.num_misses)
                                  for each in (ranks, rules_ranks)))
    rows = protocol.split_rows(test, ranks)
    for line in protocol.split_lines(rows, options.cut_off):
        say(line)
    ranks_file.write_ranks(test, ranks)
    try:
        log = Metrics(config.run.checkpoint_dir, config.run.tensorboard)
        log.add("eval", epoch=trained.epoch, step=trained.step, test_path=path,
                **protocol.eval_row(test, results), **protocol.flat(rules_results, "rules_"))
        for row in rows:
            log.add("split", epoch=trained.epoch, step=trained.step, **row)
    except InputError as error:  # a model in a directory that cannot be written is evaluated too
        _log.warning("%s", error)


def _list_lengths(options):
    """Lengths of the recommended lists that --metrics needs; none if it needs no lists."""
    from gru4rec.evaluation.metrics import OF_LISTS
    return options.cut_off if set(options.metrics) & set(OF_LISTS) else ()


def _ranked(config, trained, test):
    """evaluation.evaluator.Ranked of the counted targets, by a checkpoint.Checkpoint."""
    device = device_for(config, "infer")
    from gru4rec import tf_compat
    from gru4rec.checkpoint import weights
    from gru4rec.evaluation import evaluator as evaluator_module
    options = config.evaluation
    with tf_compat.memory_errors():
        evaluator = evaluator_module.Evaluator(
            trained.config, device, weights.current(trained.config, trained.arrays),
            options.eval_batch_size, _list_lengths(options), config.run.xla != "off")
        with progress("evaluate", "event")(test.report.events) as bar:
            ranked = evaluator.run(test.sessions, bar, test.wanted)
        evaluator.close()
    return ranked


def _ranked_together(config, together, trained=None, test=None):
    """As `_ranked`, by the processes of a cluster.Cluster.

    Only rank 0 gives `trained` and `test`, and only rank 0 gets the result; the others get None.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    device = device_for(config, "infer", together)
    from gru4rec import tf_compat
    from gru4rec.checkpoint import weights as weights_module
    from gru4rec.evaluation import sharded
    weights = None
    if trained is not None:
        weights = trained.config, weights_module.current(trained.config, trained.arrays)
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


def _warn_if_below(trained, model, rules):
    """Warn if the model is below sequential rules in Recall or MRR of the longest list.

    Args:
      trained: checkpoint.Checkpoint. model, rules: as evaluation.metrics.recall_mrr gives them.
    """
    from gru4rec.config import advice
    below = advice.shortfall(max(model), max(rules))
    if below:
        _log.warning("the model is below sequential rules, which learn nothing, in %s; before "
                     "relying on it %s", below, advice.below_rules(trained.config, trained.epoch))

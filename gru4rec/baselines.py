"""Command: Recall and MRR of recommenders without learning, to compare a model with.

    python -m gru4rec.baselines --train_path clicks.tsv --test_path next_day.tsv
"""

import logging
import os
import sys
from dataclasses import dataclass
from typing import Optional, Tuple

from gru4rec.command.flags import Command, flag
from gru4rec.command.kinds import name_list, whole
from gru4rec.command.process import exit_status, say, setup_logging
from gru4rec.config.groups import DataConfig, EvalConfig
from gru4rec.errors import ConfigError, InputError
from gru4rec.evaluation.metrics import OF_LISTS
from gru4rec.runlog.lines import counts_line
from gru4rec.runlog.rows import Metrics

# __name__ is "__main__" when this runs as the command
_log = logging.getLogger("gru4rec.baselines")

# --baseline -> its name in the results
NAMES = {"popularity": "popularity", "session_popularity": "session popularity",
         "markov": "Markov chain", "rules": "sequential rules", "vsknn": "V-SKNN"}


@dataclass(frozen=True)
class BaselineConfig:
    """Which recommenders to measure, and their options."""

    baseline: Tuple[str, ...] = flag(tuple(NAMES), "recommenders to measure", kind=name_list,
                                     choices=tuple(NAMES))
    window: int = flag(10, "longest distance of a sequential rule", "events", kind=whole, low=1,
                       high=20)
    sample: int = flag(1000, "number of most recent sessions that V-SKNN compares the current "
                             "session with", "sessions",
                       kind=whole, low=1, high=10 ** 6)
    neighbours: int = flag(100, "number of the most similar of these sessions that vote for items "
                                "in V-SKNN", "sessions",
                           kind=whole, low=1, high=10 ** 6)
    metrics_dir: Optional[str] = flag(None, "existing directory whose metrics.jsonl gets a row per "
                                      "baseline", "directory", shown="none")


_OF_A_MODEL = ("test", "eval_batch_size", "compare_rules")
COMMAND = Command("python -m gru4rec.baselines", __doc__.splitlines()[0],
                  (("baselines", BaselineConfig), ("data", DataConfig), ("evaluation", EvalConfig)),
                  _OF_A_MODEL)


def parse(argv):
    """Command line -> (BaselineConfig, DataConfig, EvalConfig).

    Raises: ConfigError.
    """
    parsed = COMMAND.parse(argv)
    which, _, options = parsed
    lists = [name for name in options.metrics if name in OF_LISTS]
    if lists:
        raise ConfigError("--metrics %s needs recommended lists, which baselines do not make; use "
                          "recall, mrr and ndcg" % lists[0])
    if options.ranks_out is not None and len(which.baseline) > 1:
        raise ConfigError("--ranks_out %s holds the ranks of one recommender; name it, such as "
                          "--baseline rules" % options.ranks_out)
    return parsed


def counts_of(name, options, train, vocabulary, sessions):
    """evaluation.baselines.counting.Counts of every target of data.sessions.EvalSessions.

    Args:
      name: key of NAMES. options: BaselineConfig. train: data.sessions.Sessions, oldest first.
      vocabulary: of the training file. sessions: data.sessions.EvalSessions.
    """
    from gru4rec.evaluation.baselines import neighbours, popularity, rules
    if name == "popularity":
        return popularity.popularity(sessions, vocabulary.support)
    if name == "session_popularity":
        return popularity.session_popularity(sessions, vocabulary.support)
    if name == "vsknn":
        index = neighbours.Index(train, len(vocabulary), options.sample)
        return neighbours.vsknn(index, sessions, options.sample, options.neighbours)
    window = 1 if name == "markov" else options.window
    return rules.build(train, len(vocabulary), window).counts(sessions)


def run(which, data, options):
    """Measure and print; arguments as `parse` returns them."""
    from gru4rec.data import sample, sessions
    from gru4rec.data.reading import loader
    from gru4rec.evaluation import protocol, ranks_file
    from gru4rec.files import outputs
    if which.metrics_dir is not None and not (os.path.isdir(which.metrics_dir)
                                              and os.access(which.metrics_dir, os.W_OK)):
        raise InputError("--metrics_dir %s is not a writable directory; make it first"
                         % which.metrics_dir)
    if (data.train_path is None) != (data.test_path is None):
        raise InputError("give both --train_path and --test_path, or none of them for the bundled "
                         "sample")
    keys = data.session_key, data.item_key, data.time_key
    train_path = sample.train_file(data.train_path)
    test_path = sample.test_file(data.test_path, data.train_path)
    outputs.check("--ranks_out", options.ranks_out, train_path, test_path)
    vocabulary, train, report = sessions.index_train(loader.load_events(train_path, *keys), "time")
    _log.info("%s: %d events, %d sessions, %d items", train_path, report.events, report.sessions,
              report.items)
    test = protocol.load(loader.load_events(test_path, *keys), vocabulary, options)
    say(counts_line(test.report, options.unknown))
    splits = []
    for name in which.baseline:
        counts = counts_of(name, which, train, vocabulary, test.sessions)
        ranks = protocol.ranks_of_all(test, counts)
        results = protocol.results(test, ranks)
        for line in protocol.result_lines(results, NAMES[name]):
            say(line)
        rows = [dict(row, model=NAMES[name]) for row in protocol.split_rows(test, ranks)]
        splits += rows
        ranks_file.write_ranks(test, ranks)
        if which.metrics_dir is not None:
            log = Metrics(which.metrics_dir)
            log.add("eval", model=NAMES[name], test_path=test_path,
                    **protocol.eval_row(test, results))
            for row in rows:
                log.add("split", **row)
    for line in protocol.split_lines(splits, options.cut_off):
        say(line)


def main(argv=None):
    """Run the command; returns its exit status (command.process.exit_status)."""
    setup_logging()
    return exit_status(lambda: run(*parse(sys.argv[1:] if argv is None else argv)))


if __name__ == "__main__":
    sys.exit(main())

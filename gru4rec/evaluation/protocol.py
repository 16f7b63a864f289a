"""What an evaluation counts, prints and writes, for ranks of the model and of a baseline alike."""

from typing import Any, NamedTuple, Optional

import numpy as np

from gru4rec.data.sessions import EvalSessions, TestReport, index_test
from gru4rec.data.targets import Targets, list_targets
from gru4rec.evaluation import metrics
from gru4rec.runlog.lines import LABELS, shown, values_line

# Parts of --split position: (first position, name).
PLACES = ((1, "1"), (2, "2"), (3, "3"), (4, "4"), (5, "5-9"), (10, "10+"))


class TestSet(NamedTuple):
    """Test sessions, and which of their targets a configuration counts."""

    __test__ = False  # keeps pytest from taking it for a test class

    sessions: EvalSessions
    report: TestReport
    options: Any  # config.EvalConfig
    wanted: Optional[np.ndarray]  # bool [ranked targets], those counted; None: all are
    num_misses: int  # counted targets that have no rank
    targets: Optional[Targets]  # the counted targets; None if no option needs them


def load(events, vocabulary, options):
    """TestSet of loader.Events.

    Raises: DataError as data.sessions.index_test.
    """
    sessions, report = index_test(events, vocabulary, options.unknown)
    if options.eval_target == "all" and options.split == ("none",) and options.ranks_out is None:
        return TestSet(sessions, report, options, None, sessions.num_misses, None)
    targets = list_targets(events, vocabulary, options.unknown)
    wanted = None
    if options.eval_target == "last":
        wanted = targets.last[targets.known]
        targets = Targets(*(column[targets.last] for column in targets))
        report = report._replace(events=len(targets.known))
    return TestSet(sessions, report, options, wanted, int((~targets.known).sum()), targets)


def ranks(test, counts):
    """Ranks of the targets that are ranked and counted, float64 [n].

    Args:
      test: TestSet. counts: anything with `greater` and `greater_equal`, int [n], of these targets.
    """
    return metrics.ranks_from_counts(counts.greater, counts.greater_equal, test.options.tie)


def ranks_of_all(test, counts):
    """As `ranks`, from (greater, greater_equal) of all ranked targets, counted or not."""
    if test.wanted is not None:
        counts = [values[test.wanted] for values in counts]
    return metrics.ranks_from_counts(*counts, tie=test.options.tie)


def results(test, ranks, recommended=None, support=None):
    """The metrics of --metrics that ranks and, where given, lists determine.

    Args:
      ranks: of `ranks`. recommended, support: as evaluation.metrics.of_lists.
    Returns: list of (cut_off, {name: float or None}), the names in the order of --metrics.
    """
    measured = metrics.of_ranks(ranks, test.options.cut_off, test.num_misses)
    if recommended is not None:
        for (_, values), more in zip(measured, metrics.of_lists(recommended, support)):
            values.update(more)
    return [(cut, {name: values[name] for name in test.options.metrics if name in values})
            for cut, values in measured]


def all_ranks(test, ranks):
    """Rank of each of `test.targets`, [N] float64; infinite for a miss."""
    full = np.full(len(test.targets.known), np.inf)
    full[test.targets.known] = ranks
    return full


def split_rows(test, ranks):
    """Recall and MRR by part of the targets, as --split says.

    Returns: list of dict: `split`, `part`, `events`, the options that decide what counts, and
      `recall@c`, `mrr@c` of each cut-off, which are None for a part without targets.
    """
    rows, options = [], test.options
    for split in options.split:
        for part, mask in _parts(test.targets, split):
            inside = all_ranks(test, ranks)[mask]
            known = inside[np.isfinite(inside)]
            row = dict(split=split, part=part, events=len(inside), unknown=options.unknown,
                       tie=options.tie, eval_target=options.eval_target)
            measured = [(cut, None, None) for cut in options.cut_off]
            if len(inside):
                measured = metrics.recall_mrr(known, options.cut_off, len(inside) - len(known))
            for cut, recall, mrr in measured:
                row.update({"recall@%d" % cut: recall, "mrr@%d" % cut: mrr})
            rows.append(row)
    return rows


def _parts(targets, split):
    """Pairs (name of a part, bool [N]: the targets in it)."""
    if split == "repeat":
        return [("new", ~targets.repeated), ("repeated", targets.repeated)]
    if split == "position":
        part = np.searchsorted([first for first, _ in PLACES], targets.position, "right") - 1
        return [(name, part == number) for number, (_, name) in enumerate(PLACES)]
    return []


def split_lines(rows, cut_offs):
    """Lines of a tab-separated table of `split_rows`, none without rows.

    With several models each row has a `model`.
    """
    if not rows:
        return []
    columns = [name for name in ("model", "split", "part", "events") if name in rows[0]]
    keys = [(name, cut) for cut in cut_offs for name in ("recall", "mrr")]
    lines = [columns + ["%s@%d" % (LABELS[name], cut) for name, cut in keys]]
    lines += [[str(row[name]) for name in columns] + [shown(row["%s@%d" % key]) for key in keys]
              for row in rows]
    return ["\t".join(line) for line in lines]


def eval_row(test, results):
    """Fields of every row of an evaluation in metrics.jsonl.

    Args:
      test: TestSet. results: as evaluation.metrics.of_ranks.
    """
    options, report = test.options, test.report
    return dict(tie=options.tie, unknown=options.unknown, eval_target=options.eval_target,
                events=report.events, sessions=report.sessions, unknown_items=report.unknown_items,
                unknown_events=report.unknown_events, short_sessions=report.short_sessions,
                **flat(results))


def flat(results, prefix=""):
    """[(20, {"recall": 0.5})] -> {"recall@20": 0.5}, each name after `prefix`."""
    return {"%s%s@%d" % (prefix, name, cut): value
            for cut, values in results for name, value in values.items()}


def result_lines(results, name=""):
    """One line for each cut-off, `name: ` in front of it if there is a name."""
    start = name + ": " if name else ""
    return [start + values_line(cut, values) for cut, values in results if values]

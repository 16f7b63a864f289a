"""The lines that a run prints on stdout."""

LABELS = {"recall": "Recall", "mrr": "MRR", "ndcg": "NDCG", "coverage": "Coverage",
          "popularity": "Popularity"}


def train_line(epoch, step, lr, loss):
    """`Epoch 0\\tStep 1000\\tlr: 0.001000\\tloss: 3.435232`; loss: mean of the epoch so far."""
    return "Epoch %d\tStep %d\tlr: %f\tloss: %f" % (epoch, step, lr, loss)


def time_line(seconds_per_step):
    """`Each Step time is:0.004362`: mean wall seconds per step since the previous such line."""
    return "Each Step time is:%f" % seconds_per_step


def modelzoo_lines(seconds_per_step, targets_per_second):
    """The lines that scripts for the older Ascend port look for.

    They read seconds per step as the sixth word of one, targets per second as the second of the
    other.
    """
    return ["Each Step npu time is: %f" % seconds_per_step,
            "TimeHistory: %.2f" % targets_per_second]


def shown(value):
    """A metric with four digits; "-" for None, where there was nothing to measure."""
    return "-" if value is None else "%.4f" % value


def values_line(cut_off, values):
    """`Recall@20: 0.5909\\tMRR@20: 0.2260` of {"recall": 0.5909, "mrr": 0.226}, names of LABELS."""
    return "\t".join("%s@%d: %s" % (LABELS[name], cut_off, shown(value))
                     for name, value in values.items())


def metric_line(cut_off, recall, mrr):
    """`Recall@20: 0.5909\\tMRR@20: 0.2260`."""
    return values_line(cut_off, {"recall": recall, "mrr": mrr})


def counts_line(report, unknown):
    """What an evaluation counts and what it leaves out.

    Args: report: data.sessions.TestReport. unknown: --unknown.
    """
    handled = "dropped" if unknown == "drop" else "misses where targets, skipped where inputs"
    return ("events: %d sessions: %d unknown items: %d (in %d events, %s) "
            "short sessions dropped: %d"
            % (report.events, report.sessions, report.unknown_items, report.unknown_events, handled,
               report.short_sessions))

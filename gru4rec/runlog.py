"""What a run says: result lines on stdout, everything else on stderr, the same rows in metrics.jsonl."""

import json
import os

from gru4rec.errors import InputError
from gru4rec.files import durable


def train_line(epoch, step, lr, loss):
    """`Epoch 0\\tStep 1000\\tlr: 0.001000\\tloss: 3.435232`; loss is the mean since the epoch began."""
    return "Epoch %d\tStep %d\tlr: %f\tloss: %f" % (epoch, step, lr, loss)


def time_line(seconds_per_step):
    """`Each Step time is:0.004362`, mean wall seconds a step since the previous such line."""
    return "Each Step time is:%f" % seconds_per_step


def modelzoo_lines(seconds_per_step, targets_per_second):
    """The lines that scripts for the older Ascend port look for: seconds a step (sixth word), targets a second (second)."""
    return ["Each Step npu time is: %f" % seconds_per_step, "TimeHistory: %.2f" % targets_per_second]


LABELS = {"recall": "Recall", "mrr": "MRR", "ndcg": "NDCG", "coverage": "Coverage", "popularity": "Popularity"}


def shown(value):
    """A metric to four digits; "-" for None, where there is nothing to measure."""
    return "-" if value is None else "%.4f" % value


def values_line(cut_off, values):
    """`Recall@20: 0.5909\\tMRR@20: 0.2260` of {"recall": 0.5909, "mrr": 0.226}; any metric of LABELS."""
    return "\t".join("%s@%d: %s" % (LABELS[name], cut_off, shown(value)) for name, value in values.items())


def metric_line(cut_off, recall, mrr):
    """`Recall@20: 0.5909\\tMRR@20: 0.2260`."""
    return values_line(cut_off, {"recall": recall, "mrr": mrr})


def counts_line(report, unknown):
    """What an evaluation counts and what it left out; `report` is a data.sessions.TestReport."""
    handled = "dropped" if unknown == "drop" else "misses where targets, skipped where inputs"
    return ("events: %d sessions: %d unknown items: %d (in %d events, %s) short sessions dropped: %d"
            % (report.events, report.sessions, report.unknown_items, report.unknown_events, handled,
               report.short_sessions))


class Metrics:
    """Appends rows to `metrics.jsonl` in a directory; each row has a `kind`."""

    FILE = "metrics.jsonl"

    def __init__(self, directory, tensorboard=None):
        """directory: of the file. tensorboard: None, or a directory of event files that get the rows too."""
        self._path, self._tensorboard = os.path.join(directory, self.FILE), tensorboard

    def add(self, kind, **values):
        """One row; keys carry their unit, values must be JSON numbers or text.

        Raises: InputError if the file cannot be written.
        """
        if self._tensorboard is not None:
            from gru4rec import summaries
            summaries.of(os.path.abspath(self._tensorboard)).add(kind, values)
        line = json.dumps(dict(values, kind=kind), sort_keys=True)
        try:
            with open(self._path, "a", encoding="utf-8") as out:
                out.write(line + "\n")
        except OSError as error:
            raise self._error(error) from None

    def rewind(self, epoch, step):
        """Drop the rows a resumed training will write again: of epochs from `epoch` on, log lines after `step`, torn ones."""
        if not os.path.exists(self._path):
            return
        try:
            with open(self._path, encoding="utf-8", errors="replace") as rows:
                lines = rows.readlines()
            kept = "".join(line for line in lines if _precedes(line, epoch, step))
            if kept != "".join(lines):
                durable.write_text(self._path, kept)
        except OSError as error:
            raise self._error(error) from None

    def _error(self, error):
        return InputError("%s cannot be written: %s; make room, or make it writable" % (self._path, error.strerror))


def _precedes(line, epoch, step):
    """Whether a row was written before a moment of a training, or by something else than a training."""
    try:
        row = json.loads(line)
        kind = row["kind"]
        if kind == "train":
            return row["step"] <= step
        return kind not in ("epoch", "valid") or row["epoch"] < epoch
    except (ValueError, KeyError, TypeError, RecursionError):
        return False

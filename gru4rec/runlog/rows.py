"""The rows of a run's metrics.jsonl: written while it runs, and read back."""

import json
import math
import os
import re

from gru4rec.errors import InputError
from gru4rec.files import durable


class Metrics:
    """Appends rows to `metrics.jsonl` in a directory; each row has a `kind`."""

    FILE = "metrics.jsonl"

    def __init__(self, directory, tensorboard=None):
        """directory: str. tensorboard: None, or a directory for TensorBoard's event files."""
        self._path, self._tensorboard = os.path.join(directory, self.FILE), tensorboard

    def add(self, kind, **values):
        """Append a row, and draw it in TensorBoard where that is asked for.

        Args:
          kind: "train", "epoch", "valid", "eval" or another. values: JSON numbers or text; keys
          carry their unit.
        Raises: InputError if the file cannot be written.
        """
        if self._tensorboard is not None:
            from gru4rec.runlog.tensorboard import summaries
            summaries(os.path.abspath(self._tensorboard)).add(kind, values)
        line = json.dumps(dict(values, kind=kind), sort_keys=True)
        try:
            with open(self._path, "a", encoding="utf-8") as out:
                out.write(line + "\n")
        except OSError as error:
            raise self._error(error) from None

    def rewind(self, epoch, step):
        """Remove the rows that a resumed training will write again, and lines that are no rows.

        Those are the rows of ends of epochs from `epoch` on, and log lines after `step`.
        """
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
        return InputError("%s cannot be written: %s; make room, or make it writable"
                          % (self._path, error.strerror))


def _precedes(line, epoch, step):
    """Whether a row is older than a moment of a training, or of something else than a training."""
    try:
        row = json.loads(line)
        kind = row["kind"]
        if kind == "train":
            return row["step"] <= step
        return kind not in ("epoch", "valid") or row["epoch"] < epoch
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def read(directory):
    """Rows of a run's metrics.jsonl: list of dict, in the order they were written.

    A last line that is cut short is left out: the run may be writing it.
    Raises: InputError naming file and line if the file cannot be read or a line is no row.
    """
    path = os.path.join(directory, Metrics.FILE)
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("%s cannot be read: %s; give the --checkpoint_dir of a run"
                         % (path, getattr(error, "strerror", None) or error)) from error
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            if not isinstance(row, dict) or not isinstance(row.get("kind"), str):
                raise ValueError("no object with a kind")
        except (ValueError, RecursionError) as error:
            if number == len(lines):
                break
            raise InputError("%s, line %d, is not a row of a run (%s); remove the line"
                             % (path, number, error)) from error
        rows.append(row)
    return rows


def of_kind(rows, kind):
    """The rows of one kind."""
    return [row for row in rows if row["kind"] == kind]


def curve(rows, kind, x, y, most=400):
    """Points [(x, y)] of those rows of a kind that have both as numbers.

    Of more than `most` points every n-th is taken, the last point among them.
    """
    points = [(row[x], row[y]) for row in of_kind(rows, kind)
              if _is_number(row.get(x)) and _is_number(row.get(y))]
    stride = -(-len(points) // most) or 1
    return points[::-1][::stride][::-1]


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def metric_names(rows, kind, prefix):
    """Keys such as recall@20 in the rows of a kind, sorted by cut-off; prefix: such as recall."""
    names = {key for row in of_kind(rows, kind) for key in row
             if re.match(r"%s@\d{1,9}\Z" % prefix, key)}
    return sorted(names, key=lambda name: int(name.split("@")[1]))

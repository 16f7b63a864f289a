"""The table of --ranks_out: the rank of every counted target, written and read back."""

import numpy as np
import pandas as pd

from gru4rec.errors import InputError
from gru4rec.evaluation.protocol import all_ranks
from gru4rec.files import durable
from gru4rec.files.outputs import check_pyarrow

KEYS = ["session", "position", "target"]


def write_ranks(test, ranks):
    """Write the file of --ranks_out, if it is given: one row per counted target.

    The file is complete or not there. Columns: session, position, target (with raw ids, as in
    data.targets.Targets) and rank (float; infinite for a miss).

    Raises: InputError if the file cannot be written.
    """
    path = test.options.ranks_out
    if path is None:
        return
    targets = test.targets
    frame = pd.DataFrame({"session": targets.session, "position": targets.position,
                          "target": targets.item, "rank": all_ranks(test, ranks)})
    write = frame.to_parquet if path.lower().endswith(".parquet") else frame.to_csv
    try:
        with durable.replacing(path) as temporary:
            write(temporary, index=False)
    except (OSError, ImportError) as error:  # ImportError: pyarrow is too old for pandas
        raise InputError("--ranks_out %s cannot be written: %s; give another"
                         % (path, getattr(error, "strerror", None) or error)) from None


def read(path):
    """A table of --ranks_out: DataFrame of session, position (int64), target and rank (float64).

    Raises: InputError naming the file if it cannot be read, lacks a column or value, or holds a
      target twice.
    """
    check_pyarrow(path)
    try:
        if path.lower().endswith(".parquet"):
            frame = pd.read_parquet(path)
        else:
            frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except MemoryError:
        raise
    except Exception as error:  # pyarrow raises errors of many kinds for damaged bytes
        raise InputError("%s: cannot be read (%s); give a file that --ranks_out wrote"
                         % (path, " ".join(str(error).split())[:120])) from None
    missing = [name for name in KEYS + ["rank"] if name not in frame.columns]
    if missing:
        raise InputError("%s: column %r is missing; give a file that --ranks_out wrote"
                         % (path, missing[0]))
    if not len(frame):
        raise InputError("%s: it has no target" % path)
    position, rank = (pd.to_numeric(frame[name], errors="coerce") for name in ("position", "rank"))
    for name, good, what in (("session", frame["session"].notna(), "an id"),
                             ("target", frame["target"].notna(), "an id"),
                             ("position", (position >= 1) & (position % 1 == 0),
                              "a whole number from 1"),
                             ("rank", rank >= 1, "a number from 1")):
        if not good.all():
            row = int(np.argmin(good.to_numpy()))
            raise InputError("%s: row %d has the %s %r; give %s"
                             % (path, row + 1, name, frame[name].iloc[row], what))
    frame = frame[KEYS].assign(position=position.astype(np.int64), rank=rank.astype(np.float64))
    is_second = frame.duplicated(KEYS).to_numpy()
    if is_second.any():
        raise InputError("%s: row %d is the second row of the same target; give each target one "
                         "rank"
                         % (path, np.argmax(is_second) + 1))
    return frame

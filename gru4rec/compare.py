"""Command: two tables of --ranks_out, of the same targets -> Recall and MRR of both and what their difference is worth.

    python -m gru4rec.compare A.parquet B.parquet

The interval is that of the paired bootstrap over sessions: sessions are drawn with replacement, both models are measured
on the same draw, and the 2.5 % and 97.5 % quantiles of the difference are printed. Source: Efron and Tibshirani 1993, "An
Introduction to the Bootstrap", percentile intervals. Sessions, not events, are drawn, because the targets of one
session are not independent.
"""

import sys
from dataclasses import dataclass
from typing import NamedTuple, Tuple

import numpy as np
import pandas as pd

from gru4rec.command.flags import flag, parse_groups
from gru4rec.command.kinds import int_list, whole
from gru4rec.command.process import exit_status, say, setup_logging
from gru4rec.errors import ConfigError, InputError
from gru4rec.files.outputs import check_pyarrow

KEYS = ["session", "position", "target"]


@dataclass(frozen=True)
class CompareConfig:
    """What is compared, and how often it is drawn."""

    cut_off: Tuple[int, ...] = flag((20,), "length of the recommendation list; several: 5,10,20", "items",
                                    kind=int_list, low=1)
    samples: int = flag(10000, "draws of the bootstrap", "draws", kind=whole, low=100, high=10 ** 7)
    seed: int = flag(0, "seed of the draws", kind=whole, low=0, high=2 ** 31 - 1)


class Difference(NamedTuple):
    """One metric of two models on the same targets."""

    name: str  # Recall@20
    first: float
    second: float
    low: float  # bounds of the 95 % interval of first - second
    high: float


def read(path):
    """A table of --ranks_out: DataFrame of session, position (int64), target and rank (float64).

    Raises: InputError naming the file if it cannot be read, lacks a column or value, or holds a target twice.
    """
    check_pyarrow(path)
    try:
        frame = pd.read_parquet(path) if path.lower().endswith(".parquet") else pd.read_csv(
            path, dtype=str, keep_default_na=False)
    except MemoryError:
        raise
    except Exception as error:  # on damaged bytes pyarrow raises whatever it likes
        raise InputError("%s: cannot be read (%s); give a file that --ranks_out wrote"
                         % (path, " ".join(str(error).split())[:120])) from None
    missing = [name for name in KEYS + ["rank"] if name not in frame.columns]
    if missing:
        raise InputError("%s: column %r is missing; give a file that --ranks_out wrote" % (path, missing[0]))
    if not len(frame):
        raise InputError("%s: there is no target in it" % path)
    position, rank = (pd.to_numeric(frame[name], errors="coerce") for name in ("position", "rank"))
    for name, good, what in (("session", frame["session"].notna(), "an id"), ("target", frame["target"].notna(), "an id"),
                             ("position", (position >= 1) & (position % 1 == 0), "a whole number from 1"),
                             ("rank", rank >= 1, "a number from 1")):
        if not good.all():
            row = int(np.argmin(good.to_numpy()))
            raise InputError("%s: row %d has the %s %r; give %s" % (path, row + 1, name, frame[name].iloc[row], what))
    frame = frame[KEYS].assign(position=position.astype(np.int64), rank=rank.astype(np.float64))
    second = frame.duplicated(KEYS).to_numpy()
    if second.any():
        raise InputError("%s: row %d is the second of its target; a target has one rank" % (path, np.argmax(second) + 1))
    return frame


def join(first, second, names=("A", "B")):
    """One row per target with both ranks, `rank_a` and `rank_b`, by session.

    Raises: InputError if the tables do not hold the same targets.
    """
    for name in KEYS[::2]:  # a .csv holds text: "7" against integer 7 of a .parquet
        if first[name].dtype != second[name].dtype:
            first, second = (frame.assign(**{name: frame[name].astype(str)}) for frame in (first, second))
    both = first.merge(second, on=KEYS, how="outer", suffixes=("_a", "_b"), indicator="side")
    odd = both[both["side"] != "both"]
    if len(odd):
        row, counts = odd.iloc[0], odd["side"].value_counts()
        raise InputError("the files do not cover the same targets: %d are in %s only, %d in %s only (first: session %s, "
                         "position %s, target %s); evaluate both on one test file with the same --unknown and --eval_target"
                         % (counts.get("left_only", 0), names[0], counts.get("right_only", 0), names[1], row["session"],
                            row["position"], row["target"]))
    return both.drop(columns="side")


def differences(both, cut_offs, samples, seed):
    """Difference of each metric, with its interval.

    Args:
      both: DataFrame of `join`. cut_offs: list lengths. samples: draws. seed: of the draws.
    Returns: list of Difference: Recall and MRR of the first cut-off, then of the next.
    """
    session, distinct = pd.factorize(both["session"])
    names, columns = [], []
    for cut_off in cut_offs:
        for name, gain in (("Recall", np.ones_like), ("MRR", np.reciprocal)):
            names.append("%s@%d" % (name, cut_off))
            for side in ("rank_a", "rank_b"):
                rank = both[side].to_numpy(np.float64)
                columns.append(np.bincount(session, np.where(rank <= cut_off, gain(rank), 0.0), len(distinct)))
    columns.append(np.bincount(session, minlength=len(distinct)).astype(np.float64))
    table = np.stack(columns, 1)  # [sessions, 2 * metrics + 1]: sums of gains, then targets
    drawn = _draws(table, samples, seed)
    drawn = drawn[:, :-1] / drawn[:, -1:]
    low, high = np.percentile(drawn[:, 0::2] - drawn[:, 1::2], [2.5, 97.5], axis=0)
    whole_ = table.sum(0)
    values = whole_[:-1] / whole_[-1]
    return [Difference(name, float(values[2 * i]), float(values[2 * i + 1]), float(low[i]), float(high[i]))
            for i, name in enumerate(names)]


def _draws(table, samples, seed):
    """Column sums of `samples` draws of len(table) rows with replacement: [samples, columns]."""
    random, size = np.random.RandomState(seed), len(table)
    out = np.empty((samples, table.shape[1]))
    for number in range(samples):
        out[number] = np.bincount(random.randint(0, size, size), minlength=size).dot(table)
    return out


def main(argv=None):
    """Run the command; returns its exit status (command.process.exit_status)."""
    setup_logging()
    return exit_status(lambda: _run(sys.argv[1:] if argv is None else list(argv)))


def _run(argv):
    paths = []
    while argv and not argv[0].startswith("-"):
        paths.append(argv.pop(0))
    options, = parse_groups(argv, (("comparison", CompareConfig),), prog="python -m gru4rec.compare A.parquet B.parquet",
                            description=__doc__.splitlines()[0])
    if len(paths) != 2:
        raise ConfigError("give two files that --ranks_out wrote, before the flags; %d were given" % len(paths))
    both = join(read(paths[0]), read(paths[1]), paths)
    say("events: %d sessions: %d" % (len(both), both["session"].nunique()))
    say("metric\tA\tB\tA - B\t95 % interval")
    for row in differences(both, options.cut_off, options.samples, options.seed):
        say("%s\t%.4f\t%.4f\t%+.4f\t%+.4f .. %+.4f" % (row.name, row.first, row.second, row.first - row.second, row.low,
                                                      row.high))


if __name__ == "__main__":
    sys.exit(main())

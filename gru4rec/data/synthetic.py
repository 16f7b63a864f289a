"""The bundled sample, drawn anew from its seed, and sessions that follow a simple chain.

Command: python -m gru4rec.data.synthetic --out data
"""

import gzip
import os
import sys
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from gru4rec.command.flags import Command, flag
from gru4rec.command.kinds import whole
from gru4rec.command.process import exit_status, say, setup_logging
from gru4rec.data import click_process
from gru4rec.errors import InputError

NUM_SESSIONS = 27000
NUM_DAYS = 9  # the last one is the test file
FIRST_DAY = 1396310400  # 2014-04-01 00:00 UTC, unix seconds
SEED = 0


class Sample(NamedTuple):
    """Events of a process as two files, and the best values any model can reach on the second."""

    train: pd.DataFrame  # SessionId, ItemId, Time: int64; sessions in order of their first Time
    test: pd.DataFrame   # the same columns; the sessions that start on the last day
    oracle: click_process.Ceiling      # best Recall@20 and MRR@20 of any model on `test`
    memoryless: click_process.Ceiling  # best of any model that sees the last item only


def make_sample(seed=SEED, num_sessions=NUM_SESSIONS, num_days=NUM_DAYS):
    """Draw the bundled sample.

    Args:
      seed: int in [0, 2^32 - 2). num_sessions: int >= 2, train and test together.
      num_days: int >= 2, days over which sessions start, evenly; the last is the test.
    Returns: Sample.
    Raises: InputError if the seed is out of range, or if a part has no session.
    """
    if not 0 <= seed < 2 ** 32 - 2:
        raise InputError("--seed %d must lie in 0..2^32 - 3" % seed)
    process = click_process.make_process(seed)
    items, offsets = click_process.draw_sessions(process, num_sessions, seed + 1)
    rng = np.random.RandomState(seed + 2)
    item_ids = 214000000 + np.cumsum(_between(rng, 1, 9999, len(process.pop)))
    session_ids = np.cumsum(_between(rng, 1, 5, num_sessions))
    day = np.arange(num_sessions) * num_days // num_sessions
    # Sessions start before 22:00, so that none goes on past midnight.
    start_seconds = 86400 * day + _between(rng, 0, 79200, num_sessions)
    frame = _frame(item_ids[items], offsets, session_ids, np.sort(start_seconds),
                   _between(rng, 5, 180, len(items)))
    first_test = int(np.searchsorted(day, num_days - 1))
    if not 0 < first_test < num_sessions:
        raise InputError("%d sessions on %d days leave the train or the test part empty"
                         % (num_sessions, num_days))
    cut = offsets[first_test]
    oracle, memoryless = click_process.ceilings(process, items[cut:], offsets[first_test:] - cut)
    return Sample(frame[:cut], frame[cut:].reset_index(drop=True), oracle, memoryless)


def _between(rng, low, high, size):
    """[size] int64 uniform in low..high."""
    return low + np.floor(rng.random_sample(size) * (high - low + 1)).astype(np.int64)


def _frame(event_ids, offsets, session_ids, start_seconds, gap_seconds):
    """Events of sessions as a table; an event comes `gap_seconds` after the event before it."""
    lengths = np.diff(offsets)
    since = np.cumsum(gap_seconds)
    seconds = np.repeat(start_seconds - since[offsets[:-1]], lengths) + since
    return pd.DataFrame({"SessionId": np.repeat(session_ids, lengths), "ItemId": event_ids,
                         "Time": FIRST_DAY + seconds}).astype(np.int64)


def markov_sessions(num_sessions, num_items, seed, noise=0.0, length=6):
    """Predictable sessions: item i + 1 follows item i, and the first item follows the last.

    Args:
      num_sessions, num_items: ints >= 1. seed: int in [0, 2^32).
      noise: probability, in [0, 1], that any item comes instead, all with equal probability.
      length: events in each session.
    Returns: DataFrame SessionId, ItemId (1..num_items), Time: int64, as the loader reads it.
    Example: 1 session of 3 items, length 4 may be 2, 3, 1, 2.
    """
    rng = np.random.RandomState(seed)
    columns = [_between(rng, 0, num_items - 1, num_sessions)]
    for _ in range(length - 1):
        anything = _between(rng, 0, num_items - 1, num_sessions)
        stray = rng.random_sample(num_sessions) < noise
        columns.append(np.where(stray, anything, (columns[-1] + 1) % num_items))
    sessions = np.arange(num_sessions)
    return _frame(1 + np.stack(columns, axis=1).ravel(), length * np.arange(num_sessions + 1),
                  1 + sessions, 600 * sessions, np.full(num_sessions * length, 30))


def write_events(frame, path):
    """Write a table of events as gzipped tab-separated text; equal tables give equal bytes."""
    lines = ["\t".join(frame.columns)]
    lines += ["%s\t%s\t%s" % row for row in zip(*(frame[name].tolist() for name in frame.columns))]
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as out:
        out.write(("\n".join(lines) + "\n").encode("ascii"))


def describe(sample):
    """The lines the command prints: counts of both parts, then the ceilings of both metrics."""
    lines = []
    for name, part in (("train", sample.train), ("test", sample.test)):
        lines.append("%s: %d events, %d sessions, %d items"
                     % (name, len(part), part.SessionId.nunique(), part.ItemId.nunique()))
    for name, ceiling in (("any model", sample.oracle), ("last item only", sample.memoryless)):
        for metric, expected, realised in (("Recall", ceiling.expected, ceiling.realised),
                                           ("MRR", ceiling.mrr_expected, ceiling.mrr_realised)):
            lines.append("best %s@20, %s: %.4f expected, %.4f realised"
                         % (metric, name, expected, realised))
    return lines


@dataclass(frozen=True)
class SyntheticConfig:
    """What is drawn, and where it is written."""

    out: str = flag("data", "directory of sample_train.tsv.gz and sample_test.tsv.gz", "directory")
    seed: int = flag(SEED, "seed of the process and its sessions", kind=whole)
    sessions: int = flag(NUM_SESSIONS, "sessions of both files together", "sessions", kind=whole)


COMMAND = Command("python -m gru4rec.data.synthetic",
                  "Write the two sample files and print what can be reached on them.",
                  (("sample", SyntheticConfig),))


def main(argv=None):
    """Run the command; returns its exit status (command.process.exit_status)."""
    setup_logging()
    return exit_status(lambda: _run(sys.argv[1:] if argv is None else argv))


def _run(argv):
    options, = COMMAND.parse(argv)
    sample = make_sample(options.seed, options.sessions)
    try:
        os.makedirs(options.out, exist_ok=True)
        write_events(sample.train, os.path.join(options.out, "sample_train.tsv.gz"))
        write_events(sample.test, os.path.join(options.out, "sample_test.tsv.gz"))
    except OSError as error:
        raise InputError("--out %s cannot be written: %s; give another directory"
                         % (options.out, error.strerror or error)) from None
    for line in describe(sample):
        say(line)


if __name__ == "__main__":
    sys.exit(main())

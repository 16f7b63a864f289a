"""Command: Recall and MRR of two models, and how certain the difference is, from --ranks_out files.

    python -m gru4rec.compare A.parquet B.parquet

The interval is that of the paired bootstrap over sessions: sessions are drawn with replacement,
both models are measured on the same draw, and the 2.5 % and 97.5 % quantiles of the difference are
printed. Sessions are drawn, not events, because the targets of one session are not independent.

Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", percentile intervals.
"""

import sys
from dataclasses import dataclass
from typing import Tuple

from gru4rec.command.flags import Command, argument, flag
from gru4rec.command.kinds import int_list, text_list, whole
from gru4rec.command.process import exit_status, say, setup_logging
from gru4rec.errors import ConfigError
from gru4rec.evaluation.bootstrap import differences, join
from gru4rec.evaluation.ranks_file import read


@dataclass(frozen=True)
class CompareConfig:
    """The list lengths to compare at, and the draws of the bootstrap."""

    tables: Tuple[str, ...] = argument("A.parquet B.parquet", "two files that --ranks_out wrote",
                                       kind=text_list, default=(), many=True)
    cut_off: Tuple[int, ...] = flag((20,), "length of the recommendation list; give several as "
                                    "5,10,20", "items", kind=int_list, low=1)
    samples: int = flag(10000, "number of bootstrap samples", "draws", kind=whole, low=100,
                        high=10 ** 7)
    seed: int = flag(0, "seed of the draws", kind=whole, low=0, high=2 ** 31 - 1)


COMMAND = Command("python -m gru4rec.compare", __doc__.splitlines()[0],
                  (("comparison", CompareConfig),))


def main(argv=None):
    """Run the command; returns its exit status (command.process.exit_status)."""
    setup_logging()
    return exit_status(lambda: _run(sys.argv[1:] if argv is None else list(argv)))


def _run(argv):
    options, = COMMAND.parse(argv)
    paths = options.tables
    if len(paths) != 2:
        raise ConfigError("give two files that --ranks_out wrote, before the flags; you gave %d"
                          % len(paths))
    both = join(read(paths[0]), read(paths[1]), paths)
    say("events: %d sessions: %d" % (len(both), both["session"].nunique()))
    say("metric\tA\tB\tA - B\t95 % interval")
    for row in differences(both, options.cut_off, options.samples, options.seed):
        say("%s\t%.4f\t%.4f\t%+.4f\t%+.4f .. %+.4f"
            % (row.name, row.first, row.second, row.first - row.second, row.low, row.high))


if __name__ == "__main__":
    sys.exit(main())

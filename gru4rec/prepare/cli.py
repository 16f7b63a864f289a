"""Command line of the preparation: flags -> read, filter, split, write, report."""

import argparse
import logging
import re
import signal
import sys

from gru4rec.command import invocation
from gru4rec.command.process import say, setup_logging
from gru4rec.data.dataset import MAX_PARTITIONS
from gru4rec.errors import ConfigError, Gru4RecError
from gru4rec.prepare import files, formats
from gru4rec.prepare import study as study_module
from gru4rec.prepare.datasets import DATASETS
from gru4rec.prepare.engine import Stopped
from gru4rec.prepare.job import Job, run
from gru4rec.version import __version__

_LOG = logging.getLogger(__name__)
SLICES = (4, 64)


# Flags that have a meaning for these datasets only.
_COLUMNS = ("session_key", "user_key", "item_key", "time_key", "event_key")
_STUDY = ("gap", "drop_repeats", "min_support", "min_length", "max_length", "event_types",
          "last_days", "split", "ratio")


class _Parser(argparse.ArgumentParser):
    """argparse that raises our one-line error instead of printing usage."""

    def error(self, message):
        raise ConfigError("%s (%s)" % (message, invocation.see_help()))


def _number(kind, low, high=float("inf")):
    def convert(text):
        value = kind(text)
        if not low <= value <= high or value != value or value in (float("inf"), -float("inf")):
            raise ValueError(text)
        return value
    convert.__name__ = ("whole number" if kind is int else "number") + " of at least %s" % low
    return convert


def build_parser():
    """argparse parser; absent flags do not appear in its namespace."""
    parser = _Parser(prog=invocation.name("python -m gru4rec.prepare"),
                     argument_default=argparse.SUPPRESS,
                     allow_abbrev=False,
                     description="Raw logs -> training, validation and test files "
                                 "(docs/guide/data.md).")
    parser.add_argument("--version", action="version", version="gru4rec " + __version__)
    parser.add_argument("dataset", choices=sorted(DATASETS),
                        help="which preparation: " + ", ".join(sorted(DATASETS)),
                        metavar="DATASET")
    parser.add_argument("raw", nargs="+", metavar="RAW",
                        help="raw files, gzip too; several are read one after the other")
    parser.add_argument("--out", required=True, help="directory of the outputs")
    parser.add_argument("--overwrite", type=int, choices=(0, 1),
                        help="1 replaces outputs that are there [default: 0]")
    parser.add_argument("--memory", type=_number(float, 0.1, 1e6), metavar="GIB",
                        help="memory DuckDB may use, about; beyond it goes to disk [GiB; default: "
                             "2.5]")
    parser.add_argument("--threads", type=_number(int, 1, 1024),
                        help="threads [default: one for each core]")
    parser.add_argument("--partitions", type=_number(int, 1, MAX_PARTITIONS), metavar="N",
                        help="also write each training file as a dataset directory for several "
                             "workers, such as "
                        "DATASET_train_full.parquet/, in so many parts; a multiple of the number "
                        "of workers [default: none]")
    paper = parser.add_argument_group("rsc15")
    paper.add_argument("--slices",
                       help="parts 1/k of train to write as well, none for no part [default: 4,64]")
    paper.add_argument("--slice_by", choices=("targets", "sessions"),
                       help="what a slice is a part of [default: targets]")
    study = parser.add_argument_group("all but rsc15")
    study.add_argument("--gap", type=_number(float, 0, 1e11),
                       help="a longer pause of a user begins a session [seconds; "
                       "default: 3600 for retailrocket, rees46 and --user_key, else sessions are "
                       "as the log has them]")
    study.add_argument("--drop_repeats", type=int, choices=(0, 1),
                       help="1 drops an item again at once [default: 1]")
    study.add_argument("--min_support", type=_number(int, 1),
                       help="fewest events of an item [default: 5]")
    study.add_argument("--min_length", type=_number(int, 1),
                       help="fewest events of a session [default: 2]")
    study.add_argument("--max_length", type=_number(int, 1),
                       help="most events of a session (bots) [default: no limit]")
    study.add_argument("--event_types",
                       help="kinds of event to keep, such as view,click [default: view, detail or "
                            "clicks "
                       "where the dataset has kinds, else all]")
    study.add_argument("--last_days", type=_number(float, 0.0, 36500),
                       help="length of the test period "
                       "[days; default: 7 for diginetica, retailrocket and otto, else 1]")
    study.add_argument("--split",
                       help="last-day, last-N-days, ratio or none [default: by --last_days]")
    study.add_argument("--ratio", type=_number(float, 0.0, 1.0),
                       help="share of test sessions at --split ratio [default: 0.1]")
    custom = parser.add_argument_group("custom, session-rec, recbole")
    custom.add_argument("--session_key",
                        help="column of the session [default: SessionId; recbole: session_id]")
    custom.add_argument("--user_key",
                        help="column of the user, instead of a session: sessions by --gap")
    custom.add_argument("--item_key", help="column of the item [default: ItemId; recbole: item_id]")
    custom.add_argument("--time_key", help="column of the time [default: Time; recbole: timestamp]")
    custom.add_argument("--event_key",
                        help="column of the kind of event, for --event_types [default: none]")
    return parser


def parse(argv):
    """Command line -> Job. Raises: ConfigError naming the flag, its value and what to give instead.
    """
    given = vars(build_parser().parse_args(argv))
    known = DATASETS[given["dataset"]]
    for flags, holds, who in ((("slices", "slice_by"), given["dataset"] == "rsc15", "rsc15"),
                              (_STUDY, given["dataset"] != "rsc15",
                               "the datasets other than rsc15, whose protocol is fixed"),
                              (_COLUMNS, known.reader is None, "custom, session-rec and recbole")):
        for flag in flags:
            if flag in given and not holds:
                raise ConfigError("--%s has no meaning for %s; it is for %s"
                                  % (flag, given["dataset"], who))
    types = given.get("event_types")
    if types is not None:
        types = tuple(part.strip() for part in types.split(",") if part.strip())
        if not types:
            raise ConfigError("--event_types is empty; give kinds such as view,click")
        if known.reader and not known.event_types:
            raise ConfigError("--event_types has no meaning for %s, whose log has no kinds of event" % given["dataset"])
    for one, other in (("session_key", "user_key"), ("split", "last_days")):
        if one in given and other in given:
            raise ConfigError("--%s and --%s exclude each other; give one of them" % (one, other))
    if not given["out"] or not files.is_utf8(given["out"]):
        raise ConfigError("--out %r is no directory name; give one, in UTF-8" % given["out"])
    paper = given["dataset"] == "rsc15"
    return Job(given["dataset"], tuple(given["raw"]), given["out"], bool(given.get("overwrite", 0)),
               given.get("memory", 2.5), given.get("threads"),
               None if known.reader else _keys(given, known, types),
               types or known.event_types, None if paper else _options(given, known),
               _slices(given.get("slices", "4,64")) if paper else (),
               given.get("slice_by", "targets"),
               given.get("partitions"))


def _keys(given, known, types):
    if bool(types) != ("event_key" in given):
        raise ConfigError("--event_types and --event_key need each other: the kinds to keep and "
                          "the column they are in")
    user = "user_key" in given
    session = given["user_key"] if user else given.get("session_key", known.keys[0])
    return formats.Keys(session, given.get("item_key", known.keys[1]),
                        given.get("time_key", known.keys[2]),
                        given.get("event_key"),
                        "--user_key" if user else "--session_key or --user_key")


def _options(given, known):
    split, days = given.get("split", "days"), given.get("last_days", known.days)
    match = re.match(r"last-(?:day|([0-9]{1,4})-days?)\Z", split)
    if match:
        split, days = "days", float(match.group(1) or 1)
    elif split not in ("days", "ratio", "none"):
        raise ConfigError("--split %r is unknown; use last-day, last-N-days, ratio or none" % split)
    if "ratio" in given and split != "ratio":
        raise ConfigError("--ratio has a meaning with --split ratio only")
    ratio = given.get("ratio", 0.1)
    if split == "ratio" and not 0 < ratio < 1 or split == "days" and not days > 0:
        raise ConfigError("--ratio must lie between 0 and 1, and the days of the test period be "
                          "more than 0")
    return study_module.Options(given.get("gap", 3600 if "user_key" in given else known.gap),
                                bool(given.get("drop_repeats", 1)), given.get("min_support", 5),
                                given.get("min_length", 2),
                                given.get("max_length"), split, days, ratio)


def _slices(text):
    if text == "none":
        return ()
    parts = text.split(",")
    if not all(re.match(r"[1-9][0-9]{0,5}\Z", part)
               for part in parts) or len(set(parts)) < len(parts):
        raise ConfigError("--slices %r is no list of different whole numbers such as 4,64" % text)
    return tuple(int(part) for part in parts)


def main(argv=None):
    """Run the command; returns its exit status (0 done, 2 input, 130 or 143 stopped by a signal).
    """
    setup_logging()
    try:
        for line in run(parse(sys.argv[1:] if argv is None else argv)).lines():
            say(line)
        return 0
    except Gru4RecError as error:
        return _failed(str(error), error.exit_status)
    except MemoryError:
        return _failed("out of memory; give less by --memory", 2)
    except KeyboardInterrupt:
        stopped = Stopped(signal.SIGINT)
        return _failed(str(stopped), stopped.exit_status)


def _failed(message, status):
    sys.stderr.write("error: %s\n" % " ".join(message.split()))
    return status

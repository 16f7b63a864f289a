"""Command: a raw log -> training, validation and test files (docs/guide/data.md).

    python -m gru4rec.prepare rsc15 yoochoose-clicks.dat --out data/rsc15
"""

import dataclasses
import re
import sys
from dataclasses import dataclass
from typing import Optional, Tuple

from gru4rec.command.flags import REQUIRED, Command, argument, flag, split
from gru4rec.command.kinds import real, text, text_list, whole, worded
from gru4rec.command.process import exit_status, say, setup_logging
from gru4rec.data.dataset import MAX_PARTITIONS
from gru4rec.errors import ConfigError
from gru4rec.prepare import files, formats
from gru4rec.prepare import study as study_module
from gru4rec.prepare.datasets import DATASETS
from gru4rec.prepare.job import Job, run

_LAST_DAYS = re.compile(r"last-(?:day|0*([1-9][0-9]{0,3})-days?)\Z")


@worded("a directory name in UTF-8")
def directory_name(value):
    """Text that DuckDB can be given as a path."""
    if not files.is_utf8(text(value)):
        raise ValueError("not UTF-8")
    return value


@worded("none or different whole numbers such as 4,64")
def slice_list(value):
    """"4,64" -> (4, 64), "none" -> ()."""
    if value == "none":
        return ()
    parts = text(value).split(",")
    if not all(re.match(r"[1-9][0-9]{0,5}\Z", part) for part in parts):
        raise ValueError("not whole numbers")
    if len(set(parts)) < len(parts):
        raise ValueError("a number twice")
    return tuple(int(part) for part in parts)


@worded("a list of kinds of event such as view,click")
def event_kinds(value):
    """"view, click" -> ("view", "click"); at least one."""
    kinds = tuple(part.strip() for part in text(value).split(",") if part.strip())
    if not kinds:
        raise ValueError("no kind")
    return kinds


@worded("last-day, last-N-days, ratio or none")
def split_rule(value):
    """A rule of --split as it is; "days" stands for --last_days."""
    if value not in ("days", "ratio", "none") and not _LAST_DAYS.match(text(value)):
        raise ValueError("not a rule")
    return value


@dataclass(frozen=True)
class PrepareConfig:
    """What is prepared, and with how much of the machine."""

    dataset: str = argument("DATASET", "name of the dataset, which decides the preparation",
                            choices=tuple(sorted(DATASETS)))
    raw: Tuple[str, ...] = argument(
        "RAW", "raw files, gzip too, read one after the other; or the directory that holds the "
        "files of a public dataset under their own names", kind=text_list, many=True)
    out: str = flag(REQUIRED, "directory to write to", "directory", kind=directory_name)
    overwrite: int = flag(0, "1 replaces outputs that exist", choices=(0, 1), kind=whole)
    memory: float = flag(2.5, "approximate memory that DuckDB may use; the rest goes to disk",
                         "GiB", kind=real, low=0.1, high=1e6)
    threads: Optional[int] = flag(None, "threads of DuckDB", "threads", kind=whole, low=1,
                                  high=1024, shown="one for each core")
    partitions: Optional[int] = flag(
        None, "also write each training file as a dataset directory of this many parts, such as "
        "DATASET_train_full.parquet/, for several worker processes; give a multiple of their "
        "number", "parts", kind=whole, low=1, high=MAX_PARTITIONS, shown="none")


@dataclass(frozen=True)
class PaperConfig:
    """The protocol of the first paper; for rsc15 only."""

    slices: Tuple[int, ...] = flag((4, 64), "also write the newest 1/k of the training file, for "
                                   "each of these k; none writes no slice", kind=slice_list)
    slice_by: str = flag("targets", "unit in which 1/k is counted", choices=("targets", "sessions"))


@dataclass(frozen=True)
class StudyConfig:
    """The protocol of the study of 2023; for every dataset but rsc15."""

    gap: Optional[float] = flag(
        None, "a user's pause longer than this begins a new session", "seconds", kind=real, low=0.0,
        high=1e11, shown="3600 for retailrocket, rees46 and --user_key, else the log's sessions")
    drop_repeats: int = flag(1, "1 drops an event whose item is that of the event before it",
                             choices=(0, 1), kind=whole)
    min_support: int = flag(5, "drop items with fewer events", "events", kind=whole, low=1)
    min_length: int = flag(2, "drop sessions with fewer events", "events", kind=whole, low=1)
    max_length: Optional[int] = flag(None, "drop sessions with more events (bots)", "events",
                                     kind=whole, low=1, shown="no limit")
    event_types: Optional[Tuple[str, ...]] = flag(
        None, "kinds of event to keep, such as view,click", kind=event_kinds,
        shown="view, detail or clicks where the dataset has kinds, else all")
    last_days: Optional[float] = flag(
        None, "length of the test period", "days", kind=real, above=0.0, high=36500.0,
        shown="7 for diginetica, retailrocket and otto, else 1")
    split: Optional[str] = flag(None, "rule of the split: last-day, last-N-days, ratio or none",
                                kind=split_rule, shown="by --last_days")
    ratio: float = flag(0.1, "share of the sessions that are test, with --split ratio", "share",
                        kind=real, above=0.0, below=1.0)


@dataclass(frozen=True)
class ColumnsConfig:
    """The columns of a log; for custom, session-rec and recbole."""

    session_key: Optional[str] = flag(None, "column of the session id", "column",
                                      shown="SessionId, for recbole session_id")
    user_key: Optional[str] = flag(None, "column of the user id, for a log without sessions: --gap "
                                   "then splits the events of a user into sessions", "column",
                                   shown="none")
    item_key: Optional[str] = flag(None, "column of the item id", "column",
                                   shown="ItemId, for recbole item_id")
    time_key: Optional[str] = flag(None, "column of the event time", "column",
                                   shown="Time, for recbole timestamp")
    event_key: Optional[str] = flag(None, "column of the kind of event, for --event_types",
                                    "column", shown="none")


COMMAND = Command("python -m gru4rec.prepare",
                  "Turn a raw log into training, validation and test files (docs/guide/data.md).",
                  (("preparation", PrepareConfig), ("rsc15", PaperConfig),
                   ("all but rsc15", StudyConfig), ("custom, session-rec, recbole", ColumnsConfig)))


def parse(argv):
    """Command line -> Job.

    Raises: ConfigError naming the flag, its value and what to give instead; DataError naming a raw
    file that a directory lacks.
    """
    given = COMMAND.given(argv)
    config, paper, study, columns = split(given, COMMAND.groups)
    known = DATASETS[config.dataset]
    is_paper = config.dataset == "rsc15"
    _check_meaning(config.dataset, given, (
        (PaperConfig, is_paper, "rsc15"),
        (StudyConfig, not is_paper, "the datasets other than rsc15, whose protocol is fixed"),
        (ColumnsConfig, known.reader is None, "custom, session-rec and recbole")))
    if study.event_types and known.reader and not known.event_types:
        raise ConfigError("--event_types has no meaning for %s, whose log has no kinds of event"
                          % config.dataset)
    for one, other in (("session_key", "user_key"), ("split", "last_days")):
        if one in given and other in given:
            raise ConfigError("--%s and --%s exclude each other; give one of them" % (one, other))
    keys = None if known.reader else _keys(columns, known, study.event_types)
    options, slices = None, paper.slices
    if not is_paper:
        options, slices = _options(study, given, known), ()
    raw = files.of_directory(config.raw, config.dataset, known)
    return Job(config.dataset, raw, config.out, bool(config.overwrite), config.memory,
               config.threads, keys, study.event_types or known.event_types, options, slices,
               paper.slice_by, config.partitions)


def _check_meaning(dataset, given, groups):
    """ConfigError for a flag that is given and has no meaning for the dataset.

    groups: (dataclass of flags, whether they have a meaning here, what they are for).
    """
    for cls, has_meaning, what_for in groups:
        for item in dataclasses.fields(cls):
            if item.name in given and not has_meaning:
                raise ConfigError("--%s has no meaning for %s; it is for %s"
                                  % (item.name, dataset, what_for))


def _keys(columns, known, event_types):
    """formats.Keys of a log whose columns are found by name."""
    if bool(event_types) != (columns.event_key is not None):
        raise ConfigError("give both --event_types (the kinds to keep) and --event_key (the column "
                          "of the kinds), or none")
    session, session_flag = columns.session_key or known.keys[0], "--session_key or --user_key"
    if columns.user_key is not None:
        session, session_flag = columns.user_key, "--user_key"
    return formats.Keys(session, columns.item_key or known.keys[1],
                        columns.time_key or known.keys[2], columns.event_key, session_flag)


def _options(study, given, known):
    """study.Options of the flags; what is not given comes from the dataset."""
    rule, days, gap = study.split or "days", study.last_days or known.days, study.gap
    last_days = _LAST_DAYS.match(rule)
    if last_days:
        rule, days = "days", float(last_days.group(1) or 1)
    if "ratio" in given and rule != "ratio":
        raise ConfigError("--ratio has no meaning without --split ratio")
    if gap is None:
        gap = 3600 if "user_key" in given else known.gap
    return study_module.Options(gap, bool(study.drop_repeats), study.min_support, study.min_length,
                                study.max_length, rule, days, study.ratio)


def main(argv=None):
    """Run the command; returns its exit status (command.process.exit_status)."""
    setup_logging()
    return exit_status(lambda: _run(sys.argv[1:] if argv is None else argv),
                       "give less by --memory")


def _run(argv):
    for line in run(parse(argv)).lines():
        say(line)

"""A dataset directory (`gru4rec.prepare --partitions N`): training events in parts, of which each
worker reads its own.

    dataset.json             what the other files hold, with their checksums; written last
    items.parquet            item id and support, in the order of the vocabulary of the plain file: the same item indices
    part-00000.parquet ...   events of whole sessions of two events or more, by session_number, within it by time

Sessions are numbered as data.sessions.index_train does with session_order "id", and number i is in
partition i % N. So the partitions p with p % W == w hold what `data.epochs.shard` gives worker w of
W, if N is a multiple of W.
"""

import contextlib
import hashlib
import json
import os
from typing import Any, Dict, NamedTuple, Tuple

import numpy as np
import pandas as pd

from gru4rec.data.reading.columns import data_error, short
from gru4rec.data.reading.parquet import import_pyarrow
from gru4rec.data.sessions import Sessions, TrainReport
from gru4rec.data.vocab import Vocabulary
from gru4rec.errors import ConfigError, DataError
from gru4rec.files.hashes import sha256

FORMAT = 1
FILE, ITEMS = "dataset.json", "items.parquet"
NUMBER, ITEM, SUPPORT = "session_number", "item", "support"  # columns of a part, and of ITEMS
MAX_PARTITIONS = 4096
_BATCH = 1 << 17  # rows
_AGAIN = "prepare it again with python -m gru4rec.prepare --partitions"


class Header(NamedTuple):
    """What dataset.json says; all counts are of the whole training file."""

    path: str                        # of the directory
    # "session" | "item" | "time" -> name of the column in the parts
    columns: Dict[str, str]
    events: int                      # in the parts
    sessions: int                    # in the parts
    items: int
    events_read: int                 # of the plain file, sessions of one event included
    sessions_read: int
    items_sha256: str
    parts: Tuple[Dict[str, Any], ...]  # of each partition: rows, sessions, sha256

    @property
    def partitions(self):
        return len(self.parts)


def part_name(partition):
    """File name of a partition."""
    return "part-%05d.parquet" % partition


def dump(header):
    """Text of the dataset.json of a Header."""
    values = dict(header._asdict(), format=FORMAT, partitions=header.partitions,
                  parts=list(header.parts))
    del values["path"]
    return json.dumps(values, indent=1, sort_keys=True) + "\n"


def is_dataset(path):
    """Whether a path is a directory with a dataset.json in it."""
    return os.path.isfile(os.path.join(path, FILE))


def digest(path):
    """SHA-256 of dataset.json, hex; it stands for all the data, since `read` compares the checksums
    of the files.

    Raises: DataError if it cannot be read.
    """
    return hashlib.sha256(_content(path)).hexdigest()


def header(path):
    """Header of a directory, checked.

    Raises: DataError, one line: dataset.json is missing, damaged, or of another format.
    """
    path = os.fspath(path)
    where, content = os.path.join(path, FILE), _content(path)
    try:
        values = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise data_error(where,
                         "no JSON (%s); restore it, or %s" % (str(error)[:80], _AGAIN)) from None
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        found = values.get("format") if isinstance(values, dict) else values
        raise data_error(where,
                         "its format is %s, this version reads %d; %s"
                         % (short(found), FORMAT, _AGAIN))
    wrong = next((key for key, holds in _KEYS.items() if not holds(values.get(key))), None)
    if wrong is None:
        parts, sessions = values["parts"], values["sessions"]
        if len(parts) != values["partitions"] or sum(part["rows"]
                                                     for part in parts) != values["events"]:
            wrong = "parts"
        elif any(part["sessions"] != _num_dealt(sessions, p, len(parts)) for p,
                 part in enumerate(parts)):
            wrong = "sessions"  # not as round-robin deals them
    if wrong is not None:
        raise data_error(where,
                         "damaged: %s is missing, wrong or contradicts the rest; restore it, or %s" % (wrong, _AGAIN))
    values["parts"] = tuple(values["parts"])
    return Header(path, **{key: values[key] for key in Header._fields if key != "path"})


def check_validation(path, validation):
    """ConfigError for what needs all events of a training file at once; validation:
    config.groups.ValidConfig.
    """
    for flag in ("valid_fraction", "valid_days", "refit"):
        if getattr(validation, flag):
            raise ConfigError("--%s %g has no meaning with --train_path %s: a dataset directory is "
                              "not split or joined; "
                              "validate with --valid_path, or train on the plain file"
                              % (flag, getattr(validation, flag), path))


def read(path, workers, session_order="id"):
    """This worker's share of a dataset; only its partitions are opened, one after another.

    Memory: 4 bytes for each event and 40 for each session of the share (64 by time), the
    vocabulary, and a batch of rows.

    Args:
      path: directory. workers: parallel.workers.Workers; the partitions must be
      a multiple of size.
      session_order: "id", or "time": own sessions by the time of their first event, ties by session
      number.
    Returns: (Vocabulary, Sessions, TrainReport). The vocabulary is that of the plain file; with
    "id" the sessions are those
      of epochs_.shard, bit for bit. In the report events, sessions and targets are of the share,
      the rest of the whole file.
    Raises: DataError, one line, for what is missing, damaged or does not fit the workers;
    ValueError for an unknown order."""
    if session_order not in ("id", "time"):
        raise ValueError("session_order %r is unknown; use one of: id, time" % (session_order,))
    found = header(path)
    own = _own(found, workers)
    vocabulary = _vocabulary(found)
    mine, step = _num_dealt(found.sessions, workers.rank, workers.size), len(own)
    sizes = np.empty(mine, np.int64)
    first = np.empty(mine) if session_order == "time" else None
    # session number partition + m * N is the worker's number place + m * step
    for place, partition in enumerate(own):
        _check_sum(found, part_name(partition), found.parts[partition]["sha256"])
        sizes[place::step], times = _scan(found, partition, first is not None)
        if first is not None:
            first[place::step] = times
    if first is None:
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        starts = offsets[:-1]
    else:
        order = np.argsort(first, kind="stable")
        offsets = np.concatenate([[0], np.cumsum(sizes[order])]).astype(np.int64)
        starts = np.empty(mine, np.int64)
        starts[order] = offsets[:-1]
    items = np.empty(offsets[-1], np.int32)
    for place, partition in enumerate(own):
        _fill(found, partition, vocabulary, sizes[place::step], starts[place::step], items)
    sessions = Sessions(items, offsets)
    report = TrainReport(found.events_read, found.sessions_read, found.items, sessions.num_events,
                         sessions.num_sessions,
                         sessions.num_targets, found.sessions_read - found.sessions)
    return vocabulary, sessions, report


def lengths(path, partition):
    """Events of each session of a partition, int64, by session number; reads neither items nor
    times.

    Args:
      path: directory. partition: int, any that the dataset has.
    Raises: DataError, as `read`; ValueError for a partition it does not have.
    """
    found = header(path)
    if not 0 <= partition < found.partitions:
        raise ValueError("partition %r is not one of the %d of %s"
                         % (partition, found.partitions, found.path))
    return _scan(found, partition)[0]


def _own(found, workers):
    """Partitions of a worker; DataError if the dataset cannot be shared evenly."""
    if not found.sessions:
        raise data_error(found.path,
                         "none of its %d sessions has two events, so there is nothing to learn; "
                         "check the log it "
                         "was prepared from" % found.sessions_read)
    if found.partitions % workers.size:
        few = "fewer than" if found.partitions < workers.size else "not a multiple of"
        raise data_error(found.path,
                         "%d partitions, %s the %d workers; %s %d (or a multiple), or start "
                         "another number of "
                         "workers" % (found.partitions, few, workers.size, _AGAIN, workers.size))
    if found.sessions < workers.size:
        raise data_error(found.path,
                         "%d sessions cannot be shared by %d workers; start fewer"
                         % (found.sessions, workers.size))
    return range(workers.rank, found.partitions, workers.size)


def _num_dealt(sessions, place, places):
    """How many of the sessions 0.. go to a place when they are dealt round-robin."""
    return len(range(place, sessions, places))


def _vocabulary(found):
    _check_sum(found, ITEMS, found.items_sha256)
    where = os.path.join(found.path, ITEMS)
    with _opened(where, (ITEM, SUPPORT)) as file:
        table = file.read(columns=[ITEM, SUPPORT])
        ids, support = (_plain(table.column(name)) for name in (ITEM, SUPPORT))
        if ids.dtype not in (np.int64,
                             object) or len(pd.unique(ids)) < len(ids) or support.dtype != np.int64:
            raise data_error(where,
                             "an id is missing or there twice, or a support is missing; %s"
                             % _AGAIN)
        if len(ids) != found.items or support.sum() != found.events_read:
            raise data_error(where, "%d items of %d events, %s says %d of %d; %s"
                             % (len(ids), support.sum(), FILE, found.items, found.events_read,
                                _AGAIN))
        return Vocabulary(ids, support)


def _scan(found, partition, with_time=False):
    """(length int64 [S], time float64 [S] of the first event, or None) of the sessions of a
    partition.
    """
    where = os.path.join(found.path, part_name(partition))
    part, step = found.parts[partition], found.partitions
    sizes = np.zeros(part["sessions"], np.int64)
    times = np.empty(part["sessions"]) if with_time else None
    last, good = -1, True
    with _opened(where, [NUMBER] + list(found.columns.values())) as file:
        if file.metadata.num_rows != part["rows"]:
            raise data_error(where, "%d rows, %s says %d; restore the file, or %s"
                             % (file.metadata.num_rows, FILE, part["rows"], _AGAIN))
        for batch in file.iter_batches(_BATCH,
                                       columns=[NUMBER] + [found.columns["time"]] * with_time):
            if not batch.num_rows:
                continue
            numbers = _plain(batch.column(0)) - partition
            place = numbers // step  # of each event's session in this partition
            steps = np.diff(place, prepend=last)
            good = bool((numbers % step == 0).all() and (steps >= 0).all() and place.min() >= 0
                        and place.max() < len(sizes))
            if not good:
                break
            sizes[place[0]:place[-1] + 1] += np.bincount(place - place[0])
            if with_time:
                times[place[steps > 0]] = _plain(batch.column(1))[steps > 0]
            last = place[-1]
        if not good or (sizes < 2).any():
            raise data_error(where,
                             "its %s are not those of partition %d of %d; %s"
                             % (NUMBER, partition, step, _AGAIN))
    return sizes, times


def _fill(found, partition, vocabulary, sizes, starts, items):
    """Put the items of a partition at their places: its session m begins at items[starts[m]] and
    has sizes[m] events.
    """
    where, column = os.path.join(found.path, part_name(partition)), found.columns["item"]
    ends, row = np.cumsum(sizes), 0
    shift = starts - (ends - sizes)
    with _opened(where, [column]) as file:
        for batch in file.iter_batches(_BATCH, columns=[column]):
            raw = _plain(batch.column(0))
            codes, rows = vocabulary.encode(raw), np.arange(row, row + len(raw))
            unknown = np.flatnonzero(codes < 0)
            if len(unknown):
                raise data_error(where,
                                 "item %s is not in %s; %s"
                                 % (short(raw[unknown[:1]].tolist()[0]), ITEMS, _AGAIN),
                                 row + int(unknown[0]) + 1, column, "row")
            items[rows + shift[np.searchsorted(ends, rows, side="right")]] = codes
            row += len(raw)


def _plain(column):
    """Arrow column -> int64, float64 or object [N] of str."""
    return np.asarray(column.to_pandas())


@contextlib.contextmanager
def _opened(path, columns):
    """Context of a pyarrow ParquetFile that has these columns without nulls; what fails inside is
    one DataError.
    """
    arrow, parquet = import_pyarrow(path)
    try:
        with open(path, "rb") as handle:
            file = parquet.ParquetFile(handle)
            missing = [name for name in columns if name not in file.schema_arrow.names]
            if missing:
                raise data_error(path, "column %s is missing; it has %s; restore the file, or %s"
                                 % (short(missing[0]),
                                    ", ".join(map(short, file.schema_arrow.names[:12])), _AGAIN))
            yield file
    except DataError:
        raise
    except FileNotFoundError:
        raise data_error(path, "no such file; restore it, or %s" % _AGAIN) from None
    except (arrow.lib.ArrowException, OSError, ValueError, KeyError, TypeError, IndexError,
            NotImplementedError) as error:
        raise data_error(path,
                         "not readable as parquet (%s); restore the file, or %s"
                         % (str(error)[:120], _AGAIN)) from None


def _check_sum(found, name, said):
    path = os.path.join(found.path, name)
    try:
        same = sha256(path) == said
    except OSError as error:
        raise data_error(path,
                         "cannot be read: %s; restore the file, or %s"
                         % (error.strerror or error, _AGAIN)) from None
    if not same:
        raise data_error(path,
                         "its checksum is not what %s says; restore the file, or %s"
                         % (FILE, _AGAIN))


def _content(path):
    where = os.path.join(path, FILE)
    try:
        with open(where, "rb") as file:
            return file.read()
    except OSError as error:
        raise data_error(where,
                         "cannot be read: %s; give a directory that gru4rec.prepare --partitions "
                         "has written, or a "
                         "file of events" % (error.strerror or error)) from None


def _count(value):
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2 ** 62


def _text(value):
    return isinstance(value, str)


_KEYS = {
    "columns": lambda value: (isinstance(value, dict) and set(value) == {"session", "item", "time"}
                              and all(map(_text, value.values()))),
    "events": _count, "sessions": _count, "items": _count, "partitions": _count,
    "events_read": _count,
    "sessions_read": _count, "items_sha256": _text,
    "parts": lambda value: (isinstance(value, list) and 0 < len(value) <= MAX_PARTITIONS and all(
        isinstance(part, dict) and set(part) == {"rows", "sessions", "sha256"}
        and _count(part["rows"])
        and _count(part["sessions"]) and _text(part["sha256"]) for part in value)),
}

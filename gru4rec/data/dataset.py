"""A dataset directory: training events in partitions, of which each worker reads its own.

`gru4rec.prepare --partitions N` writes it:

    dataset.json             what the other files hold, with their checksums; written last
    items.parquet            item id and support of each item, by item index; the indices are those
                             that training on the plain file would give
    part-00000.parquet ...   events of whole sessions of two events or more, sorted by
                             session_number, then by time

Sessions are numbered in the order of data.sessions.index_train with session_order "id", and session
i is in partition i % N. So the partitions p with p % W == w hold the sessions that
`data.epochs.shard` gives worker w of W workers, if N is a multiple of W.
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

    path: str                # of the directory
    columns: Dict[str, str]  # "session" | "item" | "time" -> name of the column in the partitions
    events: int              # in all partitions
    sessions: int            # in all partitions
    items: int
    events_read: int         # of the plain file, sessions of one event included
    sessions_read: int       # as events_read
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
    """SHA-256 of dataset.json as hex text.

    It stands for all the data, because dataset.json holds the checksums of the other files and
    `read` compares them.

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
        reason = str(error)[:80]
        raise data_error(where, "no JSON (%s); restore it, or %s" % (reason, _AGAIN)) from None
    written_format = values.get("format") if isinstance(values, dict) else values
    if not isinstance(values, dict) or written_format != FORMAT:
        raise data_error(where, "its format is %s, this version reads %d; %s"
                         % (short(written_format), FORMAT, _AGAIN))
    wrong = _wrong_key(values)
    if wrong is not None:
        raise data_error(where, "damaged: %s is missing, wrong or contradicts the rest; restore "
                         "it, or %s" % (wrong, _AGAIN))
    values["parts"] = tuple(values["parts"])
    return Header(path, **{key: values[key] for key in Header._fields if key != "path"})


def _wrong_key(values):
    """First key of a dataset.json whose value is wrong or contradicts the rest; None if all fit."""
    for key, is_right in _KEYS.items():
        if not is_right(values.get(key)):
            return key
    parts = values["parts"]
    num_rows = sum(part["rows"] for part in parts)
    if len(parts) != values["partitions"] or num_rows != values["events"]:
        return "parts"
    for number, part in enumerate(parts):
        if part["sessions"] != _num_dealt(values["sessions"], number, len(parts)):
            return "sessions"  # not as round-robin deals them
    return None


def check_validation(path, validation):
    """Refuse a validation that needs all events of the training file at once.

    Args:
      path: the dataset directory. validation: config.groups.ValidConfig.
    Raises: ConfigError.
    """
    for flag in ("valid_fraction", "valid_days", "refit"):
        if getattr(validation, flag):
            raise ConfigError("--%s %g has no meaning with --train_path %s: a dataset directory is "
                              "not split or joined; validate with --valid_path, or train on the "
                              "plain file"
                              % (flag, getattr(validation, flag), path))


def read(path, workers, session_order="id"):
    """This worker's share of a dataset; only its partitions are opened, one after another.

    Memory: 4 bytes for each event and 40 for each session of the share (64 with "time"), the
    vocabulary, and a batch of rows.

    Args:
      path: directory.
      workers: parallel.workers.Workers; their number must divide the number of partitions.
      session_order: "id", or "time": the share by the time of each session's first event, ties by
        session number.
    Returns: (Vocabulary, Sessions, TrainReport). The vocabulary is that of the plain file; with
      "id" the sessions are those of epochs.shard, bit for bit. In the report events, sessions and
      targets are of the share, the other counts of the whole file.
    Raises: DataError, one line, for what is missing, damaged or does not fit the workers;
      ValueError for an unknown order.
    """
    if session_order not in ("id", "time"):
        raise ValueError("session_order %r is unknown; use one of: id, time" % (session_order,))
    about = header(path)
    own = _partitions_of(about, workers)
    vocabulary = _vocabulary(about)
    num_own, step = _num_dealt(about.sessions, workers.rank, workers.size), len(own)
    sizes = np.empty(num_own, np.int64)
    first_times = np.empty(num_own) if session_order == "time" else None
    # Session `partition + m * N` of the dataset is session `place + m * step` of the worker.
    for place, partition in enumerate(own):
        _check_sum(about, part_name(partition), about.parts[partition]["sha256"])
        sizes[place::step], times = _scan(about, partition, first_times is not None)
        if first_times is not None:
            first_times[place::step] = times
    if first_times is None:
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        starts = offsets[:-1]
    else:
        order = np.argsort(first_times, kind="stable")
        offsets = np.concatenate([[0], np.cumsum(sizes[order])]).astype(np.int64)
        starts = np.empty(num_own, np.int64)
        starts[order] = offsets[:-1]
    items = np.empty(offsets[-1], np.int32)
    for place, partition in enumerate(own):
        _fill(about, partition, vocabulary, sizes[place::step], starts[place::step], items)
    sessions = Sessions(items, offsets)
    report = TrainReport(events_read=about.events_read, sessions_read=about.sessions_read,
                         items=about.items, events=sessions.num_events,
                         sessions=sessions.num_sessions, targets=sessions.num_targets,
                         short_sessions=about.sessions_read - about.sessions)
    return vocabulary, sessions, report


def lengths(path, partition):
    """Number of events of each session of a partition, int64, by session number.

    It reads neither items nor times.

    Args:
      path: directory. partition: int, any that the dataset has.
    Raises: DataError, as `read`; ValueError for a partition it does not have.
    """
    about = header(path)
    if not 0 <= partition < about.partitions:
        raise ValueError("partition %r is not one of the %d of %s"
                         % (partition, about.partitions, about.path))
    return _scan(about, partition)[0]


def _partitions_of(about, workers):
    """Numbers of a worker's partitions; DataError if the dataset cannot be shared evenly."""
    if not about.sessions:
        raise data_error(about.path, "none of its %d sessions has two events, so there is nothing "
                         "to learn; check the log it was prepared from" % about.sessions_read)
    if about.partitions % workers.size:
        problem = "fewer than" if about.partitions < workers.size else "not a multiple of"
        raise data_error(about.path, "%d partitions, %s the %d workers; %s %d (or a multiple), or "
                         "start another number of workers"
                         % (about.partitions, problem, workers.size, _AGAIN, workers.size))
    if about.sessions < workers.size:
        raise data_error(about.path, "%d sessions cannot be shared by %d workers; start fewer"
                         % (about.sessions, workers.size))
    return range(workers.rank, about.partitions, workers.size)


def _num_dealt(sessions, place, places):
    """How many of the sessions 0.. go to a place when they are dealt round-robin."""
    return len(range(place, sessions, places))


def _vocabulary(about):
    """Vocabulary of items.parquet, checked against the header."""
    _check_sum(about, ITEMS, about.items_sha256)
    where = os.path.join(about.path, ITEMS)
    with _opened(where, (ITEM, SUPPORT)) as file:
        table = file.read(columns=[ITEM, SUPPORT])
        ids, support = (_plain(table.column(name)) for name in (ITEM, SUPPORT))
        has_types = ids.dtype in (np.int64, object) and support.dtype == np.int64
        if not has_types or len(pd.unique(ids)) < len(ids):
            raise data_error(where, "an id is missing or there twice, or a support is missing; %s"
                             % _AGAIN)
        if len(ids) != about.items or support.sum() != about.events_read:
            raise data_error(where, "%d items of %d events, %s says %d of %d; %s"
                             % (len(ids), support.sum(), FILE, about.items, about.events_read,
                                _AGAIN))
        return Vocabulary(ids, support)


def _scan(about, partition, with_time=False):
    """Of a partition's sessions: (number of events int64 [S], time of the first float64 [S]).

    The times are None without `with_time`.
    """
    where = os.path.join(about.path, part_name(partition))
    part, step = about.parts[partition], about.partitions
    sizes = np.zeros(part["sessions"], np.int64)
    times = np.empty(part["sessions"]) if with_time else None
    last, good = -1, True
    with _opened(where, [NUMBER] + list(about.columns.values())) as file:
        if file.metadata.num_rows != part["rows"]:
            raise data_error(where, "%d rows, %s says %d; restore the file, or %s"
                             % (file.metadata.num_rows, FILE, part["rows"], _AGAIN))
        columns = [NUMBER, about.columns["time"]] if with_time else [NUMBER]
        for batch in file.iter_batches(_BATCH, columns=columns):
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
            raise data_error(where, "its %s are not those of partition %d of %d; %s"
                             % (NUMBER, partition, step, _AGAIN))
    return sizes, times


def _fill(about, partition, vocabulary, sizes, starts, items):
    """Put the items of a partition at their places in `items`.

    Session m of the partition begins at items[starts[m]] and has sizes[m] events.
    """
    where, column = os.path.join(about.path, part_name(partition)), about.columns["item"]
    ends, row = np.cumsum(sizes), 0
    shift = starts - (ends - sizes)
    with _opened(where, [column]) as file:
        for batch in file.iter_batches(_BATCH, columns=[column]):
            raw = _plain(batch.column(0))
            codes, rows = vocabulary.encode(raw), np.arange(row, row + len(raw))
            unknown = np.flatnonzero(codes < 0)
            if len(unknown):
                item = raw[unknown[:1]].tolist()[0]
                raise data_error(where, "item %s is not in %s; %s" % (short(item), ITEMS, _AGAIN),
                                 row + int(unknown[0]) + 1, column, "row")
            items[rows + shift[np.searchsorted(ends, rows, side="right")]] = codes
            row += len(raw)


def _plain(column):
    """Arrow column -> int64, float64 or object [N] of str."""
    return np.asarray(column.to_pandas())


@contextlib.contextmanager
def _opened(path, columns):
    """Context of a pyarrow ParquetFile that has these columns; what fails inside is a DataError."""
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
        raise data_error(path, "not readable as parquet (%s); restore the file, or %s"
                         % (str(error)[:120], _AGAIN)) from None


def _check_sum(about, name, expected):
    """DataError unless a file of the directory has the checksum that dataset.json says."""
    path = os.path.join(about.path, name)
    try:
        is_same = sha256(path) == expected
    except OSError as error:
        raise data_error(path, "cannot be read: %s; restore the file, or %s"
                         % (error.strerror or error, _AGAIN)) from None
    if not is_same:
        raise data_error(path, "its checksum is not what %s says; restore the file, or %s"
                         % (FILE, _AGAIN))


def _content(path):
    """Bytes of dataset.json."""
    where = os.path.join(path, FILE)
    try:
        with open(where, "rb") as file:
            return file.read()
    except OSError as error:
        raise data_error(where, "cannot be read: %s; give a directory that gru4rec.prepare "
                         "--partitions has written, or a file of events"
                         % (error.strerror or error)) from None


def _count(value):
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2 ** 62


def _text(value):
    return isinstance(value, str)


def _columns(value):
    return (isinstance(value, dict) and set(value) == {"session", "item", "time"}
            and all(map(_text, value.values())))


def _parts(value):
    return (isinstance(value, list) and 0 < len(value) <= MAX_PARTITIONS
            and all(map(_part, value)))


def _part(value):
    return (isinstance(value, dict) and set(value) == {"rows", "sessions", "sha256"}
            and _count(value["rows"]) and _count(value["sessions"]) and _text(value["sha256"]))


# key of dataset.json -> function (value) -> whether the value can be right
_KEYS = {
    "columns": _columns, "events": _count, "sessions": _count, "items": _count,
    "partitions": _count, "events_read": _count, "sessions_read": _count, "items_sha256": _text,
    "parts": _parts,
}

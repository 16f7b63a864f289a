"""Raw formats -> the table `raw`: one row per event of the files, in file order.

    session, item  BIGINT, or VARCHAR where an id is no whole number; NULL where missing
    time           BIGINT microseconds; NULL where it does not parse
    selected       BOOLEAN: of a kind of event that is asked for

A selected row with a NULL is a bad row: counted, the first five shown, and too many stop the run.
"""

import csv
import gzip
import itertools
import logging
import os
import re
import zlib
from typing import NamedTuple, Optional

from gru4rec.data.columns import data_error, short
from gru4rec.errors import ConfigError
from gru4rec.prepare.engine import NotUtf8, QueryError

_LOG = logging.getLogger(__name__)
MAX_BAD_SHARE = 0.01
GOOD = "selected AND session IS NOT NULL AND item IS NOT NULL AND time IS NOT NULL"  # rows of `raw`
_BAD = "selected AND (session IS NULL OR item IS NULL OR time IS NULL)"
_MAX_REJECTS = 1000000  # malformed lines DuckDB may keep; that many stop the run whatever the size of the file
_SAMPLE = 100000  # rows of a file that settle what its times are
# unit, sizes of its numbers, factor to microseconds: the limits of data.loader, and a tenth below, down to April 1970
_UNITS = (("s", 0, 1e11, 1e6), ("ms", 1e10, 1e14, 1e3), ("us", 1e13, 1e17, 1), ("ns", 1e16, 1e20, 1e-3))


class Source(NamedTuple):
    """How one file becomes rows, in SQL. Expressions see the columns of `rows`."""

    scan: str               # table function that reads the file; its one parameter is the path
    session: str            # expressions: ids
    item: str
    time: str               # microseconds; if `guess_time` the column, whose kind of time is to be found
    event: Optional[str] = None  # expression: kind of event
    rows: str = "{scan}"    # from one record of the scan to events; keeps its column n, the number of the record
    skip: int = 0           # header lines
    delimiter: str = ""     # of a text whose fields may be in quotes
    event_needed: bool = False  # whether a row without a kind is a bad one, and not one of another kind
    guess_time: bool = False


def load(engine, paths, make_source, event_types, report, every_column=False):
    """Fill `raw` from all files; ids of text that spell whole numbers throughout become BIGINT.

    Args:
      make_source: function (path, gzipped) -> Source; all files must agree on the kind and unit of time.
      event_types: tuple of the kinds that are selected, or None for all.
      every_column: read the columns that nobody needs as well, see NotUtf8.
    Raises: DataError, one line.
    """
    for place, path in enumerate(paths):
        safe, gzipped = _checked(path)
        if any(os.path.samefile(path, other) for other in paths[:place]):
            raise data_error(path, "the file is given twice; give each file once")
        try:
            source = make_source(path, gzipped)
            if every_column:  # a condition that is always true, which no optimizer can know
                source = source._replace(scan="(SELECT * FROM %s AS t WHERE random() >= 0 OR t IS NULL)" % source.scan)
            if source.guess_time:
                source = _guess_time(engine, path, safe, source, report)
            _load_file(engine, path, safe, source, event_types, report)
        except QueryError as error:
            if isinstance(error, NotUtf8):
                raise
            raise data_error(path, str(error)) from None
    _settle_ids(engine)


def _guess_time(engine, path, safe, source, report):
    """Source with an expression for its times: ISO-8601, or numbers of a unit, by the first rows of the file.

    A number that does not have the size of the unit is NULL, so that its row is a bad one.
    """
    numbers, dates, median, *_ = engine.one(  # the ids too, so that it reads what _load_file reads
        "SELECT count(a), count(b), median(abs(a)), count(s), count(i) FROM (SELECT %s AS a, %s AS b, %s AS s, %s AS i "
        "FROM (SELECT * FROM %s LIMIT %d))" % (number(source.time), iso(source.time), source.session, source.item,
                                               source.rows.replace("{scan}", source.scan), _SAMPLE), safe)
    _malformed(engine)
    if numbers <= dates:
        kind, time, said = "iso-8601", iso(source.time), "ISO-8601"
    else:
        kind, low, high, factor = next(row for row in _UNITS if median < row[2] or row[0] == "ns")
        value = number(source.time)
        time = "CASE WHEN abs({0}) >= {1!r} AND abs({0}) < {2!r} THEN round({0} * {3!r})::BIGINT END".format(
            value, low, high, factor)
        said = "numbers in %s, because the median size is %.4g" % (kind, median)
    if report.time_unit not in (None, kind):
        raise data_error(path, "its times are taken as %s, those of the files before it as %s; give files of one kind"
                         % (kind, report.time_unit))
    if report.time_unit is None:
        _LOG.info("times are taken as %s", said)
    report.time_unit = kind
    return source._replace(time=time)


def _load_file(engine, path, safe, source, event_types, report):
    wanted = "true"
    if event_types and source.event:
        wanted = "coalesce(%s IN (%s), %s)" % (source.event, ", ".join(map(_quoted, event_types)),
                                               str(source.event_needed).lower())
    columns = "%s AS session, %s AS item, %s AS time, %s AS selected" % (
        source.session, source.item, source.time, wanted)
    query = "SELECT " + columns + " FROM " + source.rows.replace("{scan}", source.scan)
    before = engine.one("SELECT count(*) FROM raw")[0] if report.files else 0
    engine.run(("INSERT INTO raw " if report.files else "CREATE TABLE raw AS ") + query, safe)
    malformed = _malformed(engine)
    rows, bad = engine.one("SELECT count(*), count(*) FILTER (%s) FROM raw WHERE rowid >= ?" % _BAD, before)
    rows, bad = rows + len(malformed), bad + len(malformed)
    report.add_file(os.path.basename(path), rows, bad)
    if not rows:
        raise data_error(path, "there is no event in it; give a file with events")
    if not bad:
        return
    records, shown = [], None
    if source.scan.startswith("read_parquet"):
        shown = engine.run("SELECT rowid - ? + 1, {'session': session, 'item': item, 'time': time}::VARCHAR FROM raw "
                           "WHERE rowid >= ? AND %s ORDER BY rowid LIMIT 5" % _BAD, before, before)
    elif bad > len(malformed):
        numbered = source.rows.replace("{scan}", "(SELECT *, row_number() OVER () AS n FROM %s)" % source.scan)
        records = [row[0] for row in engine.run("SELECT DISTINCT n FROM (SELECT n, %s FROM %s) WHERE %s ORDER BY n LIMIT 5"
                                                % (columns, numbered, _BAD), safe)]
        _malformed(engine)
    unit = "line" if shown is None else "row"
    shown = shown or _first_bad(path, source, records, malformed)
    for line, text in shown:
        _LOG.warning("%s: %s %d does not parse: %s", path, unit, line, short(text))
    if bad > MAX_BAD_SHARE * rows or len(malformed) >= _MAX_REJECTS:
        line, text = shown[0] if shown else (None, "")
        raise data_error(path, "%d of %d rows (%.1f %%) do not parse, first %s; at most 1 %% may; correct the file, or "
                         "check that it is the one this dataset needs" % (bad, rows, 100.0 * bad / rows, short(text)), line,
                         unit=unit)


def _malformed(engine):
    """{row: lines it spans} of the malformed rows of the last scan, which it leaves out.

    A row is a line, also a blank one or the header, or several lines if a newline is in quotes.
    """
    try:
        found = engine.run("SELECT line, max(len(t) - len(replace(t, chr(10), ''))) FROM (SELECT line, trim(csv_line, "
                           "chr(13) || chr(10)) AS t FROM reject_errors) GROUP BY line ORDER BY line")
    except QueryError as error:
        if "does not exist" not in str(error):
            raise
        return {}  # the scan was one that stores none, or had none to store
    engine.run("DROP TABLE reject_errors")
    engine.run("DROP TABLE reject_scans")
    return {row: 1 + (newlines or 0) for row, newlines in found}


def _first_bad(path, source, records, malformed):
    """[(line, text)] of the first five of the bad rows.

    Args:
      records: numbers, from 1, of bad records: rows that are not blank, nor malformed, nor the header.
      malformed: {row: lines it spans}.
    """
    wanted, unseen = set(records), set(sorted(malformed)[:5])
    unclosed = re.compile(b'(?:^|%s)"(?:[^"]|"")*\\Z' % re.escape(source.delimiter.encode()))
    row, record, out = 0, 0, []
    with _open(path) as lines:
        lines = enumerate(lines, 1)
        for line, text in lines:
            row += 1
            if row in malformed:
                text += b"".join(part for _, part in itertools.islice(lines, malformed[row] - 1))
                shown = row in unseen
            else:
                while source.delimiter and b'"' in text and unclosed.search(text):  # a field in quotes goes on
                    more = next(lines, (0, b""))[1]
                    if not more:
                        break
                    text += more
                record += row > source.skip and bool(text.strip())
                shown = record in wanted
            if shown:
                out.append((line, text.decode("utf-8", "replace").rstrip("\r\n")))
            if len(out) == min(5, len(wanted) + len(unseen)):
                break
    return out


def _settle_ids(engine):
    """VARCHAR column of ids -> BIGINT if every id of a good row is spelled as a BIGINT is printed."""
    kinds = engine.one("SELECT typeof(session), typeof(item) FROM raw LIMIT 1")
    for column, kind in zip(("session", "item"), kinds):
        if kind == "VARCHAR" and not engine.one("SELECT count(*) FROM raw WHERE %s AND %s IS NULL"
                                                % (GOOD, integer(column)))[0]:
            engine.run("ALTER TABLE raw ALTER %s TYPE BIGINT USING try_cast(%s AS BIGINT)" % (column, column))


# SQL expressions

def integer(column):
    """BIGINT of a text that is spelled as it would be printed, else NULL."""
    return "CASE WHEN try_cast({0} AS BIGINT)::VARCHAR = {0} THEN try_cast({0} AS BIGINT) END".format(column)


def text(column):
    """A text id; NULL if it is empty or holds what no line of an events file can: a newline or NUL."""
    return r"CASE WHEN {0} <> '' AND NOT regexp_matches({0}, '[\x00\r\n]') THEN {0} END".format(column)


def timestamp(column):
    """Microseconds of `2014-04-07T10:51:09.277Z` and the like, in UTC, of the years 1 to 9999."""
    value = "try_cast(%s AS TIMESTAMP)" % column
    return "CASE WHEN {0} >= '0001-01-01' AND {0} < '9999-12-31' THEN epoch_us({0}) END".format(value)


def iso(column):
    """Microseconds of ISO-8601 with or without a zone (UTC if without); DuckDB's own reading of zones has changed."""
    zone = r"(:[0-9]{2}(?:[.,][0-9]+)?)\s*(?:Z|UTC|([+-][0-9]{2}):?([0-9]{2})?)$"
    hours = "nullif(regexp_extract(%s, '%s', 2), '')" % (column, zone)
    minutes = "coalesce(nullif(regexp_extract(%s, '%s', 3), ''), '0')::BIGINT" % (column, zone)
    sign = "CASE WHEN %s[1] = '-' THEN -1 ELSE 1 END" % hours
    local = timestamp("replace(regexp_replace(%s, '%s', '\\1'), ',', '.')" % (column, zone))
    return "(%s) - coalesce(60000000 * (%s::BIGINT * 60 + (%s) * %s), 0)" % (local, hours, sign, minutes)


def number(column):
    """DOUBLE, NULL where it is no finite number."""
    value = "try_cast(%s AS DOUBLE)" % column
    return "CASE WHEN isfinite(%s) THEN %s END" % (value, value)


def from_ms(value):
    """Microseconds of a BIGINT of milliseconds, of the years 1 to 9999."""
    return "CASE WHEN {0} BETWEEN -62135596800000 AND 253402214400000 THEN 1000 * ({0}) END".format(value)


def _quoted(value):
    return "'%s'" % value.replace("'", "''")


def _csv(width, gzipped, delimiter=",", quote="", header=True):
    """Table function for text of `width` columns, named c0, c1, ...; malformed lines go to reject_errors."""
    columns = ", ".join("'c%d': 'VARCHAR'" % place for place in range(width))
    return ("read_csv(?, auto_detect=false, header=%s, delim=%s, quote=%s, escape=%s, columns={%s}, compression='%s', "
            "store_rejects=true, rejects_limit=%d)" % (
                str(header).lower(), _quoted(delimiter), _quoted(quote), _quoted(quote), columns,
                "gzip" if gzipped else "none", _MAX_REJECTS))


# Published raw formats

def yoochoose(path, gzipped):
    """yoochoose-clicks.dat, yoochoose-test.dat: SessionId,2014-04-07T10:51:09.277Z,ItemId,Category; no header."""
    return Source(_csv(4, gzipped, header=False), integer("c0"), integer("c2"), timestamp("c1"))


def diginetica(path, gzipped):
    """train-item-views.csv: sessionId;userId;itemId;timeframe (ms since the session's query);eventdate (a day)."""
    places = _header_places(path, ("sessionId", "itemId", "timeframe", "eventdate"), ";")
    session, item, frame, date = ["c%d" % place for place in places.found]
    # "Timestamps are computed from the day of the first query and the elapsed time."
    rows = "(SELECT *, min(%s) OVER (PARTITION BY %s) AS day FROM {scan})" % (timestamp(date), session)
    checked = "CASE WHEN %s IS NOT NULL THEN day END + %s" % (timestamp(date), from_ms(integer(frame)))
    return Source(_csv(places.width, gzipped, ";", '"'), integer(session), integer(item), checked, rows=rows, skip=1,
                  delimiter=";")


def retailrocket(path, gzipped):
    """events.csv: timestamp (ms),visitorid,event,itemid,transactionid."""
    places = _header_places(path, ("visitorid", "itemid", "timestamp", "event"), ",")
    user, item, time, event = ["c%d" % place for place in places.found]
    return Source(_csv(places.width, gzipped, ",", '"'), integer(user), integer(item), from_ms(integer(time)), event, skip=1,
                  delimiter=",")


def rees46(path, gzipped):
    """2019-Oct.csv, 2019-Nov.csv: event_time (2019-10-01 00:00:00 UTC),event_type,product_id,...,user_id,user_session."""
    places = _header_places(path, ("user_id", "product_id", "event_time", "event_type"), ",")
    user, item, time, event = ["c%d" % place for place in places.found]
    return Source(_csv(places.width, gzipped, ",", '"'), integer(user), integer(item),
                  timestamp("replace(%s, ' UTC', '')" % time), event, skip=1, delimiter=",")


def coveo(path, gzipped):
    """browsing_train.csv, release_10_23_2020.csv: session_id_hash,event_type,product_action,product_skus_hash,
    server_timestamp_epoch_ms,hashed_url."""
    places = _header_places(path, ("session_id_hash", "product_skus_hash", "server_timestamp_epoch_ms", "product_action"),
                            ",")
    session, item, time, event = ["c%d" % place for place in places.found]
    return Source(_csv(places.width, gzipped, ",", '"'), text(session), text(item), from_ms(integer(time)), event, skip=1,
                  delimiter=",")


def otto(path, gzipped):
    """jsonl: {"session": 1, "events": [{"aid": 5, "ts": 1659304800025 (ms), "type": "clicks"}, ...]}."""
    scan = ("read_json(?, format='newline_delimited', ignore_errors=true, compression='%s', columns={session: 'BIGINT', "
            "events: 'STRUCT(aid BIGINT, ts BIGINT, \"type\" VARCHAR)[]'})" % ("gzip" if gzipped else "uncompressed"))
    # A line that is no such object, or without events, becomes one event of nothing.
    rows = ("(SELECT * EXCLUDE (events), unnest(CASE WHEN session IS NULL OR coalesce(len(events), 0) = 0 "
            "THEN [{'aid': NULL::BIGINT, 'ts': NULL::BIGINT, 'type': NULL::VARCHAR}] ELSE events END) AS e FROM {scan})")
    return Source(scan, "session", "e.aid", from_ms("e.ts"), "e.type", rows=rows, event_needed=True)


class _Places(NamedTuple):
    found: list
    width: int
    delimiter: str


def _header_places(path, keys, delimiter=None, flags=()):
    """Positions of columns in a text file's header.

    Args:
      keys: names wanted. delimiter: None finds it in the header. flags: the flag that names each key, if there are any.
    Raises: DataError naming the column that is missing and those that are there.
    """
    with _open(path) as lines:
        head = re.split("[\r\n]", lines.readline(100000).decode("utf-8", "replace").lstrip("\ufeff"))[0]
    delimiter = delimiter or max("\t,;", key=head.count)
    rows = list(csv.reader([head.replace("\0", "\ufffd")], delimiter=delimiter)) or [[]]
    names = [name.strip() for name in rows[0]]
    if names and all(re.search(r":(token|token_seq|float|float_seq)\Z", name) for name in names):  # RecBole
        names = [name.rpartition(":")[0] for name in names]
    for key, flag in itertools.zip_longest(keys, flags):
        if names.count(key) != 1:
            raise data_error(path, "column %s %s; the header has %s; %s" % (
                short(key), "is there more than once" if key in names else "is missing",
                ", ".join(map(short, names[:12])) or "no name",
                "name the column by %s" % flag if flag else "check that this is the dataset's file"), 1)
    return _Places([names.index(key) for key in keys], len(names), delimiter)


class Keys(NamedTuple):
    """Column names of a log; `event` may be None."""

    session: str
    item: str
    time: str
    event: Optional[str]
    session_flag: str = "--session_key"


def any_log(engine, keys):
    """make_source of text with a header (RecBole's typed header too) and parquet, columns by name."""
    wanted = {keys.session: keys.session_flag, keys.item: "--item_key", keys.time: "--time_key"}
    if keys.event:
        wanted[keys.event] = "--event_key"
    if len(wanted) < 3 + bool(keys.event):
        raise ConfigError("the columns of session, item, time and event must differ, not %s"
                          % ", ".join(map(repr, filter(None, keys[:4]))))

    def make(path, gzipped):
        with _open(path) as file:
            is_parquet = file.read(4) == b"PAR1"
        if is_parquet:
            return _parquet(engine, path, list(wanted), keys)
        places = _header_places(path, list(wanted), flags=list(wanted.values()))
        columns = ["c%d" % place for place in places.found]
        return Source(_csv(places.width, gzipped, places.delimiter, '"'), text(columns[0]), text(columns[1]), columns[2],
                      columns[3] if keys.event else None, skip=1, delimiter=places.delimiter, guess_time=True)
    return make


def _parquet(engine, path, wanted, keys):
    kinds = {name: kind for name, kind, *_ in engine.run("DESCRIBE SELECT * FROM read_parquet(?)", path)}
    for name in wanted:
        if name not in kinds:
            raise data_error(path, "column %s is missing; there are %s; name columns with --session_key --item_key "
                             "--time_key" % (short(name), ", ".join(map(short, list(kinds)[:12]))))
    columns = ['"%s"' % name.replace('"', '""') for name in wanted]
    ids = [_parquet_id(column, kinds[name]) for column, name in zip(columns[:2], wanted)]
    kind, time = kinds[keys.time], columns[2]
    moment = kind.startswith("TIMESTAMP") or kind == "DATE"
    if moment:  # with a zone it is a moment already; a cast would turn it into the local time of this machine
        time = "epoch_us(%s)" % (time if kind.endswith("ZONE") else time + "::TIMESTAMP")
    else:
        time += "::VARCHAR"
    return Source("read_parquet(?)", ids[0], ids[1], time, columns[3] if keys.event else None, guess_time=not moment)


def _parquet_id(column, kind):
    if kind in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"):
        return column + "::BIGINT"
    if kind in ("FLOAT", "DOUBLE"):  # NaN is no id
        column = "CASE WHEN isfinite({0}) THEN {0} END".format(column)
    return text("(%s)::VARCHAR" % column)


# Files

_PACKED = (b"PK\3\4", b"7z\xbc\xaf\x27\x1c", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ", b"BZh", b"Rar!")  # 7z, zstd, ...


def _open(path):
    """Binary lines of a file, unpacked if it is gzip."""
    file = open(path, "rb")
    magic = file.read(2)
    file.seek(0)
    return gzip.GzipFile(fileobj=file) if magic == b"\x1f\x8b" else file


def is_utf8(path):
    """Whether DuckDB can be given this name: one in another encoding holds surrogates."""
    return not re.search("[\ud800-\udfff]", path)


def _checked(path):
    """(absolute path, whether it is gzip) of a file that can be read to its end. Raises: DataError."""
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            raise data_error(path, "this is no file; give a regular file, since it is read more than once")
        with open(path, "rb") as file:
            magic = file.read(6)
        if magic[:2] == b"\x1f\x8b":  # DuckDB looks at no checksum, and before 2.0 took a cut file for a whole one
            with _open(path) as unpacked:
                while unpacked.read(1 << 20):
                    pass
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise data_error(path, "cannot be read: %s; correct the path, its permissions, or the file" % reason) from None
    if not magic:
        raise data_error(path, "the file is empty; give a file with events")
    if any(map(magic.startswith, _PACKED)):
        raise data_error(path, "this is an archive; unpack it and give the file inside")
    path = os.path.abspath(path)
    if not is_utf8(path):
        raise data_error(path, "DuckDB reads files with names in UTF-8 only; rename it")
    return path, magic[:2] == b"\x1f\x8b"

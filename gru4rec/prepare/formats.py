"""Raw formats: how a file becomes rows of session, item, time and kind of event, in SQL."""

import csv
import itertools
import re
from typing import NamedTuple, Optional

from gru4rec.data.reading.columns import data_error, short
from gru4rec.errors import ConfigError
from gru4rec.prepare import files

# Malformed lines that DuckDB may store; so many stop the run, whatever the size of the file.
MAX_REJECTS = 1000000


class Source(NamedTuple):
    """How one file becomes rows, in SQL.

    scan: table function that reads the file; its one parameter is the path.
    session, item: expressions of the ids; expressions see the columns of `rows`.
    time: expression in microseconds; with guess_time, the column whose kind of time is to be found.
    event: expression of the kind of event; None where there are no kinds.
    rows: from one record of the scan to events; keeps its column n, the number of the record.
    skip: number of header lines. delimiter: of a text whose fields may be in quotes.
    event_needed: whether a row without a kind is a bad row, not a row of another kind.
    """

    scan: str
    session: str
    item: str
    time: str
    event: Optional[str] = None
    rows: str = "{scan}"
    skip: int = 0
    delimiter: str = ""
    event_needed: bool = False
    guess_time: bool = False


# SQL expressions

def integer(column):
    """BIGINT of a text that is written as the number is printed, else NULL."""
    return ("CASE WHEN try_cast({0} AS BIGINT)::VARCHAR = {0} "
            "THEN try_cast({0} AS BIGINT) END".format(column))


def sort_key(engine, query, column):
    """SQL to ORDER BY an id: BIGINT by size, VARCHAR by code point.

    DuckDB 1.2 orders text beyond ASCII wrongly, so text is encoded first.
    """
    is_text = engine.run("SELECT typeof(%s) FROM (%s) LIMIT 1" % (column, query)) == [("VARCHAR",)]
    return "encode(%s)" % column if is_text else column


def text(column):
    """A text id; NULL if it is empty or holds a newline or NUL, which no line can hold."""
    return (r"CASE WHEN {0} <> '' AND NOT regexp_matches({0}, '[\x00\r\n]') THEN {0} END"
            .format(column))


def timestamp(column):
    """Microseconds of a time in UTC such as `2014-04-07T10:51:09.277Z`, of the years 1 to 9999."""
    value = "try_cast(%s AS TIMESTAMP)" % column
    return ("CASE WHEN {0} >= '0001-01-01' AND {0} < '9999-12-31' THEN epoch_us({0}) END"
            .format(value))


def iso(column):
    """Microseconds of an ISO-8601 time; UTC if it has no zone.

    Zones are read here, because DuckDB's versions read them differently.
    """
    zone = r"(:[0-9]{2}(?:[.,][0-9]+)?)\s*(?:Z|UTC|([+-][0-9]{2}):?([0-9]{2})?)$"
    hours = "nullif(regexp_extract(%s, '%s', 2), '')" % (column, zone)
    minutes = "coalesce(nullif(regexp_extract(%s, '%s', 3), ''), '0')::BIGINT" % (column, zone)
    sign = "CASE WHEN %s[1] = '-' THEN -1 ELSE 1 END" % hours
    local = timestamp("replace(regexp_replace(%s, '%s', '\\1'), ',', '.')" % (column, zone))
    return ("(%s) - coalesce(60000000 * (%s::BIGINT * 60 + (%s) * %s), 0)"
            % (local, hours, sign, minutes))


def number(column):
    """DOUBLE, NULL where it is no finite number."""
    value = "try_cast(%s AS DOUBLE)" % column
    return "CASE WHEN isfinite(%s) THEN %s END" % (value, value)


def from_ms(value):
    """Microseconds of a BIGINT of milliseconds, of the years 1 to 9999."""
    return ("CASE WHEN {0} BETWEEN -62135596800000 AND 253402214400000 THEN 1000 * ({0}) END"
            .format(value))


def quoted(value):
    """Text as a literal of SQL."""
    return "'%s'" % value.replace("'", "''")


def _csv(width, gzipped, delimiter=",", quote="", header=True):
    """Table function for text of `width` columns c0, c1, ...; reject_errors gets malformed lines.
    """
    columns = ", ".join("'c%d': 'VARCHAR'" % place for place in range(width))
    return ("read_csv(?, auto_detect=false, header=%s, delim=%s, quote=%s, escape=%s, "
            "columns={%s}, compression='%s', store_rejects=true, rejects_limit=%d)"
            % (str(header).lower(), quoted(delimiter), quoted(quote), quoted(quote), columns,
               "gzip" if gzipped else "none", MAX_REJECTS))


# Published raw formats

def yoochoose(path, gzipped):
    """yoochoose-clicks.dat, yoochoose-test.dat, without a header.

    Columns: SessionId,2014-04-07T10:51:09.277Z,ItemId,Category.
    """
    return Source(_csv(4, gzipped, header=False), integer("c0"), integer("c2"), timestamp("c1"))


def diginetica(path, gzipped):
    """train-item-views.csv.

    Columns: sessionId;userId;itemId;timeframe (ms since the session's query);eventdate (a day).
    """
    places = _header_places(path, ("sessionId", "itemId", "timeframe", "eventdate"), ";")
    session, item, frame, date = ["c%d" % place for place in places.found]
    # The time of an event is the first day of its session plus the timeframe.
    rows = ("(SELECT *, min(%s) OVER (PARTITION BY %s) AS day FROM {scan})"
            % (timestamp(date), session))
    time = ("CASE WHEN %s IS NOT NULL THEN day END + %s"
            % (timestamp(date), from_ms(integer(frame))))
    return Source(_csv(places.width, gzipped, ";", '"'), integer(session), integer(item), time,
                  rows=rows, skip=1, delimiter=";")


def retailrocket(path, gzipped):
    """events.csv: timestamp (ms),visitorid,event,itemid,transactionid."""
    places = _header_places(path, ("visitorid", "itemid", "timestamp", "event"), ",")
    user, item, time, event = ["c%d" % place for place in places.found]
    return Source(_csv(places.width, gzipped, ",", '"'), integer(user), integer(item),
                  from_ms(integer(time)), event, skip=1, delimiter=",")


def rees46(path, gzipped):
    """2019-Oct.csv, 2019-Nov.csv.

    Columns: event_time (2019-10-01 00:00:00 UTC),event_type,product_id,...,user_id,user_session.
    """
    places = _header_places(path, ("user_id", "product_id", "event_time", "event_type"), ",")
    user, item, time, event = ["c%d" % place for place in places.found]
    return Source(_csv(places.width, gzipped, ",", '"'), integer(user), integer(item),
                  timestamp("replace(%s, ' UTC', '')" % time), event, skip=1, delimiter=",")


def coveo(path, gzipped):
    """release_10_23_2020.csv, browsing_train.csv.

    Columns: session_id_hash,event_type,product_action,product_skus_hash,server_timestamp_epoch_ms,
    hashed_url.
    """
    places = _header_places(path, ("session_id_hash", "product_skus_hash",
                                   "server_timestamp_epoch_ms", "product_action"), ",")
    session, item, time, event = ["c%d" % place for place in places.found]
    return Source(_csv(places.width, gzipped, ",", '"'), text(session), text(item),
                  from_ms(integer(time)), event, skip=1, delimiter=",")


def otto(path, gzipped):
    """otto-recsys-train.jsonl, one session in a line.

    {"session": 1, "events": [{"aid": 5, "ts": 1659304800025 (ms), "type": "clicks"}, ...]}
    """
    scan = ("read_json(?, format='newline_delimited', ignore_errors=true, compression='%s', "
            "columns={session: 'BIGINT', "
            "events: 'STRUCT(aid BIGINT, ts BIGINT, \"type\" VARCHAR)[]'})"
            % ("gzip" if gzipped else "uncompressed"))
    # A line that is not such an object, or has no events, becomes one event without values.
    rows = ("(SELECT * EXCLUDE (events), unnest(CASE "
            "WHEN session IS NULL OR coalesce(len(events), 0) = 0 "
            "THEN [{'aid': NULL::BIGINT, 'ts': NULL::BIGINT, 'type': NULL::VARCHAR}] "
            "ELSE events END) AS e FROM {scan})")
    return Source(scan, "session", "e.aid", from_ms("e.ts"), "e.type", rows=rows, event_needed=True)


class _Places(NamedTuple):
    """Where columns are in a text file: their positions, the number of columns, the delimiter."""

    found: list
    width: int
    delimiter: str


def _header_places(path, keys, delimiter=None, flags=()):
    """Positions of columns in a text file's header.

    Args:
      keys: names of the columns. delimiter: None finds it in the header.
      flags: the flag that names each key; () if the file is a dataset's own.
    Raises: DataError naming the column that is missing and those in the header.
    """
    with files.open_lines(path) as lines:
        head = re.split("[\r\n]",
                        lines.readline(100000).decode("utf-8", "replace").lstrip("\ufeff"))[0]
    delimiter = delimiter or max("\t,;", key=head.count)
    rows = list(csv.reader([head.replace("\0", "\ufffd")], delimiter=delimiter)) or [[]]
    names = [name.strip() for name in rows[0]]
    # RecBole writes the type after each name.
    if names and all(re.search(r":(token|token_seq|float|float_seq)\Z", name) for name in names):
        names = [name.rpartition(":")[0] for name in names]
    for key, flag in itertools.zip_longest(keys, flags):
        if names.count(key) == 1:
            continue
        problem = "is there more than once" if key in names else "is missing"
        remedy = "check that this is the dataset's file"
        if flag:
            remedy = "name the column by %s" % flag
        raise data_error(path, "column %s %s; the header has %s; %s" % (
            short(key), problem, ", ".join(map(short, names[:12])) or "no name", remedy), 1)
    return _Places([names.index(key) for key in keys], len(names), delimiter)


class Keys(NamedTuple):
    """Column names of a log; `event` may be None.

    session_flag: the flag that names the column of the session, for errors.
    """

    session: str
    item: str
    time: str
    event: Optional[str]
    session_flag: str = "--session_key"


def any_log(engine, keys):
    """Reader (datasets.Dataset.reader) of text with a header and of parquet, columns by name.

    RecBole's header, which has the types in it, is understood.
    """
    wanted = {keys.session: keys.session_flag, keys.item: "--item_key", keys.time: "--time_key"}
    if keys.event:
        wanted[keys.event] = "--event_key"
    if len(wanted) < 3 + bool(keys.event):
        raise ConfigError("the columns of session, item, time and event must differ, not %s"
                          % ", ".join(map(repr, filter(None, keys[:4]))))

    def make(path, gzipped):
        with files.open_lines(path) as file:
            is_parquet = file.read(4) == b"PAR1"
        if is_parquet:
            return _parquet(engine, path, list(wanted), keys)
        places = _header_places(path, list(wanted), flags=list(wanted.values()))
        columns = ["c%d" % place for place in places.found]
        return Source(_csv(places.width, gzipped, places.delimiter, '"'), text(columns[0]),
                      text(columns[1]), columns[2], columns[3] if keys.event else None, skip=1,
                      delimiter=places.delimiter, guess_time=True)
    return make


def _parquet(engine, path, wanted, keys):
    """Source of a parquet file. wanted: names of its columns: session, item, time, kind of event.
    """
    described = engine.run("DESCRIBE SELECT * FROM read_parquet(?)", path)
    kinds = {row[0]: row[1] for row in described}
    for name in wanted:
        if name not in kinds:
            raise data_error(path, "column %s is missing; there are %s; name columns with "
                             "--session_key --item_key --time_key"
                             % (short(name), ", ".join(map(short, list(kinds)[:12]))))
    columns = ['"%s"' % name.replace('"', '""') for name in wanted]
    ids = [_parquet_id(column, kinds[name]) for column, name in zip(columns[:2], wanted)]
    kind, time = kinds[keys.time], columns[2]
    is_moment = kind.startswith("TIMESTAMP") or kind == "DATE"
    if is_moment and not kind.endswith("ZONE"):
        # A column with a zone is not cast: that would give the local time of this machine.
        time += "::TIMESTAMP"
    time = "epoch_us(%s)" % time if is_moment else time + "::VARCHAR"
    return Source("read_parquet(?)", ids[0], ids[1], time, columns[3] if keys.event else None,
                  guess_time=not is_moment)


def _parquet_id(column, kind):
    """SQL of an id: BIGINT if the column holds whole numbers, else text."""
    if kind in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"):
        return column + "::BIGINT"
    if kind in ("FLOAT", "DOUBLE"):  # NaN is not an id
        column = "CASE WHEN isfinite({0}) THEN {0} END".format(column)
    return text("(%s)::VARCHAR" % column)

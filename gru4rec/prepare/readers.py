"""Raw formats -> the table `raw`: one row per event of the files, in file order.

    session, item  BIGINT, or VARCHAR where an id is no whole number; NULL where missing
    time           BIGINT microseconds; NULL where it cannot be read
    selected       BOOLEAN: whether the kind of event is one to keep

A selected row with a NULL is a bad row. Bad rows are counted, the first five are shown, and too
many stop the run.
"""

import itertools
import logging
import os
import re

from gru4rec.data.reading.columns import data_error, short
from gru4rec.prepare import files
from gru4rec.prepare.engine import NotUtf8, QueryError
from gru4rec.prepare.formats import MAX_REJECTS, integer, iso, number, quoted

_LOG = logging.getLogger(__name__)
MAX_BAD_SHARE = 0.01
# Conditions on rows of `raw`.
GOOD = "selected AND session IS NOT NULL AND item IS NOT NULL AND time IS NOT NULL"
_BAD = "selected AND (session IS NULL OR item IS NULL OR time IS NULL)"
_SAMPLE = 100000  # first rows of a file, from which the kind and unit of its times are found
# (unit, smallest and largest size of its numbers, factor to microseconds). The largest are those of
# data.reading.loader; a unit begins at a tenth of the largest of the unit before: April 1970.
_UNITS = (("s", 0, 1e11, 1e6), ("ms", 1e10, 1e14, 1e3), ("us", 1e13, 1e17, 1),
          ("ns", 1e16, 1e20, 1e-3))


def load(engine, paths, make_source, event_types, report, every_column=False):
    """Fill `raw` from all files; text ids become BIGINT if all of them are whole numbers.

    Args:
      paths: the raw files, which must agree on the kind and unit of their times.
      make_source: function (path, whether it is gzip) -> formats.Source.
      event_types: tuple of the kinds that are selected; None for all.
      every_column: whether to read columns that are not needed, too; see engine.NotUtf8.
    Raises: DataError, one line.
    """
    for place, path in enumerate(paths):
        safe, gzipped = files.checked(path)
        if any(os.path.samefile(path, other) for other in paths[:place]):
            raise data_error(path, "the file is given twice; give each file once")
        try:
            source = make_source(path, gzipped)
            if every_column:  # by a condition that is always true, which no optimizer can know
                source = source._replace(
                    scan="(SELECT * FROM %s AS t WHERE random() >= 0 OR t IS NULL)" % source.scan)
            if source.guess_time:
                source = _guess_time(engine, path, safe, source, report)
            _load_file(engine, path, safe, source, event_types, report)
        except QueryError as error:
            if isinstance(error, NotUtf8):
                raise
            raise data_error(path, str(error)) from None
    _settle_ids(engine)


def _guess_time(engine, path, safe, source, report):
    """Source whose `time` is an expression, found from the first rows: ISO-8601, or a unit.

    A number that does not have the size of the unit becomes NULL, so that its row is a bad one.
    Args: safe: the absolute path that DuckDB is given; `path` is for messages.
    """
    # The ids are counted so that DuckDB reads the columns that _load_file reads.
    numbers, dates, median, *_ = engine.one(
        "SELECT count(a), count(b), median(abs(a)), count(s), count(i) FROM "
        "(SELECT %s AS a, %s AS b, %s AS s, %s AS i FROM (SELECT * FROM %s LIMIT %d))"
        % (number(source.time), iso(source.time), source.session, source.item,
           source.rows.replace("{scan}", source.scan), _SAMPLE), safe)
    _malformed(engine)
    if numbers <= dates:
        kind, time, words = "iso-8601", iso(source.time), "ISO-8601"
    else:
        kind, low, high, factor = next(row for row in _UNITS if median < row[2] or row[0] == "ns")
        time = ("CASE WHEN abs({0}) >= {1!r} AND abs({0}) < {2!r} "
                "THEN round({0} * {3!r})::BIGINT END"
                .format(number(source.time), low, high, factor))
        words = "numbers in %s, because the median size is %.4g" % (kind, median)
    if report.time_unit not in (None, kind):
        raise data_error(path, "its times are taken as %s, those of the files before it as %s; "
                         "give files of one kind" % (kind, report.time_unit))
    if report.time_unit is None:
        _LOG.info("times are taken as %s", words)
    report.time_unit = kind
    return source._replace(time=time)


def _load_file(engine, path, safe, source, event_types, report):
    """Append the rows of one file to `raw`; report its rows and its bad rows."""
    wanted = "true"
    if event_types and source.event:
        wanted = "coalesce(%s IN (%s), %s)" % (source.event, ", ".join(map(quoted, event_types)),
                                               str(source.event_needed).lower())
    columns = "%s AS session, %s AS item, %s AS time, %s AS selected" % (
        source.session, source.item, source.time, wanted)
    query = "SELECT " + columns + " FROM " + source.rows.replace("{scan}", source.scan)
    before = engine.one("SELECT count(*) FROM raw")[0] if report.files else 0
    engine.run(("INSERT INTO raw " if report.files else "CREATE TABLE raw AS ") + query, safe)
    malformed = _malformed(engine)
    rows, bad = engine.one("SELECT count(*), count(*) FILTER (%s) FROM raw WHERE rowid >= ?" % _BAD,
                           before)
    rows, bad = rows + len(malformed), bad + len(malformed)
    report.add_file(os.path.basename(path), rows, bad)
    if not rows:
        raise data_error(path, "there is no event in it; give a file with events")
    if not bad:
        return
    if source.scan.startswith("read_parquet"):
        unit = "row"
        shown = engine.run("SELECT rowid - ? + 1, {'session': session, 'item': item, "
                           "'time': time}::VARCHAR FROM raw WHERE rowid >= ? AND %s "
                           "ORDER BY rowid LIMIT 5" % _BAD, before, before)
    else:
        unit, records = "line", []
        if bad > len(malformed):
            records = _bad_records(engine, safe, source, columns)
        shown = _first_bad(path, source, records, malformed)
    for line, text in shown:
        _LOG.warning("%s: %s %d does not parse: %s", path, unit, line, short(text))
    if bad > MAX_BAD_SHARE * rows or len(malformed) >= MAX_REJECTS:
        line, text = shown[0] if shown else (None, "")
        raise data_error(path, "%d of %d rows (%.1f %%) do not parse, first %s; at most 1 %% is "
                         "allowed; correct the file, or check that it is the one this dataset needs"
                         % (bad, rows, 100.0 * bad / rows, short(text)), line, unit=unit)


def _bad_records(engine, safe, source, columns):
    """Numbers, from 1, of the first five bad records of a text; malformed ones are not counted."""
    scan = "(SELECT *, row_number() OVER () AS n FROM %s)" % source.scan
    numbers = engine.run("SELECT DISTINCT n FROM (SELECT n, %s FROM %s) WHERE %s ORDER BY n LIMIT 5"
                         % (columns, source.rows.replace("{scan}", scan), _BAD), safe)
    _malformed(engine)
    return [row[0] for row in numbers]


def _malformed(engine):
    """dict of row -> number of its lines, of the malformed rows that the last scan left out.

    A row is a line (a blank line and the header too), or several lines if a newline is in quotes.
    """
    try:
        rejected = engine.run(
            "SELECT line, max(len(t) - len(replace(t, chr(10), ''))) FROM "
            "(SELECT line, trim(csv_line, chr(13) || chr(10)) AS t FROM reject_errors) "
            "GROUP BY line ORDER BY line")
    except QueryError as error:
        if "does not exist" not in str(error):
            raise
        return {}  # the scan stores no malformed rows, or there were none
    engine.run("DROP TABLE reject_errors")
    engine.run("DROP TABLE reject_scans")
    return {row: 1 + (newlines or 0) for row, newlines in rejected}


def _first_bad(path, source, records, malformed):
    """list of (line number, text) of the first five bad rows of a text file.

    Args:
      records: numbers, from 1, of bad records. A record is a row that is not blank, not malformed
        and not the header.
      malformed: as from `_malformed`.
    """
    wanted, unseen = set(records), set(sorted(malformed)[:5])
    unclosed = re.compile(b'(?:^|%s)"(?:[^"]|"")*\\Z' % re.escape(source.delimiter.encode()))
    row, record, out = 0, 0, []
    with files.open_lines(path) as lines:
        lines = enumerate(lines, 1)
        for line, text in lines:
            row += 1
            if row in malformed:
                text += b"".join(part for _, part in itertools.islice(lines, malformed[row] - 1))
                shown = row in unseen
            else:
                # A field in quotes goes on in the next line.
                while source.delimiter and b'"' in text and unclosed.search(text):
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
    """Turn a column of text ids into BIGINT if every id of a good row is a whole number."""
    kinds = engine.one("SELECT typeof(session), typeof(item) FROM raw LIMIT 1")
    for column, kind in zip(("session", "item"), kinds):
        if kind == "VARCHAR" and not engine.one("SELECT count(*) FROM raw WHERE %s AND %s IS NULL"
                                                % (GOOD, integer(column)))[0]:
            engine.run("ALTER TABLE raw ALTER %s TYPE BIGINT USING try_cast(%s AS BIGINT)"
                       % (column, column))

"""The preparation of arXiv 2307.14956, in SQL on the table `raw` (see readers)."""

from typing import NamedTuple, Optional

from gru4rec.errors import DataError
from gru4rec.prepare.formats import sort_key
from gru4rec.prepare.output import DAY, Output, last_time, read_counts


class Options(NamedTuple):
    """Options of `study`."""

    gap: Optional[float] = None       # seconds; None: the log has sessions
    drop_repeats: bool = True
    min_support: int = 5              # events of an item
    min_length: int = 2               # events of a session
    max_length: Optional[int] = None  # events of a session; None: no limit
    split: str = "days"               # "days" | "ratio" | "none"
    days: float = 1.0                 # length of the test period
    ratio: float = 0.1                # share of the sessions that are test


def study(engine, report, directory, prefix, options, num_partitions=None):
    """Filter and split the events, and write the files whose names begin with `prefix`.

    1. A pause of more than `gap` seconds begins a session (where `gap` is given).
    2. Events are sorted by session, time and item.
    3. An event whose item is that of the event before it is dropped.
    4. Sessions longer than max_length are dropped.
    5. {Drop sessions shorter than min_length; drop items of fewer than min_support events} is
       repeated until nothing changes.
    6. Test: sessions that begin at or after the split. Train: events before the split, of these the
       sessions of at least min_length. Test keeps items that train does not know.
    7. Validation is split off train in the same way, one test period earlier.

    Files: _train_full.txt, _test.txt, _train_tr.txt, _train_valid.txt; without a split _full.txt.
    Source: arXiv 2307.14956, section 4 and the published preprocessing. Differs: Time is in
    seconds, not milliseconds.
    """
    read_counts(engine, report)
    _sessions(engine, report, options)
    _filter(engine, report, options)
    session, item = (sort_key(engine, "SELECT * FROM events", column)
                     for column in ("session", "item"))
    output = Output(engine, report, directory, "%s, time, %s" % (session, item), num_partitions)
    last = last_time(engine, "events", "after the filters")
    if options.split == "none":
        output.write(prefix + "_full.txt", "SELECT * FROM events")
        return
    cut, earlier = _cuts(engine, options, last)
    report.notes.append("split at %r, validation at %r (seconds)" % (cut / 1e6, earlier / 1e6))
    _keep(engine, report, "train_full", "events", "time < %d" % cut, prefix, options.min_length)
    output.write(prefix + "_train_full.txt", "SELECT * FROM train_full")
    output.write(prefix + "_test.txt", _started("events", cut))
    _keep(engine, report, "train_tr", "train_full", "time < %d" % earlier, prefix,
          options.min_length)
    output.write(prefix + "_train_tr.txt", "SELECT * FROM train_tr")
    output.write(prefix + "_train_valid.txt", _started("train_full", earlier))


def _filter(engine, report, options):
    """Drop sessions that are too long or too short, and rare items, until nothing changes."""
    if options.max_length is not None:
        _drop(engine, report, "session", "> %d" % options.max_length,
              "sessions of more than %d events" % options.max_length)
    step, removed = 0, True
    while removed:
        step += 1
        removed = _drop(engine, report, "session", "< %d" % options.min_length,
                        "round %d: sessions of fewer than %d events" % (step, options.min_length))
        removed += _drop(engine, report, "item", "< %d" % options.min_support,
                         "round %d: items of fewer than %d events" % (step, options.min_support))


def _cuts(engine, options, last):
    """(start of the test, start of the validation) in microseconds; last: time of the last event.

    Makes the table `starts` of the sessions and their first times.
    """
    engine.run("CREATE TABLE starts AS "
               "SELECT session, min(time) AS start FROM events GROUP BY session")
    if options.split == "days":
        return last - int(options.days * DAY), last - int(2 * options.days * DAY)
    cut = _ratio_cut(engine, options.ratio, last + 1)
    return cut, _ratio_cut(engine, options.ratio, cut)


def _sessions(engine, report, options):
    """good -> events (session, item, time): sessions cut at gaps if asked, repeats dropped."""
    by_session = "OVER (PARTITION BY session ORDER BY time, item)"
    if options.gap is not None:
        _cut_at_gaps(engine, report, options, by_session)
    else:
        query = "CREATE TABLE events AS SELECT session, item, time FROM good"
        if options.drop_repeats:
            query += " QUALIFY lag(item) %s IS DISTINCT FROM item" % by_session
        engine.run(query)
    engine.run("DROP VIEW good")
    engine.run("DROP TABLE raw")
    if options.drop_repeats:
        left = engine.one("SELECT count(*) FROM events")[0]
        report.add_step("an item again at once", report.read["events"] - left, 0, 0)


def _cut_at_gaps(engine, report, options, by_session):
    """good, whose sessions are users -> events; sessions are numbered by user, then by time."""
    engine.run("CREATE TABLE gaps AS SELECT *, lag(item) {0} IS NOT DISTINCT FROM item AS again, "
               "coalesce(time - lag(time) {0} > {1}, false) AS opens FROM good"
               .format(by_session, int(options.gap * 1e6)))
    engine.run("CREATE TABLE users AS SELECT session, (sum(count(*) FILTER (opens) + 1) OVER "
               "(ORDER BY session ROWS UNBOUNDED PRECEDING) - count(*) FILTER (opens))::BIGINT "
               "AS first_number FROM gaps GROUP BY session")
    kept = " WHERE opens OR NOT again" if options.drop_repeats else ""
    engine.run("CREATE TABLE events AS SELECT first_number + number AS session, item, time "
               "FROM (SELECT *, (count(*) FILTER (opens) OVER (PARTITION BY session "
               "ORDER BY time, item ROWS UNBOUNDED PRECEDING))::BIGINT AS number FROM gaps) "
               "JOIN users USING (session)" + kept)
    sessions = engine.one("SELECT count(*) FILTER (opens) + count(DISTINCT session) FROM gaps")[0]
    report.notes.append("sessions by gaps of more than %g s: %d" % (options.gap, sessions))
    engine.run("DROP TABLE gaps")
    engine.run("DROP TABLE users")


def _drop(engine, report, column, test, name):
    """Drop the sessions or items whose number of events passes `test`; returns events dropped."""
    engine.run("CREATE OR REPLACE TABLE dropped AS SELECT %s, count(*) AS n FROM events GROUP BY 1 "
               "HAVING count(*) %s" % (column, test))
    groups, events = engine.one("SELECT count(*), coalesce(sum(n), 0)::BIGINT FROM dropped")
    if groups:
        engine.run("DELETE FROM events WHERE {0} IN (SELECT {0} FROM dropped)".format(column))
    sizes = (groups, None) if column == "session" else (None, groups)
    report.add_step(name, events, *sizes)
    return events


def _ratio_cut(engine, ratio, before):
    """Time at which the newest `ratio` of the sessions begins, of those that start before `before`.
    """
    count = engine.one("SELECT count(*) FROM starts WHERE start < ?", before)[0]
    newest = max(1, int(round(count * ratio)))
    starts = engine.run("SELECT start FROM starts WHERE start < ? ORDER BY start OFFSET ? LIMIT 1",
                        before, max(0, count - newest))
    if not starts:
        raise DataError("no session is left to split by --ratio; the log is too small")
    return starts[0][0]


def _keep(engine, report, table, source, condition, prefix, min_length):
    """CREATE `table`: events of `source` that pass `condition`, without sessions now too short."""
    engine.run("CREATE TABLE %s AS SELECT * FROM %s WHERE %s" % (table, source, condition))
    engine.run("CREATE OR REPLACE TABLE dropped AS SELECT session, count(*) AS n FROM %s GROUP BY "
               "session HAVING count(*) < %d" % (table, min_length))
    sessions, events = engine.one("SELECT count(*), coalesce(sum(n), 0)::BIGINT FROM dropped")
    if sessions:
        engine.run("DELETE FROM %s WHERE session IN (SELECT session FROM dropped)" % table)
    report.add_step("%s_%s.txt: sessions that the split left shorter than %d"
                    % (prefix, table, min_length), events, sessions, None)


def _started(source, cut):
    """SQL of the events of sessions that start at `cut` or later."""
    return ("SELECT * FROM %s SEMI JOIN (SELECT session FROM starts WHERE start >= %d) USING "
            "(session)" % (source, cut))

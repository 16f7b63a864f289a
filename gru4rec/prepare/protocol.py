"""Filters and splits, in SQL on the table `raw` (see readers).

`first_paper` is the preparation of RSC15 in arXiv 1511.06939, `study` that of the five datasets of arXiv 2307.14956.
Both leave a table `events` and write files whose order of rows is fully determined.
"""

import os
from typing import NamedTuple, Optional

from gru4rec.errors import DataError
from gru4rec.prepare import partitions
from gru4rec.prepare.formats import sort_key
from gru4rec.prepare.readers import GOOD

DAY = 86400 * 10 ** 6  # microseconds


class Options(NamedTuple):
    """Options of `study`."""

    gap: Optional[float] = None  # seconds; None: sessions are as the log has them
    drop_repeats: bool = True
    min_support: int = 5
    min_length: int = 2
    max_length: Optional[int] = None
    split: str = "days"          # "days" | "ratio" | "none"
    days: float = 1.0            # length of the test period
    ratio: float = 0.1           # share of sessions that are test


class Output:
    """Writes the files of one run into `directory`, in the order `order` (SQL), and reports on each.

    num_partitions: None, or of the dataset directory that is written beside each training file.
    """

    def __init__(self, engine, report, directory, order, num_partitions=None):
        self._engine, self._report, self._directory, self._order = engine, report, directory, order
        self._num_partitions = num_partitions

    def write(self, name, query):
        """query: SQL of the rows (session, item, time and what `order` names; no two different rows agree in those)."""
        total = self._engine.one("SELECT count(*), count(DISTINCT item), min(time), max(time) FROM (%s)" % query)
        if not total[0]:
            self._report.notes.append("%s holds no event" % name)
        lengths = self._engine.run("SELECT length, count(*) FROM (SELECT count(*) AS length FROM (%s) GROUP BY session) "
                                   "GROUP BY length" % query)
        sessions = sum(count for _, count in lengths)
        self._report.add_output(name, total[0], sessions, total[1], total[2], total[3], lengths)
        self._engine.run(
            "COPY (SELECT session AS SessionId, item AS ItemId, time / 1e6 AS Time FROM (%s) ORDER BY %s) TO '%s' "
            "(FORMAT csv, HEADER true, DELIMITER '\t')" % (query, self._order,
                                                          os.path.join(self._directory, name).replace("'", "''")))
        parted = partitions.directory_of(name)
        if self._num_partitions and parted:
            written = partitions.write(self._engine, os.path.join(self._directory, parted), query, self._order,
                                       self._num_partitions)
            self._report.notes.append("%s: %d events of %d sessions in %d partitions" % (
                parted, written.events, written.sessions, written.partitions))


def _read_counts(engine, report):
    """Report the selected, parsable events, and the rows of other kinds; DataError if no event is left."""
    engine.run("CREATE VIEW good AS SELECT session, item, time, rowid AS n FROM raw WHERE " + GOOD)
    events, sessions, items = engine.one("SELECT count(*), count(DISTINCT session), count(DISTINCT item) FROM good")
    other = engine.one("SELECT count(*) FROM raw WHERE NOT selected")[0]
    report.add_read(events, sessions, items)
    if other:
        report.add_step("other kinds of event (before the counts read)", other, None, None)
    if not events:
        raise DataError("no event of the kinds asked for is in the log; check --event_types and the file")


def _last_time(engine, source, what):
    """Largest time of a table of events; DataError if it is empty."""
    last = engine.one("SELECT max(time) FROM %s" % source)[0]
    if last is None:
        raise DataError("no event is left %s; the log is too small for these filters" % what)
    return last


# The first paper

MIN_SUPPORT = 5


def first_paper(engine, report, directory, slices=(4, 64), slice_by="targets", num_partitions=None):
    """Write rsc15_train_full.txt, rsc15_test.txt, rsc15_train_tr.txt, rsc15_train_valid.txt and the slices.

    One pass: sessions of one event, items of fewer than five events, sessions of one event. A session is test if its last
    event is not more than 86,400 s before the log's last event; items that train does not know are dropped from test,
    then sessions of one event. The same again inside train. Rows keep the order of the raw file.
    Source: arXiv 1511.06939, section 4.1, and the preprocessing published with it.
    """
    _read_counts(engine, report)
    engine.run("CREATE TABLE long1 AS SELECT session FROM good GROUP BY session HAVING count(*) > 1")
    kept_sessions = engine.one("SELECT count(*) FROM long1")[0]
    engine.run("CREATE TABLE support AS SELECT item, count(*) AS n FROM good SEMI JOIN long1 USING (session) GROUP BY item")
    events, items = engine.one("SELECT coalesce(sum(n), 0)::BIGINT, count(*) FROM support")
    report.add_step("sessions of 1 event", report.read["events"] - events, report.read["sessions"] - kept_sessions,
                    report.read["items"] - items)
    rare, rare_items = engine.one("SELECT coalesce(sum(n), 0)::BIGINT, count(*) FROM support WHERE n < ?", MIN_SUPPORT)
    engine.run("DELETE FROM support WHERE n < ?", MIN_SUPPORT)
    engine.run("CREATE TABLE sizes AS SELECT session, count(*) AS n, max(time) AS last FROM good "
               "SEMI JOIN long1 USING (session) SEMI JOIN support USING (item) GROUP BY session")
    report.add_step("items of fewer than %d events" % MIN_SUPPORT, rare,
                    kept_sessions - engine.one("SELECT count(*) FROM sizes")[0], rare_items)
    engine.run("DROP TABLE long1")
    short = engine.one("SELECT count(*) FROM sizes WHERE n < 2")[0]
    engine.run("CREATE TABLE events AS SELECT good.*, sizes.last FROM good JOIN (SELECT * FROM sizes WHERE n > 1) AS sizes "
               "USING (session) SEMI JOIN support USING (item)")
    left = engine.one("SELECT count(DISTINCT item) FROM events")[0]
    report.add_step("sessions of 1 event that this left", short, short,
                    engine.one("SELECT count(*) FROM support")[0] - left)
    engine.run("DROP TABLE support")

    output = Output(engine, report, directory, "n", num_partitions)
    cut = _last_time(engine, "events", "after the filters") - DAY
    _paper_split(engine, report, output, "true", cut, "rsc15_train_full.txt", "rsc15_test.txt")
    train = "last < %d" % cut
    cut_valid = _last_time(engine, "(SELECT time FROM events WHERE %s)" % train, "in train") - DAY
    _paper_split(engine, report, output, train, cut_valid, "rsc15_train_tr.txt", "rsc15_train_valid.txt")
    if slices:
        _slices(engine, output, cut, slices, slice_by)


def _paper_split(engine, report, output, source, cut, train_name, test_name):
    train, test = "%s AND last < %d" % (source, cut), "%s AND last >= %d" % (source, cut)
    engine.run("CREATE OR REPLACE TABLE known AS SELECT DISTINCT item FROM events WHERE " + train)
    before = engine.one("SELECT count(*), count(DISTINCT session) FROM events WHERE " + test)
    engine.run("CREATE OR REPLACE TABLE test AS SELECT * FROM events SEMI JOIN known USING (item) WHERE " + test)
    known = engine.one("SELECT count(*), count(DISTINCT session) FROM test")
    engine.run("DELETE FROM test WHERE session IN (SELECT session FROM test GROUP BY session HAVING count(*) < 2)")
    after = engine.one("SELECT count(*), count(DISTINCT session) FROM test")
    report.add_step("%s: items unknown to %s" % (test_name, train_name), before[0] - known[0], before[1] - known[1], None)
    report.add_step("%s: sessions of 1 event that this left" % test_name, known[0] - after[0], known[1] - after[1], None)
    output.write(train_name, "SELECT * FROM events WHERE " + train)
    output.write(test_name, "SELECT * FROM test")


def _slices(engine, output, cut, slices, slice_by):
    """The newest part of train: sessions in the order of their last event, a tie by session id.

    By "targets" a slice of 1/k has exactly floor(targets / k) of them, as the slices of the literature have (1/64 of RSC15:
    369,859 of 23,670,982); the oldest session gives its first events only. By "sessions" it is floor(sessions / k) of them.
    """
    size = "n - 1" if slice_by == "targets" else "1"
    engine.run("CREATE TABLE newest AS SELECT session, n, (sum({0}) OVER (ORDER BY last DESC, session DESC "
               "ROWS UNBOUNDED PRECEDING) - ({0}))::BIGINT AS before FROM sizes WHERE n > 1 AND last < {1}".format(size, cut))
    total = engine.one("SELECT coalesce(sum(%s), 0)::BIGINT FROM newest" % size)[0]
    for part in slices:
        wanted = total // part
        chosen = "(SELECT session FROM newest WHERE before < %d)" % wanted
        query = "SELECT events.* FROM events SEMI JOIN %s USING (session)" % chosen
        cut_off = engine.run("SELECT session, ? - before FROM newest WHERE before < ? AND before + n - 1 > ?",
                             wanted, wanted, wanted) if slice_by == "targets" else []
        for session, targets in cut_off:  # one at most
            late = engine.run("SELECT n FROM events WHERE session = ? ORDER BY time, n OFFSET ?", session, targets + 1)
            query += " WHERE n NOT IN (%s)" % ", ".join(str(row[0]) for row in late)
        output.write("rsc15_train_full_%d.txt" % part, query)


# The reproducibility study

def study(engine, report, directory, prefix, options, num_partitions=None):
    """Write <prefix>_train_full.txt, _test.txt, _train_tr.txt and _train_valid.txt; without a split <prefix>_full.txt.

    Sessions by gaps (more than `gap` seconds) where asked; events in the order session, time, item; a repeat of the same
    item at once is dropped; sessions longer than max_length are dropped; then {drop sessions shorter than min_length, drop
    items of fewer than min_support events} until nothing changes. Test: sessions that begin at or after the split; train:
    events before the split, then sessions of at least min_length. Test keeps items that train does not know. Validation
    is split off train one test period before the split.
    Source: arXiv 2307.14956, section 4 and the published preprocessing. Differs: Time is in seconds, not milliseconds.
    """
    _read_counts(engine, report)
    _sessions(engine, report, options)
    if options.max_length is not None:
        _drop(engine, report, "session", "> %d" % options.max_length, "sessions of more than %d events" % options.max_length)
    step, removed = 0, True
    while removed:
        step += 1
        removed = _drop(engine, report, "session", "< %d" % options.min_length,
                        "round %d: sessions of fewer than %d events" % (step, options.min_length))
        removed += _drop(engine, report, "item", "< %d" % options.min_support,
                         "round %d: items of fewer than %d events" % (step, options.min_support))
    session, item = (sort_key(engine, "SELECT * FROM events", column) for column in ("session", "item"))
    output = Output(engine, report, directory, "%s, time, %s" % (session, item), num_partitions)
    last = _last_time(engine, "events", "after the filters")
    if options.split == "none":
        output.write(prefix + "_full.txt", "SELECT * FROM events")
        return
    engine.run("CREATE TABLE starts AS SELECT session, min(time) AS start FROM events GROUP BY session")
    cut = last - int(options.days * DAY) if options.split == "days" else _ratio_cut(engine, options.ratio, last + 1)
    earlier = last - int(2 * options.days * DAY) if options.split == "days" else _ratio_cut(engine, options.ratio, cut)
    report.notes.append("split at %r, validation at %r (seconds)" % (cut / 1e6, earlier / 1e6))
    _keep(engine, report, "train_full", "events", "time < %d" % cut, prefix, options.min_length)
    output.write(prefix + "_train_full.txt", "SELECT * FROM train_full")
    output.write(prefix + "_test.txt", _started("events", cut))
    _keep(engine, report, "train_tr", "train_full", "time < %d" % earlier, prefix, options.min_length)
    output.write(prefix + "_train_tr.txt", "SELECT * FROM train_tr")
    output.write(prefix + "_train_valid.txt", _started("train_full", earlier))


def _sessions(engine, report, options):
    """good -> events (session, item, time): sessions numbered by gaps if asked, repeats dropped."""
    user = "OVER (PARTITION BY session ORDER BY time, item)"
    if options.gap is None and not options.drop_repeats:
        engine.run("CREATE TABLE events AS SELECT session, item, time FROM good")
    elif options.gap is None:
        engine.run("CREATE TABLE events AS SELECT session, item, time FROM good QUALIFY lag(item) %s IS DISTINCT FROM item"
                   % user)
    else:
        engine.run("CREATE TABLE gaps AS SELECT *, lag(item) {0} IS NOT DISTINCT FROM item AS again, "
                   "coalesce(time - lag(time) {0} > {1}, false) AS opens FROM good"
                   .format(user, int(options.gap * 1e6)))
        engine.run("CREATE TABLE users AS SELECT session, (sum(count(*) FILTER (opens) + 1) OVER (ORDER BY session ROWS "
                   "UNBOUNDED PRECEDING) - count(*) FILTER (opens))::BIGINT AS first_number FROM gaps GROUP BY session")
        engine.run("CREATE TABLE events AS SELECT first_number + number AS session, item, time FROM (SELECT *, "
                   "(count(*) FILTER (opens) OVER (PARTITION BY session ORDER BY time, item ROWS UNBOUNDED PRECEDING))"
                   "::BIGINT AS number FROM gaps) JOIN users USING (session)%s"
                   % (" WHERE opens OR NOT again" if options.drop_repeats else ""))
        report.notes.append("sessions by gaps of more than %g s: %d" % (
            options.gap, engine.one("SELECT count(*) FILTER (opens) + count(DISTINCT session) FROM gaps")[0]))
        engine.run("DROP TABLE gaps")
        engine.run("DROP TABLE users")
    engine.run("DROP VIEW good")
    engine.run("DROP TABLE raw")
    if options.drop_repeats:
        left = engine.one("SELECT count(*) FROM events")[0]
        report.add_step("an item again at once", report.read["events"] - left, 0, 0)


def _drop(engine, report, column, test, name):
    """Drop the sessions or items whose number of events passes `test`; the number of events dropped."""
    engine.run("CREATE OR REPLACE TABLE dropped AS SELECT %s, count(*) AS n FROM events GROUP BY 1 HAVING count(*) %s"
               % (column, test))
    groups, events = engine.one("SELECT count(*), coalesce(sum(n), 0)::BIGINT FROM dropped")
    if groups:
        engine.run("DELETE FROM events WHERE {0} IN (SELECT {0} FROM dropped)".format(column))
    sizes = (groups, None) if column == "session" else (None, groups)
    report.add_step(name, events, *sizes)
    return events


def _ratio_cut(engine, ratio, before):
    """Start of the session from which on the newest `ratio` of the sessions begins, among those that start earlier."""
    count = engine.one("SELECT count(*) FROM starts WHERE start < ?", before)[0]
    newest = max(1, int(round(count * ratio)))
    found = engine.run("SELECT start FROM starts WHERE start < ? ORDER BY start OFFSET ? LIMIT 1", before,
                       max(0, count - newest))
    if not found:
        raise DataError("no session is left to split by --ratio; the log is too small")
    return found[0][0]


def _keep(engine, report, table, source, condition, prefix, min_length):
    """CREATE `table` of the events of `source` that pass, without the sessions that became too short."""
    engine.run("CREATE TABLE %s AS SELECT * FROM %s WHERE %s" % (table, source, condition))
    engine.run("CREATE OR REPLACE TABLE dropped AS SELECT session, count(*) AS n FROM %s GROUP BY session "
               "HAVING count(*) < %d" % (table, min_length))
    sessions, events = engine.one("SELECT count(*), coalesce(sum(n), 0)::BIGINT FROM dropped")
    if sessions:
        engine.run("DELETE FROM %s WHERE session IN (SELECT session FROM dropped)" % table)
    report.add_step("%s_%s.txt: sessions that the split left shorter than %d" % (prefix, table, min_length),
                    events, sessions, None)


def _started(source, cut):
    return "SELECT * FROM %s SEMI JOIN (SELECT session FROM starts WHERE start >= %d) USING (session)" % (source, cut)

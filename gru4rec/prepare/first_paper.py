"""The preparation of RSC15 in arXiv 1511.06939, in SQL on the table `raw` (see readers)."""

from gru4rec.prepare.output import DAY, Output, last_time, read_counts

MIN_SUPPORT = 5


def first_paper(engine, report, directory, slices=(4, 64), slice_by="targets", num_partitions=None):
    """Filter and split the events, and write the files of RSC15.

    1. Drop sessions of one event, then items of fewer than five events, then sessions of one event.
    2. A session is test if its last event is not more than 86,400 s before the last event of all.
    3. Items that train does not know are dropped from test, then sessions of one event.
    4. Validation is split off train in the same way.

    Rows keep the order of the raw file. Files: rsc15_train_full.txt, rsc15_test.txt,
    rsc15_train_tr.txt, rsc15_train_valid.txt and the slices.
    Source: arXiv 1511.06939, section 4.1, and the preprocessing published with it.
    """
    _filter(engine, report)
    output = Output(engine, report, directory, "n", num_partitions)
    cut = last_time(engine, "events", "after the filters") - DAY
    _split(engine, report, output, "true", cut, "rsc15_train_full.txt", "rsc15_test.txt")
    train = "last < %d" % cut
    cut_valid = last_time(engine, "(SELECT time FROM events WHERE %s)" % train, "in train") - DAY
    _split(engine, report, output, train, cut_valid, "rsc15_train_tr.txt", "rsc15_train_valid.txt")
    if slices:
        _slices(engine, output, cut, slices, slice_by)


def _filter(engine, report):
    """raw -> the tables sizes (session, n, last) and events (session, item, time, n, last)."""
    read_counts(engine, report)
    engine.run("CREATE TABLE long1 AS "
               "SELECT session FROM good GROUP BY session HAVING count(*) > 1")
    kept_sessions = engine.one("SELECT count(*) FROM long1")[0]
    engine.run("CREATE TABLE support AS SELECT item, count(*) AS n FROM good "
               "SEMI JOIN long1 USING (session) GROUP BY item")
    events, items = engine.one("SELECT coalesce(sum(n), 0)::BIGINT, count(*) FROM support")
    report.add_step("sessions of 1 event", report.read["events"] - events,
                    report.read["sessions"] - kept_sessions, report.read["items"] - items)
    rare, rare_items = engine.one(
        "SELECT coalesce(sum(n), 0)::BIGINT, count(*) FROM support WHERE n < ?", MIN_SUPPORT)
    engine.run("DELETE FROM support WHERE n < ?", MIN_SUPPORT)
    engine.run("CREATE TABLE sizes AS SELECT session, count(*) AS n, max(time) AS last FROM good "
               "SEMI JOIN long1 USING (session) SEMI JOIN support USING (item) GROUP BY session")
    report.add_step("items of fewer than %d events" % MIN_SUPPORT, rare,
                    kept_sessions - engine.one("SELECT count(*) FROM sizes")[0], rare_items)
    engine.run("DROP TABLE long1")
    short = engine.one("SELECT count(*) FROM sizes WHERE n < 2")[0]
    engine.run("CREATE TABLE events AS SELECT good.*, sizes.last FROM good JOIN "
               "(SELECT * FROM sizes WHERE n > 1) AS sizes USING (session) "
               "SEMI JOIN support USING (item)")
    left = engine.one("SELECT count(DISTINCT item) FROM events")[0]
    report.add_step("sessions of 1 event that this left", short, short,
                    engine.one("SELECT count(*) FROM support")[0] - left)
    engine.run("DROP TABLE support")


def _split(engine, report, output, source, cut, train_name, test_name):
    """Write train and test of the sessions that pass `source` (SQL), split at `cut`."""
    train, test = "%s AND last < %d" % (source, cut), "%s AND last >= %d" % (source, cut)
    engine.run("CREATE OR REPLACE TABLE known AS SELECT DISTINCT item FROM events WHERE " + train)
    before = engine.one("SELECT count(*), count(DISTINCT session) FROM events WHERE " + test)
    engine.run("CREATE OR REPLACE TABLE test AS SELECT * FROM events SEMI JOIN known USING (item) "
               "WHERE " + test)
    known = engine.one("SELECT count(*), count(DISTINCT session) FROM test")
    engine.run("DELETE FROM test WHERE session IN (SELECT session FROM test GROUP BY session "
               "HAVING count(*) < 2)")
    after = engine.one("SELECT count(*), count(DISTINCT session) FROM test")
    report.add_step("%s: items unknown to %s" % (test_name, train_name), before[0] - known[0],
                    before[1] - known[1], None)
    report.add_step("%s: sessions of 1 event that this left" % test_name, known[0] - after[0],
                    known[1] - after[1], None)
    output.write(train_name, "SELECT * FROM events WHERE " + train)
    output.write(test_name, "SELECT * FROM test")


def _slices(engine, output, cut, slices, slice_by):
    """Write the newest parts of train: sessions ordered by their last event, then by id.

    By "targets", a slice of 1/k has exactly floor(targets / k) targets, as the slices of the
    literature have (1/64 of RSC15: 369,859 of 23,670,982); of its oldest session only the first
    events are taken. By "sessions", it has floor(sessions / k) sessions.
    """
    size = "n - 1" if slice_by == "targets" else "1"
    engine.run("CREATE TABLE newest AS SELECT session, n, (sum({0}) OVER "
               "(ORDER BY last DESC, session DESC ROWS UNBOUNDED PRECEDING) - ({0}))::BIGINT "
               "AS before FROM sizes WHERE n > 1 AND last < {1}".format(size, cut))
    total = engine.one("SELECT coalesce(sum(%s), 0)::BIGINT FROM newest" % size)[0]
    for part in slices:
        wanted = total // part
        chosen = "(SELECT session FROM newest WHERE before < %d)" % wanted
        query = "SELECT events.* FROM events SEMI JOIN %s USING (session)" % chosen
        shortened = []  # the session whose first events alone are taken, if there is one
        if slice_by == "targets":
            shortened = engine.run("SELECT session, ? - before FROM newest "
                                   "WHERE before < ? AND before + n - 1 > ?",
                                   wanted, wanted, wanted)
        for session, targets in shortened:
            late = engine.run("SELECT n FROM events WHERE session = ? ORDER BY time, n OFFSET ?",
                              session, targets + 1)
            query += " WHERE n NOT IN (%s)" % ", ".join(str(row[0]) for row in late)
        output.write("rsc15_train_full_%d.txt" % part, query)

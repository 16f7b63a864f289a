"""What both protocols share: the counts they report, and the files they write."""

import os

from gru4rec.errors import DataError
from gru4rec.prepare import partitions
from gru4rec.prepare.formats import quoted
from gru4rec.prepare.readers import GOOD

DAY = 86400 * 10 ** 6  # microseconds


class Output:
    """Writes the files of one run and reports on each.

    Args:
      directory: where the files are written.
      order: SQL, order of the rows, in which no two different rows are equal.
      num_partitions: parts of the dataset directory beside each training file; None for none.
    """

    def __init__(self, engine, report, directory, order, num_partitions=None):
        self._engine, self._report, self._directory, self._order = engine, report, directory, order
        self._num_partitions = num_partitions

    def write(self, name, query):
        """Write one file. query: SQL of its rows: session, item, time and what `order` names."""
        events, items, first, last = self._engine.one(
            "SELECT count(*), count(DISTINCT item), min(time), max(time) FROM (%s)" % query)
        if not events:
            self._report.notes.append("%s holds no event" % name)
        lengths = self._engine.run(
            "SELECT length, count(*) FROM "
            "(SELECT count(*) AS length FROM (%s) GROUP BY session) GROUP BY length" % query)
        sessions = sum(count for _, count in lengths)
        self._report.add_output(name, events, sessions, items, first, last, lengths)
        self._engine.run(
            "COPY (SELECT session AS SessionId, item AS ItemId, time / 1e6 AS Time FROM (%s) "
            "ORDER BY %s) TO %s (FORMAT csv, HEADER true, DELIMITER '\t')"
            % (query, self._order, quoted(os.path.join(self._directory, name))))
        parted = partitions.directory_of(name)
        if self._num_partitions and parted:
            written = partitions.write(self._engine, os.path.join(self._directory, parted), query,
                                       self._order, self._num_partitions)
            self._report.notes.append("%s: %d events of %d sessions in %d partitions" % (
                parted, written.events, written.sessions, written.partitions))


def read_counts(engine, report):
    """Make the view `good` of the usable events and report their counts.

    Rows of other kinds of event are counted too.
    Raises: DataError if there is no usable event.
    """
    engine.run("CREATE VIEW good AS SELECT session, item, time, rowid AS n FROM raw WHERE " + GOOD)
    events, sessions, items = engine.one(
        "SELECT count(*), count(DISTINCT session), count(DISTINCT item) FROM good")
    other = engine.one("SELECT count(*) FROM raw WHERE NOT selected")[0]
    report.add_read(events, sessions, items)
    if other:
        report.add_step("other kinds of event (before the counts read)", other, None, None)
    if not events:
        raise DataError("no event of the kinds asked for is in the log; check --event_types and "
                        "the file")


def last_time(engine, source, what):
    """Largest time of a table of events; DataError if it is empty."""
    last = engine.one("SELECT max(time) FROM %s" % source)[0]
    if last is None:
        raise DataError("no event is left %s; the log is too small for these filters" % what)
    return last

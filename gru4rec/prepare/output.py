"""What both preparations share: the counts they report and the files they write, whose order of
rows is fully determined.
"""

import os

from gru4rec.errors import DataError
from gru4rec.prepare import partitions
from gru4rec.prepare.readers import GOOD

DAY = 86400 * 10 ** 6  # microseconds


class Output:
    """Writes the files of one run into `directory`, in the order `order` (SQL), and reports on
    each.

    num_partitions: None, or of the dataset directory that is written beside each training file.
    """

    def __init__(self, engine, report, directory, order, num_partitions=None):
        self._engine, self._report, self._directory, self._order = engine, report, directory, order
        self._num_partitions = num_partitions

    def write(self, name, query):
        """query: SQL of the rows (session, item, time and what `order` names; no two different rows
        agree in those).
        """
        total = self._engine.one("SELECT count(*), count(DISTINCT item), min(time), max(time) FROM "
                                 "(%s)" % query)
        if not total[0]:
            self._report.notes.append("%s holds no event" % name)
        lengths = self._engine.run("SELECT length, count(*) FROM (SELECT count(*) AS length FROM "
                                   "(%s) GROUP BY session) "
                                   "GROUP BY length" % query)
        sessions = sum(count for _, count in lengths)
        self._report.add_output(name, total[0], sessions, total[1], total[2], total[3], lengths)
        self._engine.run(
            "COPY (SELECT session AS SessionId, item AS ItemId, time / 1e6 AS Time FROM (%s) ORDER "
            "BY %s) TO '%s' "
            "(FORMAT csv, HEADER true, DELIMITER '\t')" % (query, self._order,
                                                          os.path.join(self._directory,
                                                                       name).replace("'", "''")))
        parted = partitions.directory_of(name)
        if self._num_partitions and parted:
            written = partitions.write(self._engine, os.path.join(self._directory, parted), query,
                                       self._order,
                                       self._num_partitions)
            self._report.notes.append("%s: %d events of %d sessions in %d partitions" % (
                parted, written.events, written.sessions, written.partitions))


def read_counts(engine, report):
    """Report the selected, parsable events, and the rows of other kinds; DataError if no event is
    left.
    """
    engine.run("CREATE VIEW good AS SELECT session, item, time, rowid AS n FROM raw WHERE " + GOOD)
    events, sessions, items = engine.one("SELECT count(*), count(DISTINCT session), count(DISTINCT "
                                         "item) FROM good")
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

"""Write a training file also as a dataset directory for several workers (see data.dataset).

One query sorts the events by partition, session and time. Its result is read in batches and written
to one part after the other, so that only a few batches are in memory beside what DuckDB uses. Row
groups have a fixed number of rows, so the bytes do not depend on threads or memory.
"""

import os
import re

import numpy as np

from gru4rec.data import dataset
from gru4rec.data.reading import parquet
from gru4rec.errors import DataError, InputError
from gru4rec.files import durable
from gru4rec.files.hashes import sha256
from gru4rec.prepare.formats import integer, sort_key

COLUMNS = {"session": "SessionId", "item": "ItemId", "time": "Time"}
_ROW_GROUP = 1 << 17
_TRAINING = re.compile(r"(.+_(?:full|train_full|train_full_[0-9]+|train_tr))\.txt\Z")


def directory_of(name):
    """Name of the dataset directory of a training file: "a_full.txt" -> "a_full.parquet".

    None if `name` is not a training file.
    """
    match = _TRAINING.match(name)
    return match.group(1) + ".parquet" if match else None


def check():
    """InputError if pyarrow, which writes the parts, is not installed."""
    try:
        parquet.import_pyarrow("--partitions")
    except DataError as error:
        raise InputError(str(error)) from None


def write(engine, directory, query, order, partitions):
    """Write the dataset of one training file into `directory`, which must not exist.

    Args:
      engine: engine.Engine.
      query: SQL of the rows: session, item, time, and what `order` names.
      order: SQL, order of the rows in the plain file, in which no two different rows are equal.
      partitions: int, at least 1.
    Returns: dataset.Header.
    """
    os.mkdir(directory)
    session, item = (_settled(engine, query, column) for column in ("session", "item"))
    events_read, sessions_read = engine.one("SELECT count(*), count(DISTINCT session) FROM (%s)"
                                            % query)
    engine.run("CREATE TABLE numbered AS "
               "SELECT session, row_number() OVER (ORDER BY {0}) - 1 AS number FROM "
               "(SELECT session FROM ({1}) GROUP BY session HAVING count(*) > 1)"
               .format(sort_key(engine, query, session), query))
    sessions = engine.one("SELECT count(*) FROM numbered")[0]
    try:
        first = "min(row(%s))" % order if "," in order else "min(%s)" % order
        items = _Parts([os.path.join(directory, dataset.ITEMS)], (dataset.ITEM, dataset.SUPPORT))
        items.take(engine, "SELECT {0} AS item, n FROM (SELECT item, count(*) AS n, {1} AS first "
                   "FROM ({2}) GROUP BY item) ORDER BY first".format(item, first, query))
        names = [dataset.part_name(partition) for partition in range(partitions)]
        parts = _Parts([os.path.join(directory, name) for name in names],
                       tuple(COLUMNS.values()) + (dataset.NUMBER,))
        parts.take(engine, "SELECT {session} AS s, {item} AS i, time / 1e6 AS t, number "
                   "FROM ({query}) JOIN numbered USING (session) "
                   "ORDER BY number % {n}, number, time / 1e6, {order}".format(
                       session=session, item=item, query=query, n=partitions, order=order))
    finally:
        engine.run("DROP TABLE numbered")
    header = dataset.Header(
        directory, dict(COLUMNS), sum(parts.rows), sessions, sum(items.rows), events_read,
        sessions_read, sha256(os.path.join(directory, dataset.ITEMS)),
        tuple({"rows": rows, "sessions": len(range(partition, sessions, partitions)),
               "sha256": sha256(os.path.join(directory, name))}
              for partition, (name, rows) in enumerate(zip(names, parts.rows))))
    durable.write_text(os.path.join(directory, dataset.FILE), dataset.dump(header))
    return header


def _settled(engine, query, column):
    """SQL of an id column, of the type that the loader would read from the plain file.

    That is whole numbers if all ids of the column are, else text.
    """
    is_text = engine.run("SELECT typeof(%s) FROM (%s) LIMIT 1" % (column, query)) == [("VARCHAR",)]
    if is_text and not engine.one("SELECT count(*) FROM (%s) WHERE %s IS NULL"
                               % (query, integer(column)))[0]:
        return "(%s)" % integer(column)
    return column


class _Parts:
    """Parquet files that are written one after another; `rows` lists the rows of each.

    Args:
      paths: their paths.
      names: of the columns. The last one is a number: modulo the number of paths, it is the place
        of the file that gets the row.
    """

    def __init__(self, paths, names):
        self._paths, self._names, self.rows = paths, names, [0] * len(paths)
        self._arrow, self._parquet = parquet.import_pyarrow(paths[0])
        self._schema, self._writer, self._waiting = None, None, []

    def take(self, engine, sql):
        """Write the rows of a query that gives them in the order of the files."""
        place = 0
        for frame in engine.batches(sql, _ROW_GROUP):
            table = self._table(frame)
            if self._writer is None:
                self._open(place)
            owner = np.asarray(frame.iloc[:, -1]) % len(self._paths)
            bounds = np.searchsorted(owner, np.arange(place, len(self._paths) + 1))
            for start, stop in zip(bounds, bounds[1:]):
                self._add(place, table.slice(start, stop - start))
                if stop == len(frame):
                    break
                place = self._next(place)
        while place + 1 < len(self._paths):
            place = self._next(place)
        self._close(place)

    def _table(self, frame):
        frame.columns = self._names
        if self._schema is None:
            arrow = self._arrow
            kinds = {"i": arrow.int64(), "f": arrow.float64()}
            self._schema = arrow.schema([(name, kinds.get(frame[name].dtype.kind, arrow.string()))
                                         for name in self._names])
        return self._arrow.Table.from_pandas(frame, self._schema,
                                             preserve_index=False).replace_schema_metadata(None)

    def _open(self, place):
        self._writer = self._parquet.ParquetWriter(self._paths[place], self._schema,
                                                   compression="zstd")

    def _next(self, place):
        self._close(place)
        self._open(place + 1)
        return place + 1

    def _add(self, place, table):
        self.rows[place] += table.num_rows
        self._waiting.append(table)
        if sum(part.num_rows for part in self._waiting) >= _ROW_GROUP:
            table = self._arrow.concat_tables(self._waiting).combine_chunks()
            whole = table.num_rows - table.num_rows % _ROW_GROUP
            self._writer.write_table(table.slice(0, whole), _ROW_GROUP)
            self._waiting = [table.slice(whole)]

    def _close(self, place):
        rest = (self._arrow.concat_tables(self._waiting).combine_chunks() if self._waiting
                else self._schema.empty_table())
        if rest.num_rows:
            self._writer.write_table(rest, _ROW_GROUP)
        self._writer.close()
        durable.sync(self._paths[place])
        self._waiting = []

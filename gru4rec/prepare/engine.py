"""The DuckDB connection: bounded memory, errors on one line; and the signals that stop a run."""

import contextlib

from gru4rec.command import interrupts
from gru4rec.errors import DataError, Gru4RecError, InputError, Interrupted


class Stopped(Interrupted):
    """A signal stopped the preparation; nothing is left behind."""

    def __init__(self, number):
        Gru4RecError.__init__(self, "interrupted; nothing was written")
        self.exit_status = 128 + number


class QueryError(DataError):
    """DuckDB could not run a statement, for no lack of memory or disk."""


class NotUtf8(QueryError):
    """DuckDB 1.3 and 1.4 break at an id or time that is not in UTF-8, unless they read every column
    of the file.
    """


class Signals:
    """While this context manager is open, the first SIGINT or SIGTERM raises Stopped; later ones
    are ignored.

    So the clean-up that follows is not cut short. A signal that the caller had ignored stays
    ignored. `interrupt`, a function or None, is called before Stopped is raised.
    """

    def __init__(self):
        self._stop, self._held, self._before, self.interrupt = None, False, {}, None

    def __enter__(self):
        self._before = interrupts.install(self._note)
        return self

    def __exit__(self, *_):
        interrupts.restore(self._before)

    def _note(self, number, _):
        if self._stop is None and not self._held:
            self._stop = number
            if self.interrupt:
                self.interrupt()
            raise Stopped(number)

    def hold(self):
        """From here on signals are ignored: the outputs are being renamed, or what is left removed.
        """
        self._held = True

    def check(self):
        """Raise Stopped again if a library has swallowed it."""
        if self._stop is not None:
            raise Stopped(self._stop) from None


class Engine:
    """One in-memory database, which spills to `directory` when `memory_gib` does not hold it. A
    context manager.
    """

    def __init__(self, directory, memory_gib, threads, signals):
        try:
            import duckdb
        except ImportError:
            raise InputError('preparing data needs DuckDB, which is not installed; pip install '
                             '"gru4rec[prepare]" '
                             "or pip install duckdb") from None
        self._error, self._signals = duckdb.Error, signals
        settings = {"memory_limit": "%dMB" % round(1000 * memory_gib), "temp_directory": directory,
                    "autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
        if threads:
            settings["threads"] = str(threads)
        self._connection = duckdb.connect(":memory:", config=settings)
        # unknown before DuckDB 2, which casts in the reader: then a field that does
        with contextlib.suppress(duckdb.Error):
            # not cast makes its line a malformed one, of whatever kind of event the row is
            self._connection.execute("SET disabled_optimizers = 'type_pushdown'")

    def __enter__(self):
        # else its threads would first finish what they scan
        self._signals.interrupt = self._connection.interrupt
        return self

    def __exit__(self, *_):
        self._signals.interrupt = None
        self._connection.close()

    def run(self, sql, *params):
        """Rows of a statement, as a list of tuples.

        Raises: DataError on one line; Stopped after a signal.
        """
        with self._errors():
            return self._connection.execute(sql, list(params)).fetchall()

    def batches(self, sql, num_rows):
        """Yield the rows of a query as pandas.DataFrames of about so many rows, at least one frame;
        errors as for `run`.

        No other statement may be run before the last batch.
        """
        with self._errors():
            self._connection.execute(sql)
            # counts vectors of 2048 rows
            frame = self._connection.fetch_df_chunk(-(-num_rows // 2048))
        yield frame
        while len(frame):
            with self._errors():
                frame = self._connection.fetch_df_chunk(-(-num_rows // 2048))
            if len(frame):
                yield frame

    @contextlib.contextmanager
    def _errors(self):
        try:
            yield
        except (self._error, RuntimeError) as error:
            if isinstance(error, Gru4RecError):
                raise
            self._signals.check()  # DuckDB puts an error of its own over the one the handler raised
            raise _readable(str(error)) from None
        self._signals.check()

    def one(self, sql, *params):
        """The single row of a query."""
        return self.run(sql, *params)[0]


def _readable(message):
    """DataError of a message by DuckDB."""
    if "CSV Parser state machine" in message:
        return QueryError("this is no consistent CSV: lines end in \\n here and in \\r\\n there, "
                          "or quotes are wrong; make "
                          "all lines end in \\n (as dos2unix does), or correct the quotes")
    if "Attempted to access index" in message:
        return NotUtf8("an id or time is not in UTF-8")
    first = message.strip().splitlines()[0][:300]
    if "Out of Memory" in message or "could not allocate" in message.lower():
        return DataError("out of memory (%s); give more by --memory, or fewer --threads" % first)
    if "No space left" in message or "max_temp_directory_size" in message:
        return DataError("the disk is full (%s); make room in --out, which also holds temporary "
                         "data" % first)
    return QueryError("DuckDB: %s" % first)

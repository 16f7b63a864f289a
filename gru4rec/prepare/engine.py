"""The DuckDB connection: bounded memory, one-line errors, and signals that stop a query."""

import contextlib

from gru4rec.command import interrupts
from gru4rec.errors import DataError, Gru4RecError, InputError, Interrupted


class Stopped(Interrupted):
    """A signal stopped the preparation; nothing is left behind."""

    def __init__(self, number):
        Gru4RecError.__init__(self, "interrupted; nothing was written")
        self.exit_status = 128 + number


class QueryError(DataError):
    """DuckDB could not run a statement, and not because memory or disk is full."""


class NotUtf8(QueryError):
    """DuckDB cannot read an id or time that is not in UTF-8.

    Versions 1.3 and 1.4 can if they read every column of the file.
    """


class Signals:
    """Context in which the first SIGINT or SIGTERM raises Stopped, and later ones are ignored.

    So nothing cuts the clean-up short. A signal that was ignored before (nohup) stays ignored.
    interrupt: function () that is called before Stopped is raised; None for none.
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
        """Ignore signals from here on, while outputs are renamed or temporary files removed."""
        self._held = True

    def check(self):
        """Raise Stopped again if a library has swallowed it."""
        if self._stop is not None:
            raise Stopped(self._stop) from None


class Engine:
    """A database in memory, and in `directory` where `memory_gib` is too little; a context."""

    def __init__(self, directory, memory_gib, threads, signals):
        try:
            import duckdb
        except ImportError:
            raise InputError('preparing data needs DuckDB, which is not installed; pip install '
                             '"gru4rec[prepare]" or pip install duckdb') from None
        self._error, self._signals = duckdb.Error, signals
        settings = {"memory_limit": "%dMB" % round(1000 * memory_gib), "temp_directory": directory,
                    "autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
        if threads:
            settings["threads"] = str(threads)
        self._connection = duckdb.connect(":memory:", config=settings)
        # DuckDB 2 casts in the reader, so that a field which cannot be cast makes its whole line
        # malformed, whatever kind of event it is. Earlier versions do not know the setting.
        with contextlib.suppress(duckdb.Error):
            self._connection.execute("SET disabled_optimizers = 'type_pushdown'")

    def __enter__(self):
        # Otherwise the threads of DuckDB would finish their scan before a signal is obeyed.
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
        """Yield the rows of a query as pandas.DataFrames of about `num_rows` rows; at least one.

        No other statement may be run before the last batch. Errors as for `run`.
        """
        vectors = -(-num_rows // 2048)  # DuckDB counts in vectors of 2048 rows
        with self._errors():
            self._connection.execute(sql)
            frame = self._connection.fetch_df_chunk(vectors)
        yield frame
        while len(frame):
            with self._errors():
                frame = self._connection.fetch_df_chunk(vectors)
            if len(frame):
                yield frame

    @contextlib.contextmanager
    def _errors(self):
        try:
            yield
        except (self._error, RuntimeError) as error:
            if isinstance(error, Gru4RecError):
                raise
            self._signals.check()  # DuckDB may have replaced the error of a signal by its own
            raise _readable(str(error)) from None
        self._signals.check()

    def one(self, sql, *params):
        """The single row of a query."""
        return self.run(sql, *params)[0]


def _readable(message):
    """DataError for a message of DuckDB, on one line."""
    if "CSV Parser state machine" in message:
        return QueryError("this CSV is not consistent: some lines end in \\n and others in \\r\\n, "
                          "or quotes are wrong; make all lines end in \\n (as dos2unix does), or "
                          "correct the quotes")
    if "Attempted to access index" in message:
        return NotUtf8("an id or time is not in UTF-8")
    first = message.strip().splitlines()[0][:300]
    if "Out of Memory" in message or "could not allocate" in message.lower():
        return DataError("out of memory (%s); give more by --memory, or fewer --threads" % first)
    if "No space left" in message or "max_temp_directory_size" in message:
        return DataError("the disk is full (%s); make room in --out, which also holds temporary "
                         "data" % first)
    return QueryError("DuckDB: %s" % first)

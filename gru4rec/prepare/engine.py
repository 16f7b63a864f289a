"""The DuckDB connection: bounded memory, errors on one line, and signals that stop a query."""

import signal
import threading

from gru4rec.errors import DataError, Gru4RecError, InputError, Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(Interrupted):
    """A signal stopped the preparation; nothing is left behind."""

    def __init__(self, number):
        Gru4RecError.__init__(self, "interrupted; nothing was written")
        self.exit_status = 128 + number


class Engine:
    """One in-memory database, which spills to `directory` when `memory_gib` does not hold it. A context manager.

    While it is open, SIGINT and SIGTERM raise Stopped, also out of a running query.
    """

    def __init__(self, directory, memory_gib, threads=None):
        try:
            import duckdb
        except ImportError:
            raise InputError('preparing data needs DuckDB, which is not installed; pip install "gru4rec[prepare]" '
                             "or pip install duckdb") from None
        self.directory = directory
        self._error, self._stop, self._before = duckdb.Error, None, {}
        settings = {"memory_limit": "%dMB" % round(1000 * memory_gib), "temp_directory": directory,
                    "autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
        if threads:
            settings["threads"] = str(threads)
        self._connection = duckdb.connect(":memory:", config=settings)

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._connection.close()

    def _note(self, number, _):
        self._stop = number
        raise Stopped(number)

    def hold_signals(self):
        """From here on signals wait for the end: the outputs are being renamed."""
        for number in self._before:
            signal.signal(number, signal.SIG_IGN)

    def run(self, sql, *params):
        """Rows of a statement, as a list of tuples.

        Raises: DataError on one line; Stopped after a signal.
        """
        try:
            return self._connection.execute(sql, list(params)).fetchall()
        except (self._error, RuntimeError) as error:
            if isinstance(error, Gru4RecError):
                raise
            if self._stop is not None:  # DuckDB puts an error of its own over the one the handler raised
                raise Stopped(self._stop) from None
            raise _readable(str(error)) from None

    def one(self, sql, *params):
        """The single row of a query."""
        return self.run(sql, *params)[0]


def _readable(message):
    """DataError of a message by DuckDB."""
    first = message.strip().splitlines()[0][:300]
    if "Out of Memory" in message or "could not allocate" in message.lower():
        return DataError("out of memory (%s); give more by --memory, or fewer --threads" % first)
    if "No space left" in message or "max_temp_directory_size" in message:
        return DataError("the disk is full (%s); make room in --out, which also holds temporary data" % first)
    return DataError("DuckDB: %s" % first)

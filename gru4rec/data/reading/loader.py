"""Read an events file into checked columns: choose text or parquet, find the unit of time."""

import gzip
import io
import logging
import os
import re
import zlib
from typing import NamedTuple

import numpy as np

from gru4rec.data.reading.columns import data_error
from gru4rec.data.reading.parquet import read_parquet
from gru4rec.data.reading.text import read_text
from gru4rec.errors import DataError

_LOG = logging.getLogger(__name__)
# Largest |median| of each unit: 1e11 s is the year 5138, 1e11 ms is 1973, and so on.
_UNITS = (("s", 1.0, 1e11), ("ms", 1e3, 1e14), ("us", 1e6, 1e17), ("ns", 1e9, np.inf))


class Events(NamedTuple):
    """The events of one file, in file order; the three columns have the same length, at least 1."""

    session: np.ndarray  # [E] int64 if every id of the column is an integer, else object [E] of str
    item: np.ndarray     # [E] as session, decided by its own column
    time: np.ndarray     # [E] float64 seconds since 1970, or since another start; finite
    path: str            # for messages
    time_unit: str       # unit in the file: "s" | "ms" | "us" | "ns" | "iso-8601"


def load_events(path, session_key="SessionId", item_key="ItemId", time_key="Time"):
    """Read and check an events file; the unit guessed for a numeric time is logged.

    Args:
      path: text (UTF-8; tab, comma or semicolon, found from the header) or .parquet, or gzip of
        either. Rows in any order; a quoted field must close on its line.
      session_key, item_key, time_key: names of three different columns; others are ignored.
    Returns: Events. An id column is integer only if each value is spelled as an int64 is printed.
      Otherwise its ids stay the text of the file, so "007", "1.0", "NA" and "nan" are ordinary ids.
    Raises: DataError, one line: what, where (path, line with the header as 1, column), the value,
      what to do.
    """
    path, keys = os.fspath(path), (session_key, item_key, time_key)
    if len(set(keys)) < 3:
        raise data_error(path, "session, item and time column must differ, not %r, %r, %r" % keys)
    try:
        with _open(path) as (handle, zipped):
            head = handle.read(4)
            handle.seek(0)
            if head == b"PAR1" or re.search(r"\.parquet(\.gz)?\Z", path, re.I):
                handle = io.BytesIO(handle.read()) if zipped else handle
                session, item, (time, is_iso) = read_parquet(path, handle, keys)
            else:
                session, item, (time, is_iso) = read_text(path, handle, keys)
    except (EOFError, zlib.error) as error:
        raise data_error(path, "the gzip data is broken or cut short (%s); download the file again"
                         % error) from None
    except OSError as error:
        reason = error.strerror or "the gzip data is broken (%s)" % error
        raise data_error(path, "cannot be read: %s; correct the path, its permissions, or the file"
                         % reason) from None
    except ValueError as error:  # a path with a NUL in it
        if isinstance(error, DataError):
            raise
        raise data_error(path, "cannot be read: %s; correct the path or the file" % error) from None
    if is_iso:
        return Events(session, item, time, path, "iso-8601")
    median = float(np.median(np.abs(time)))
    unit, divisor, _ = next(row for row in _UNITS if median < row[2] or row[0] == "ns")
    _LOG.info("%s: %s is taken as numbers in %s, because the median size is %.4g", path, time_key,
              unit, median)
    return Events(session, item, time / divisor, path, unit)


class _open:
    """Context manager: (binary handle of the content, whether it was gzip).

    The content decides; but a file named .gz that is no gzip is an error.
    """

    def __init__(self, path):
        self._path = path

    def __enter__(self):
        self._raw = open(self._path, "rb")
        try:
            magic = self._raw.read(2)
            self._raw.seek(0)
            if magic == b"\x1f\x8b":
                return gzip.GzipFile(fileobj=self._raw), True
            if not magic:
                raise data_error(self._path,
                                 "the file is empty; give a file with a header line and events")
            if str(self._path).lower().endswith(".gz"):
                raise data_error(self._path, "named .gz but not gzip (starts with %r); rename or "
                                 "download it" % magic)
        except BaseException:
            self._raw.close()
            raise
        return self._raw, False

    def __exit__(self, *_):
        self._raw.close()

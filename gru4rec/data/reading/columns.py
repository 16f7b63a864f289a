"""What text and parquet share: columns by name, checked ids, and which format the times have."""

import re

import numpy as np
import pandas as pd

from gru4rec.data.reading import iso8601
from gru4rec.errors import DataError

TIME_HELP = ("give seconds, milliseconds or microseconds since 1970, or ISO-8601 such as "
             "2014-04-07T10:51:09Z")
_INTEGER = re.compile(r"(?:0|-?[1-9][0-9]*)\Z", re.ASCII)
_INT64 = np.iinfo(np.int64)


def short(value):
    """repr of a value, at most about 60 characters, on one line."""
    text = repr(value[:80] if isinstance(value, (str, bytes)) else value)
    return text if len(text) <= 60 else text[:57] + "..."


def data_error(path, what, line=None, column=None, unit="line"):
    """DataError in one line: file, place and what is wrong there.

    Args:
      path: str. what: the problem and what to do; characters that do not print become spaces.
      line: number of the line, the header is line 1; in parquet number of the row, from 1.
      column: its name. unit: "line" | "row".
    """
    places = [] if line is None else ["%s %d" % (unit, line)]
    places += [] if column is None else ["column %s" % short(column)]
    name = path if isinstance(path, str) and path.isprintable() else repr(path)
    what = "".join(char if char.isprintable() else " " for char in what)
    return DataError(": ".join([name] + ([", ".join(places)] if places else []) + [what]))


def places_of(path, names, keys, line=None):
    """Position of each key among the column names; DataError if a key is not there exactly once."""
    for key in keys:
        if names.count(key) != 1:
            shown = [short(name) for name in names[:12]] + ["..."] * (len(names) > 12)
            problem = "is missing" if key not in names else "is there %d times" % names.count(key)
            raise data_error(path, "column %s %s; the header has %s; name columns with "
                             "--session_key --item_key --time_key, or correct the header"
                             % (short(key), problem, ", ".join(shown)), line)
    return [names.index(key) for key in keys]


class IdColumn:
    """An id column in parts: int64 until the first id that is no integer, then object of str.

    An id counts as an integer if it is spelled as an int64 is printed, so it prints as in the file.
    """

    def __init__(self):
        self.is_text, self.parts = False, []

    def finish(self):
        """The whole column, int64 [E] or object [E] of str."""
        if self.is_text:
            self.parts = [as_text(part) if part.dtype != object else part for part in self.parts]
        return np.concatenate(self.parts)


def as_text(numbers):
    """int64 or float [N] to object [N] of str, one object per distinct value."""
    codes, values = pd.factorize(numbers)
    return np.array([str(value) for value in values.tolist()], object)[codes]


class TimeColumn:
    """The time column in parts; its first value decides: numbers or ISO-8601 in the whole file."""

    def __init__(self, path, key, unit="line"):
        self._path, self._key, self._unit = path, key, unit
        self.is_iso, self.parts = None, []

    def choose(self, first):
        """Decide by the text of the first value."""
        try:
            float(first)
            self.is_iso = False
        except ValueError:
            self.is_iso = True

    def add_numbers(self, values, fail):
        """Append float64 [N], not finite where unreadable; `fail` gives (line, text) of a row."""
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise self._refuse(*fail(int(bad[0])))
        self.parts.append(values)

    def add_iso(self, characters, fail):
        """Append texts, uint8 [N, iso8601.WIDTH]; `fail` as for `add_numbers`."""
        values, bad = iso8601.seconds(characters)
        if bad is not None:
            raise self._refuse(*fail(bad))
        self.parts.append(values)

    def _refuse(self, line, value):
        kind = "ISO-8601 time nor a number" if self.is_iso else "finite number"
        what = ("time %s is no %s; %s, in one way for the whole file"
                % (short(value), kind, TIME_HELP))
        return data_error(self._path, what, line, self._key, self._unit)

    def finish(self):
        """(seconds or numbers float64 [E], whether they were ISO-8601)."""
        return np.concatenate(self.parts), bool(self.is_iso)


def canonical_int(text):
    """The int64 that is printed exactly as `text`, else None: "7" -> 7; "007", "7.0" -> None."""
    if len(text) > 20 or not _INTEGER.match(text):
        return None
    value = int(text)
    return value if _INT64.min <= value <= _INT64.max else None

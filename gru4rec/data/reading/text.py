"""Delimited text to columns, read in chunks.

Each chunk is checked as a whole; the bad line is looked for only after a check has failed.
"""

import csv
import io
import re
from typing import NamedTuple

import numpy as np
import pandas as pd

from gru4rec.data.reading import iso8601
from gru4rec.data.reading.columns import IdColumn, TimeColumn, data_error, places_of, short

_CHUNK_BYTES = 8 << 20
_DELIMITERS = "\t,;"
_NEWLINE, _QUOTE = ord("\n"), ord("\"")
_POWERS = 10 ** np.arange(1, 19, dtype=np.int64)


def read_text(path, handle, keys):
    """(session ids, item ids, (time, is_iso)) of a delimited text file."""
    columns = None
    for data, line in _chunks(handle):
        _check_bytes(path, data, line)
        if columns is None:
            data, line, header = _split_header(path, data, line)
            delimiter, places, width = _read_header(path, header, line - 1, keys)
            columns = IdColumn(), IdColumn(), TimeColumn(path, keys[2])
        chunk = _tokenize(path, data, line, delimiter, width) if data else None
        if chunk is not None:
            _parse(path, chunk, places, keys, columns)
    if columns is None:
        raise data_error(path, "the file is empty; give a file with a header line and events")
    if not columns[0].parts:
        raise data_error(path, "there is a header but no event below it; give a file with events")
    return tuple(column.finish() for column in columns)


def _chunks(handle):
    """Yield (bytes that end with a newline, number of their first line)."""
    line, pending = 1, []
    while True:
        piece = handle.read(_CHUNK_BYTES)
        cut = piece.rfind(b"\n") + 1
        if piece and not cut:
            pending.append(piece)
            if b"\0" not in piece:
                continue
            piece = b""  # binary data may never hold a newline; the check refuses it now
        data = b"".join(pending) + piece[:cut]
        pending = [piece[cut:]]
        if data and not piece and not data.endswith(b"\n"):
            data = data.rstrip(b"\r") + b"\n"
        if data:
            yield data, line
        line += data.count(b"\n")
        if not piece:
            return


def _check_bytes(path, data, line):
    """Raise DataError for content that is no UTF-8 text, naming the first line of it."""
    if b"\0" in data:
        line += data.count(b"\n", 0, data.index(b"\0"))
        raise data_error(path, "a NUL byte ('\\x00'): the file is damaged or not text; restore or "
                         "export it", line)
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line += data.count(b"\n", 0, error.start)
        raise data_error(path, "bytes %s are not UTF-8: binary data or another encoding; give a "
                         "UTF-8 text file, gzip or .parquet"
                         % short(data[error.start:error.start + 8]), line) from None


def _split_header(path, data, line):
    """(data below the header, its first line number, header text) of the first chunk."""
    if data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
    header, _, rest = data.partition(b"\n")
    if not data.strip():
        raise data_error(path, "the file is empty but for blank lines; give a file with a header "
                         "line and events")
    return rest, line + 1, header.rstrip(b"\r").decode("utf-8")


def _read_header(path, header, line, keys):
    """(delimiter byte, position of each key, number of columns).

    The delimiter is the one by which most keys are columns of the header.
    """
    if header.lstrip()[:1] == "<":
        raise data_error(path, "%s looks like HTML or XML, perhaps a saved error page; download "
                         "the events file again" % short(header.strip()), line)
    if "\r" in header or header.count('"') % 2:
        problem = "carriage return inside" if "\r" in header else "quote that does not close"
        raise data_error(path, "header %s has a %s; write one header line that ends in a newline"
                         % (short(header), problem), line)
    best = None
    for delimiter in _DELIMITERS:
        names = [header]
        if len(header) < 100000:
            names = next(csv.reader([header], delimiter=delimiter), [""])
        score = sum(key in names for key in keys), len(names)
        if best is None or score > best[0]:
            best = score, delimiter, names
    _, delimiter, names = best
    return ord(delimiter), places_of(path, names, keys, line), len(names)


class _Chunk(NamedTuple):
    """Lines of the same number of fields.

    Field k of row n is `data[bounds[n, k] + 1:bounds[n, k + 1]]`, quotes included.
    """

    data: bytes
    bytes: np.ndarray   # uint8 view of data
    bounds: np.ndarray  # int64 [N, width + 1] newline before, delimiters, newline after
    delimiter: str
    lines: object       # int [N] or range: line number of each row

    def field(self, row, place):
        """The text of one field without its quotes."""
        text = self.data[self.bounds[row, place] + 1:self.bounds[row, place + 1]].decode("utf-8")
        return text[1:-1].replace('""', '"') if text[:1] == '"' else text

    def span(self, place):
        """(start, length) int64 [N] of a column, quotes not counted."""
        start, stop = self.bounds[:, place] + 1, self.bounds[:, place + 1]
        quoted = self.bytes[start] == _QUOTE
        return start + quoted, stop - start - 2 * quoted


def _tokenize(path, data, line, delimiter, width):
    """_Chunk of bytes that end with a newline; None if all lines are blank.

    Raises: DataError at the first line with another number of fields, or a quote out of place.
    """
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n")
        if b"\r" in data:
            row = data.count(b"\n", 0, data.index(b"\r"))
            text = short(data.split(b"\n", row + 1)[row].decode("utf-8"))
            raise data_error(path, "a carriage return inside the line %s; end lines with \\n or "
                             "\\r\\n" % text, line + row)
    lines = None
    if b"\n\n" in data or data.startswith(b"\n"):  # blank lines are skipped, but counted
        blank = np.diff(np.flatnonzero(np.frombuffer(b"\n" + data, np.uint8) == _NEWLINE)) == 1
        lines = line + np.flatnonzero(~blank)
        data = re.sub(b"\n+", b"\n", data).lstrip(b"\n")
        if not data:
            return None
    array = np.frombuffer(data, np.uint8)
    newlines = np.flatnonzero(array == _NEWLINE)
    lines = range(line, line + len(newlines)) if lines is None else lines
    marks = np.flatnonzero(array == delimiter)
    starts = np.concatenate([[0], newlines[:-1] + 1])
    bad = len(newlines)
    if b'"' in data:
        quotes = np.flatnonzero(array == _QUOTE)
        bad = _first_stray_quote(array, quotes, starts, newlines, delimiter)
        marks = marks[np.searchsorted(quotes, marks) % 2 == 0]
    ends = marks.reshape(-1, width - 1) if len(marks) == len(newlines) * (width - 1) else None
    if (ends is None or bad < len(newlines) or (ends[:, 0] < starts).any()
            or (ends[:, -1] > newlines).any()):
        counts = 1 + np.diff(np.searchsorted(marks, np.append(starts, len(array))))
        uneven = int(np.append(np.flatnonzero(counts != width), len(newlines))[0])
        row = min(uneven, bad)
        text = short(data[starts[row]:newlines[row]].decode("utf-8"))
        if bad <= uneven:
            raise data_error(path, "an unbalanced or stray quote in %s; quote whole fields, double "
                             "a quote inside, and close it on its line" % text, lines[row])
        raise data_error(path, "%d fields where the header has %d: %s; correct the line or the "
                         "delimiter (%r)" % (counts[row], width, text, chr(delimiter)), lines[row])
    bounds = np.column_stack([starts - 1, ends, newlines])
    return _Chunk(data, array, bounds, chr(delimiter), lines)


def _first_stray_quote(array, quotes, starts, newlines, delimiter):
    """First row with an odd number of quotes, or a quote inside an unquoted field.

    Returns: int; the number of rows if there is no such row.
    """
    counts = np.diff(np.searchsorted(quotes, np.append(starts, len(array))))
    edge = (array == delimiter) | (array == _NEWLINE) | (array == _QUOTE)
    opening, closing = quotes[0::2], quotes[1::2]
    stray = np.concatenate([opening[(opening > 0) & ~edge[opening - 1]],
                            closing[~edge[closing + 1]]])
    rows = np.concatenate([np.flatnonzero(counts % 2), np.searchsorted(newlines, stray),
                           [len(newlines)]])
    return int(rows.min())


def _parse(path, chunk, places, keys, columns):
    """Append a chunk to the three columns; DataError at the first empty or unreadable value."""
    spans = [chunk.span(place) for place in places]
    empty = [np.append(np.flatnonzero(length == 0), len(chunk.bounds))[0] for _, length in spans]
    if min(empty) < len(chunk.bounds):
        which = int(np.argmin(empty))
        row = int(empty[which])
        text = short(chunk.data[chunk.bounds[row, 0] + 1:chunk.bounds[row, -1]].decode("utf-8"))
        raise data_error(path, "the value is missing ('') in %s; fill it in or remove the line"
                         % text, chunk.lines[row], keys[which])
    ids, times = columns[:2], columns[2]
    if times.is_iso is None:
        times.choose(chunk.field(0, places[2]))
    wanted = {place: object if column.is_text else None for place, column in zip(places, ids)}
    if not times.is_iso:
        wanted[places[2]] = None
    parsed = _pandas(chunk, wanted)
    retry = []
    for place, column, (_, length) in zip(places, ids, spans):
        if column.is_text or _canonical(parsed[place], length):
            column.parts.append(parsed[place])
        else:
            column.is_text = True
            retry.append((place, column))
    if retry:
        texts = _pandas(chunk, {place: object for place, _ in retry})
        for place, column in retry:
            column.parts.append(texts[place])

    def fail(row):
        return chunk.lines[row], chunk.field(row, places[2])

    if times.is_iso:
        start, length = spans[2]
        times.add_iso(_window(chunk.bytes, start, length), fail)
        return
    values = parsed[places[2]]
    if values.dtype.kind not in "iuf":
        written = _pandas(chunk, {places[2]: object})[places[2]]
        values = pd.to_numeric(pd.Series(written, dtype=object), errors="coerce")
    times.add_numbers(np.asarray(values, np.float64), fail)


def _pandas(chunk, dtypes):
    """Columns of a checked chunk, parsed by pandas: {place: numpy array}.

    Args:
      dtypes: {place: object, or None to let pandas find numbers}.
    """
    places = sorted(dtypes)
    frame = pd.read_csv(io.BytesIO(chunk.data), sep=chunk.delimiter, header=None, usecols=places,
                        dtype={place: kind for place, kind in dtypes.items() if kind},
                        na_filter=False, low_memory=False, skip_blank_lines=False,
                        encoding="utf-8")
    # The C parser repeats one str object per distinct value, so object columns stay small.
    return {place: frame[place].to_numpy(dtype=None if frame[place].dtype.kind in "iuf" else object)
            for place in places}


def _canonical(values, length):
    """Whether a column is int64 and each value was written as it prints: "007", "+7" are longer."""
    if values.dtype != np.int64:
        return False
    size = np.where(values == np.iinfo(np.int64).min, np.iinfo(np.int64).max, np.abs(values))
    return bool((np.searchsorted(_POWERS, size, side="right") + 1 + (values < 0) == length).all())


def _window(array, start, length):
    """uint8 [N, iso8601.WIDTH] of the fields at `start`, cut at that width and filled with 0."""
    place = np.arange(iso8601.WIDTH)
    index = np.minimum(start[:, None] + place, len(array) - 1)
    return np.where(place < length[:, None], array[index], np.uint8(0))

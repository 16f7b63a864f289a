"""Parquet to columns; needs pyarrow, but only when a parquet file is read."""

import numpy as np
import pandas as pd

from gru4rec.data.reading import iso8601
from gru4rec.data.reading.columns import (
    TIME_HELP,
    TimeColumn,
    as_text,
    canonical_int,
    data_error,
    places_of,
    short,
)
from gru4rec.errors import DataError


def import_pyarrow(path):
    """(pyarrow, pyarrow.parquet); DataError if it is not installed, with the path that needs it."""
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise data_error(path, "parquet needs pyarrow, which is not installed; "
                         "pip install pyarrow") from None
    return arrow, parquet


def read_parquet(path, handle, keys):
    """(session ids, item ids, (time, is_iso)) of a parquet file; in messages rows count from 1."""
    arrow, parquet = import_pyarrow(path)
    try:
        file = parquet.ParquetFile(handle)
        places_of(path, list(file.schema_arrow.names), keys)
        table = file.read(columns=list(keys))
        columns = [table.column(key) for key in keys]
        if not table.num_rows:
            raise data_error(path, "there are columns but no event in them; give a file with "
                             "events")
        for key, column in zip(keys, columns):
            if column.null_count:
                row = int(np.flatnonzero(np.asarray(column.is_null().to_pandas()))[0])
                raise data_error(path, "the value is missing (null); fill it in or remove the row",
                                 row + 1, key, "row")
        ids = [_arrow_ids(path, key, column) for key, column in zip(keys, columns[:2])]
        return ids[0], ids[1], _arrow_time(path, keys[2], columns[2], arrow)
    except DataError:
        raise
    except (arrow.lib.ArrowException, OSError, ValueError, KeyError, TypeError,
            NotImplementedError) as error:
        raise data_error(path, "not readable as parquet (%s); write or download it again"
                         % str(error)[:120]) from None


def _arrow_ids(path, key, column):
    """Arrow column without nulls to int64 [E] or object [E] of str."""
    values = np.asarray(column.to_pandas())
    if values.dtype.kind in "iu" and (values.dtype != np.uint64
                                      or values.max() <= np.uint64(2 ** 63 - 1)):
        return values.astype(np.int64)
    if values.dtype.kind == "f" and np.isnan(values).any():
        row = int(np.flatnonzero(np.isnan(values))[0])
        raise data_error(path, "the value is missing (nan); fill it in or remove the row", row + 1,
                         key, "row")
    if values.dtype.kind in "fbu":
        return as_text(values)
    if pd.api.types.infer_dtype(values, skipna=False) not in ("string", "bytes"):
        what = ("type %s is no id (first value %s); store integers or text"
                % (column.type, short(values[0])))
        raise data_error(path, what, 1, key, "row")
    codes, texts = pd.factorize(values)
    texts = [text.decode("utf-8") if isinstance(text, bytes) else text for text in texts]
    if "" in texts:
        row = int(np.flatnonzero(codes == texts.index(""))[0])
        raise data_error(path, "the value is missing (''); fill it in or remove the row", row + 1,
                         key, "row")
    numbers = [canonical_int(text) for text in texts]
    return np.array(texts, object)[codes] if None in numbers else np.array(numbers, np.int64)[codes]


def _arrow_time(path, key, column, arrow):
    """Arrow column without nulls to (float64 [E], whether it holds ISO-8601 or timestamps)."""
    kind, times = column.type, TimeColumn(path, key, "row")
    if arrow.types.is_date(kind):
        kind, column = arrow.timestamp("ms"), column.cast(arrow.timestamp("ms"))
    if arrow.types.is_timestamp(kind):  # stored in UTC, whatever zone the type names
        divisor = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}[kind.unit]
        return np.asarray(column.cast(arrow.int64()).to_pandas()) / divisor, True
    values = np.asarray(column.to_pandas())

    def fail(row):
        return row + 1, values[row]

    if values.dtype.kind in "iuf":
        times.is_iso = False
        times.add_numbers(values.astype(np.float64), fail)
        return times.finish()
    if pd.api.types.infer_dtype(values, skipna=False) != "string":
        raise data_error(path, "type %s is no time; %s" % (column.type, TIME_HELP), 1, key, "row")
    times.choose(values[0])
    if times.is_iso:
        times.add_iso(iso8601.characters(values), fail)
    else:
        times.add_numbers(np.asarray(pd.to_numeric(pd.Series(values, dtype=object),
                                                   errors="coerce"), np.float64), fail)
    return times.finish()

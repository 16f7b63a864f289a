"""Files of recommended lists: .parquet, .csv or .jsonl.

.parquet and .csv have a row for each place of a list, with the columns `session`, `rank` (from 1),
`item`, `score` and `source` ("model", or "popularity" for a session without a known item). .jsonl
has a line for each session: {"session": .., "items": [..], "scores": [..], "source": ".."}.
"""

import contextlib
import json
import os

import numpy as np
import pandas as pd

from gru4rec.files.outputs import replacing

_LF = {"lineterminator" if tuple(map(int, pd.__version__.split(".")[:2])) >= (1, 5)
       else "line_terminator": "\n"}
SOURCES = np.array(["model", "popularity"], object)


@contextlib.contextmanager
def writer(path):
    """Context with an object whose `add` writes lists; the ending of `path` gives the format.

    The file takes its place at `path` only if the block ends well.
    """
    formats = {".csv": _Csv, ".jsonl": _Jsonl, ".parquet": _Parquet}
    file_format = formats[os.path.splitext(path)[1].lower()]
    with replacing("--out", path) as file, contextlib.closing(file_format(file)) as lists:
        yield lists


def _columns(sessions, index, scores, by_popularity, ids):
    """Column name -> array, with a row for each place that is filled.

    Args:
      sessions: [S] raw ids. index, scores, by_popularity: as `Model.rank` gives them.
      ids: [I] raw ids of the items.
    """
    row, place = np.nonzero(index >= 0)
    return {"session": sessions[row], "rank": (place + 1).astype(np.int32),
            "item": ids[index[row, place]], "score": scores[row, place],
            "source": SOURCES[by_popularity[row].astype(int)]}


class _Csv:
    def __init__(self, file):
        self._file, self._header = file, True

    def add(self, *lists):
        """Lists of a block of sessions; arguments of `_columns`."""
        text = pd.DataFrame(_columns(*lists)).to_csv(index=False, header=self._header,
                                                     float_format="%.6g", **_LF)
        self._file.write(text.encode("utf-8"))
        self._header = False

    def close(self):
        pass


class _Jsonl:
    def __init__(self, file):
        self._file = file

    def add(self, sessions, index, scores, by_popularity, ids):
        """Lists of a block of sessions; arguments of `_columns`."""
        counts, lines = (index >= 0).sum(1), []
        for session, row, values, popular, count in zip(sessions.tolist(), index, scores,
                                                        by_popularity, counts):
            shown = [float("%.6g" % value) for value in values[:count].tolist()]
            lines.append(json.dumps({"session": session, "items": ids[row[:count]].tolist(),
                                     "scores": shown, "source": SOURCES[int(popular)]},
                                    ensure_ascii=False))
        self._file.write("".join(line + "\n" for line in lines).encode("utf-8"))

    def close(self):
        pass


class _Parquet:
    def __init__(self, file):
        self._file, self._writer = file, None

    def add(self, *lists):
        """Lists of a block of sessions; arguments of `_columns`."""
        import pyarrow as arrow
        from pyarrow import parquet
        columns = _columns(*lists)
        # The type of text is given here: pyarrow could not tell it from a block without any list,
        # and all blocks must have one schema.
        schema = arrow.schema([(name, arrow.string() if values.dtype == object
                                else arrow.from_numpy_dtype(values.dtype))
                               for name, values in columns.items()])
        table = arrow.table(columns, schema=schema)
        if self._writer is None:
            self._writer = parquet.ParquetWriter(self._file, schema)
        self._writer.write_table(table)

    def close(self):
        if self._writer is not None:
            self._writer.close()

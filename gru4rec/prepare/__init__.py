"""Raw logs -> training and test files: `python -m gru4rec.prepare`, see docs/data.md. Needs the extra `prepare` (DuckDB).

cli         flags, temporary directory, rename into place
files       what can be read at all
formats     the columns and event kinds of each raw format, as SQL
readers     raw files -> the table `raw` (session, item, time in microseconds, selected), bad rows
protocol    filters and splits -> the output files
partitions  a training file once more, as a dataset directory for several workers
engine      the DuckDB connection: settings, one-line errors, signals
report      what was read, removed and written: text and JSON
"""

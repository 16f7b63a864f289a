"""Raw logs to training and test files; needs DuckDB (extra `prepare`). Imports files, command, data.

cli         flags
job         temporary directory, rename into place
datasets    what is known of each dataset
files       what can be read at all
formats     the columns and event kinds of each raw format, as SQL
readers     raw files -> the table `raw` (session, item, time in microseconds, selected), bad rows
first_paper, study  filters and splits -> the output files
output      what both share: counts, writing
partitions  a training file once more, as a dataset directory for several workers
engine      the DuckDB connection: settings, one-line errors, signals
report      what was read, removed and written: text and JSON
"""

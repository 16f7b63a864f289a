"""Make training and test files from raw logs, with DuckDB (extra prepare). On top of data.

cli          the flags
datasets     each dataset: its raw files, its reader, its defaults
job          one run: a temporary directory, whose files are renamed into place at the end
files        which raw files can be read
formats      the columns and kinds of event of each raw format, as SQL
readers      raw files -> the table `raw` (session, item, time in microseconds, selected); bad rows
first_paper  protocol of RSC15: filters, split, slices -> the output files
study        protocol of all other datasets: filters, split -> the output files
output       what both protocols share: counts and writing
partitions   a training file once more, as a dataset directory for several workers
engine       the DuckDB connection: settings, one-line errors, signals
report       what was read, removed and written, as text and JSON
"""

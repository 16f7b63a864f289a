"""Files of events to columns: text, Parquet, times. Imports errors."""

"""From events to sessions and the schedule of an epoch; the sample. On top of command, files."""

"""Events to sessions to the schedule of an epoch, and the sample. On top of command, files."""

"""Events to sessions to the schedule of an epoch, and the sample. Imports files, command."""

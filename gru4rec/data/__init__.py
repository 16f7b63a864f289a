"""Events to sessions to the schedule of an epoch, and the bundled sample. Imports files, command."""

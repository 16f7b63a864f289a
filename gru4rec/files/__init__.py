"""Files that are written whole or not at all: writing, locks, checksums. On top of nothing."""

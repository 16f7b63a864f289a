"""Files that are written whole or not at all: writing, locks, checksums, .npz. Imports errors."""

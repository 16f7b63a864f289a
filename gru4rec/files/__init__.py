"""Files that are whole or not there: writing, locks, checksums, archives. Imports errors."""

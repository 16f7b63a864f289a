"""From options to the last checkpoint: loop, saving, resuming. Imports evaluation and below."""

"""From options to the last checkpoint: loop, saving, resuming. On top of evaluation."""

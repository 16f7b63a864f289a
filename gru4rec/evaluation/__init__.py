"""A model and test sessions to ranks and metrics. On top of checkpoint, engine."""

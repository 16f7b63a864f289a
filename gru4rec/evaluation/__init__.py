"""A model and test sessions to ranks and metrics. Imports checkpoint, engine and below."""

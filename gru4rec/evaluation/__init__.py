"""Evaluate a model on test sessions: ranks and metrics. On top of checkpoint, engine."""

"""Evaluates an exported graph on test events. On top of evaluation, export."""

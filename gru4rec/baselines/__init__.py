"""Recommenders without learning, ranked by the protocol of the model: `python -m gru4rec.baselines --help`."""

"""A run in pictures: what metrics.jsonl and the checkpoint say, as one page. `python -m gru4rec.report --help`."""

"""What a run writes: printed lines, metrics.jsonl, TensorBoard's files. On top of files."""

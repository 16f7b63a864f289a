"""What a run says: printed lines, metrics.jsonl, TensorBoard's files. On top of files."""

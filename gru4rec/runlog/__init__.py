"""What a run says: printed lines, metrics.jsonl (written and read), TensorBoard. Imports files."""

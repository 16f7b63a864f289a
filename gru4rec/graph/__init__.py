"""Builders of the TensorFlow graph: tensors and plain numbers in, tensors out; no session, no file, no flag."""

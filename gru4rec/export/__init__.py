"""A checkpoint -> files that serve without this package: frozen graphs, a SavedModel or ONNX (docs/export.md)."""

FORMATS = ("frozen_pb", "saved_model", "onnx")

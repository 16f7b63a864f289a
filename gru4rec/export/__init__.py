"""Graphs that serve without this package: written, read back. Imports checkpoint and graph."""

FORMATS = ("frozen_pb", "saved_model", "onnx")

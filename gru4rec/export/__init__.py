"""Graphs that serve without this package: writes and reads them. On top of checkpoint, graph."""

FORMATS = ("frozen_pb", "saved_model", "onnx")

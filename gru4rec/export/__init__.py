"""Graphs that serve without this package: writes and reads them. Imports checkpoint and graph."""

FORMATS = ("frozen_pb", "saved_model", "onnx")

"""Session-based recommendation with a GRU on CPU, GPU and Ascend NPU; importing this package needs no TensorFlow."""

__version__ = "0.1.0"

"""Session-based recommendation with a GRU, on CPU, GPU and Ascend NPU.

`gru4rec.load(checkpoint_directory)` returns a trained model to recommend with (recommend.model).
Importing this package needs no TensorFlow.
"""

from typing import TYPE_CHECKING

from gru4rec.version import __version__

__all__ = ["__version__", "load"]

if TYPE_CHECKING:
    from gru4rec.recommend.model import load
else:
    def __getattr__(name):
        if name == "load":
            from gru4rec.recommend.model import load
            return load
        raise AttributeError("module %r has no attribute %r" % (__name__, name))

"""Session-based recommendation with a GRU on CPU, GPU and Ascend NPU; importing this package needs
no TensorFlow.

`gru4rec.load(checkpoint_directory)` gives a model to recommend with (recommend.model).
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

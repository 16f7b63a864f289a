"""The one module that knows TensorFlow's versions: import `tf` from here, call `setup` once, forget which it is."""

import contextlib
import os
import re
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # C++ errors only, unless the user asked for more

with warnings.catch_warnings():  # TF 1.15 trips over numpy's FutureWarnings while it is imported
    warnings.simplefilter("ignore")
    import tensorflow.compat.v1 as tf

TF_VERSION = tuple(int(part) for part in re.findall(r"\d+", tf.__version__)[:3])
IS_TF2 = TF_VERSION >= (2,)

_ready = False


def setup():
    """Switch TensorFlow to graph mode with version 1 behaviour, and silence deprecation notes; call before any graph.

    The command and the test setup call it. A second call does nothing.
    """
    global _ready
    if _ready:
        return
    tf.logging.set_verbosity(tf.logging.ERROR)
    if IS_TF2:
        tf.disable_v2_behavior()
    _ready = True


@contextlib.contextmanager
def memory_errors():
    """Within it TensorFlow runs out of memory as Python does: with a MemoryError of one line."""
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        lines = str(error).strip().splitlines()
        raise MemoryError(next((line for line in lines if "OOM" in line), lines[0])) from None


def has_xla():
    """Whether `jit_function` works in this TensorFlow (2.6 or later)."""
    return TF_VERSION >= (2, 6)


def jit_function(fn):
    """`fn` compiled by XLA; calling it inside a graph adds one node.

    Args:
      fn: function of tensors (static shapes) to tensors.
    Raises: RuntimeError below TF 2.6; ask `has_xla` first.
    """
    if not has_xla():
        raise RuntimeError("TensorFlow %s cannot compile a loop; 2.6 or later can" % tf.__version__)
    import tensorflow
    return tensorflow.function(fn, jit_compile=True, autograph=False)

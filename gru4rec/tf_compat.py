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


def collective_ops():
    """TensorFlow's collective ops of graph mode, which have no public name."""
    from tensorflow.python.ops import collective_ops as found
    return found


def has_xla():
    """Whether `jit_function` works in this TensorFlow (2.6 or later)."""
    return TF_VERSION >= (2, 6)


def _one_order_of_sums():
    """Compiled products on a CPU give the same bits every time.

    TensorFlow 2.6 shares a compiled product among threads, and the order in which their parts are
    summed is that in which they end: one run in about ten differs in the last place, and a resumed
    run is no longer the uninterrupted one. One thread has one order. XLA reads its flags when it
    compiles for the first time. 2.15 and later have been seen to repeat their bits without it.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if TF_VERSION < (2, 15) and _EIGEN_THREADS not in flags:
        os.environ["XLA_FLAGS"] = (flags + " --" + _EIGEN_THREADS + "=false").strip()


_EIGEN_THREADS = "xla_cpu_multi_thread_eigen"


def jit_function(fn):
    """`fn` compiled by XLA; calling it inside a graph adds one node.

    Args:
      fn: function of tensors (static shapes) to tensors.
    Raises: RuntimeError below TF 2.6; ask `has_xla` first.
    """
    if not has_xla():
        raise RuntimeError("TensorFlow %s cannot compile a loop; 2.6 or later can" % tf.__version__)
    _one_order_of_sums()
    import tensorflow
    return tensorflow.function(fn, jit_compile=True, autograph=False)


def jit_part(fn):
    """`fn` compiled by XLA, to be called inside the body of a `tf.while_loop` of version 1.

    A `jit_function` called there for the first time ends up outside the loop; a concrete function does not.

    Args:
      fn: function of nested tuples and lists of tensors (static shapes) and None, to such.
    Raises: RuntimeError below TF 2.6.
    """
    import tensorflow

    def call(*args):
        flat = tensorflow.nest.flatten(args)
        places = [i for i, value in enumerate(flat) if value is not None]

        def of_tensors(*tensors):
            values = [None] * len(flat)
            for place, tensor in zip(places, tensors):
                values[place] = tensor
            return fn(*tensorflow.nest.pack_sequence_as(args, values))

        specs = [tensorflow.TensorSpec(flat[i].shape, flat[i].dtype.base_dtype) for i in places]
        return jit_function(of_tensors).get_concrete_function(*specs)(*[flat[i] for i in places])
    return call

"""The one module that knows TensorFlow's versions: import `tf` here, call `setup` once.

It also decides what TensorFlow may write to stderr. A command shows our lines and TensorFlow's
errors:

- TF_CPP_MIN_LOG_LEVEL=2 hides the information and warnings of TensorFlow's own log. A value that
  the user has set is kept; with 0 everything is shown, and the two points below do not apply.
- TensorFlow 2.16-2.20 logs some lines through absl, which does not read that variable ("MLIR V1
  optimization pass is not enabled", "Compiled cluster using XLA!", "Started server with target").
  `_set_level_of_absl` gives absl the same level.
- A few lines are written while TensorFlow is imported, before any level counts. While a command
  imports it, stderr goes through `_without_harmless_lines`, which drops the lines of `HARMLESS` and
  nothing else. A program that imports this package keeps its stderr as it is.

TF_ENABLE_ONEDNN_OPTS is left alone. 0 would hide oneDNN's line, and oneDNN changes nothing in
compiled training, but it makes some of the training that is not compiled faster
(benchmarks/results/onednn.json).

Not hidden: TensorFlow 2.15 writes "Compiled cluster using XLA!" and "SetPriority unimplemented"
once in the middle of a run; only the level that also hides errors would hide them.
"""

import contextlib
import ctypes
import mmap
import os
import re
import subprocess
import sys
import warnings

from gru4rec.command import invocation

# C++ errors only, unless the user asked for more
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# Patterns of whole lines; above each, which TensorFlow writes it and why it does not matter.
HARMLESS = (
    # absl, 2.15 and later: announces the first line that absl writes; says nothing by itself.
    r"WARNING: All log messages before absl::InitializeLog\(\) is called are written to STDERR",
    # 2.21, processors with AVX-512: which kernels are used. Written by two libraries.
    r"I\d{4} .*port\.cc:\d+\] oneDNN custom operations are on\. .*",
    # 2.15-2.20 built for GPUs: two libraries register the same plug-in; the first one is used.
    r".*E.* Unable to register cu(FFT|DNN|BLAS) factory: Attempting to register factory for plugin "
    r"cu(FFT|DNN|BLAS) when one has already been registered",
    # 2.18-2.20 built for GPUs: the same for the placement of computations.
    r".*[EW]\d{4} .*computation_placer\.cc:\d+\] computation placer already registered\..*",
)
# The program of the process that reads stderr during the import. It outlives a crash of this
# process, so no line is lost. It ignores signals that are sent to both, such as Ctrl-C, and ends
# when no writer is left.
_READER = r"""
import os, re, signal, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
    signal.signal(number, signal.SIG_IGN)
harmless, rest, data = re.compile(os.fsencode(sys.argv[1])), b"", b"-"
def put(text):
    try:
        while text:
            text = text[os.write(2, text):]
    except OSError:  # nobody reads; the writer must not wait for that
        pass
while data:
    data = os.read(0, 65536)
    lines = (rest + data).split(b"\n")
    rest = lines.pop()
    put(b"".join(line + b"\n" for line in lines if not harmless.match(line)))
put(rest)
"""


def _shows_everything():
    return os.environ["TF_CPP_MIN_LOG_LEVEL"].strip() in ("", "0")


@contextlib.contextmanager
def _without_harmless_lines():
    """In a command, drop the lines of `HARMLESS` from stderr; pass others on, in order, at once."""
    reader = None
    if invocation.is_running() and os.name == "posix" and not _shows_everything():
        with contextlib.suppress(OSError, ValueError):  # stderr is closed, or no process starts
            before = os.dup(2)
            words = [sys.executable, "-I", "-S", "-c", _READER, "(?:%s)$" % "|".join(HARMLESS)]
            try:
                reader = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
            except BaseException:
                os.close(before)
                raise
    if reader is None:
        yield
        return
    try:
        os.dup2(reader.stdin.fileno(), 2)
        reader.stdin.close()
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        with contextlib.suppress(subprocess.TimeoutExpired):  # until it has written what it read
            reader.wait(10)


# Symbol of absl::SetMinLogLevel in the library; the name contains absl's release.
_SET_MIN_LOG_LEVEL = rb"_ZN4absl\d+lts_\d+14SetMinLogLevelENS0_18LogSeverityAtLeastE(?=\0)"


def _set_level_of_absl():
    """Give absl the level of TF_CPP_MIN_LOG_LEVEL; at 2 and below errors are shown."""
    level = os.environ["TF_CPP_MIN_LOG_LEVEL"].strip()
    if not (2, 16) <= TF_VERSION < (2, 21) or level not in ("1", "2", "3"):
        return
    with contextlib.suppress(OSError, AttributeError):  # the library differs on another system
        library = os.path.join(os.path.dirname(sys.modules["tensorflow"].__file__),
                               "libtensorflow_framework.so.2")
        with open(library, "rb") as source, \
                mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as text:
            symbol = re.search(_SET_MIN_LOG_LEVEL, text)
            name = symbol.group().decode() if symbol else None
        if name:
            getattr(ctypes.CDLL(library), name)(ctypes.c_int(int(level)))


with warnings.catch_warnings(), _without_harmless_lines():
    warnings.simplefilter("ignore")  # numpy's FutureWarnings, at TF 1.15's import
    import tensorflow.compat.v1 as tf

TF_VERSION = tuple(int(part) for part in re.findall(r"\d+", tf.__version__)[:3])
IS_TF2 = TF_VERSION >= (2,)

_set_level_of_absl()
_ready = False


def setup():
    """Switch TensorFlow to graph mode with version 1 behaviour; silence its deprecation notes.

    Commands and the tests call it before any graph is built. A second call does nothing.
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
    """Within it, TensorFlow's out-of-memory error becomes a MemoryError with one line."""
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        lines = str(error).strip().splitlines()
        raise MemoryError(next((line for line in lines if "OOM" in line), lines[0])) from None


def collective_ops():
    """TensorFlow's module of collective ops for graph mode; it has no public name."""
    from tensorflow.python.ops import collective_ops as module
    return module


def has_xla():
    """Whether `jit_function` works in this TensorFlow (2.6 or later)."""
    return TF_VERSION >= (2, 6)


def _one_order_of_sums():
    """Make compiled matrix products on a CPU sum in one fixed order.

    TensorFlow 2.6 divides a compiled product among threads and sums their parts in the order in
    which they end. So about one run in ten differs in the last digit, and a resumed run is not
    equal to the uninterrupted one. One thread has one order. XLA reads its flags when it compiles
    for the first time. Other differences remain with 2.6 (docs/evidence/machines.md).
    TensorFlow 2.15 and later gave the same bits in all tests without this.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if TF_VERSION < (2, 15) and _EIGEN_THREADS not in flags:
        os.environ["XLA_FLAGS"] = (flags + " --" + _EIGEN_THREADS + "=false").strip()


_EIGEN_THREADS = "xla_cpu_multi_thread_eigen"


def jit_function(fn):
    """`fn` compiled by XLA; a call inside a graph adds one node.

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
    """`fn` compiled by XLA, for calls inside the body of a `tf.while_loop` of version 1.

    A `jit_function` that is first called there ends up outside the loop; a concrete function does
    not.

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

"""The one module that knows TensorFlow's versions: import `tf` here, call `setup` once.

What TensorFlow says on stderr is decided here. A command shows our lines and TensorFlow's errors:

- TF_CPP_MIN_LOG_LEVEL=2 hides the information and warnings of TensorFlow's own log. A value that is
  set already is kept; 0 shows everything, and then nothing of what follows is done.
- TensorFlow 2.16-2.20 logs part of its lines through absl, which does not know that variable ("MLIR
  V1 optimization pass is not enabled", "Compiled cluster using XLA!", "Started server with
  target"): absl is told the same level (`_level_of_absl`).
- A few lines are written while TensorFlow is imported, before any level counts. While a command
  imports it, stderr goes through `_without_harmless_lines`, which drops the lines of `HARMLESS` and
  nothing else. A program that imports this package keeps its stderr as it is.

TF_ENABLE_ONEDNN_OPTS is left alone: 0 would hide oneDNN's line, and oneDNN changes nothing in
compiled training, but it makes some that is not compiled faster (benchmarks/results/onednn.json).
Not hidden: TensorFlow 2.15 says "Compiled cluster using XLA!" and "SetPriority unimplemented" once,
in the middle of a run, where no level but the one that hides all errors reaches them.
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

# Patterns of whole lines. Each says which TensorFlow writes it, and why it is no news.
HARMLESS = (
    # absl, 2.15 and later: comes before the first line that absl writes; says nothing by itself.
    r"WARNING: All log messages before absl::InitializeLog\(\) is called are written to STDERR",
    # 2.21, processors with AVX-512: which kernels are used. Twice, for two libraries ask.
    r"I\d{4} .*port\.cc:\d+\] oneDNN custom operations are on\. .*",
    # 2.15-2.20 built for GPUs: two libraries register the same plug-in; the first stays.
    r".*E.* Unable to register cu(FFT|DNN|BLAS) factory: Attempting to register factory for plugin "
    r"cu(FFT|DNN|BLAS) when one has already been registered",
    # 2.18-2.20 built for GPUs: the same of the placement of computations.
    r".*[EW]\d{4} .*computation_placer\.cc:\d+\] computation placer already registered\..*",
)
# The program of the process that reads stderr meanwhile. It outlives a crash of this one, so no
# line is lost; a signal sent to both, such as Ctrl-C, is not for it. It ends with the last writer.
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
    """In a command, lines of `HARMLESS` do not come to stderr; others do, at once and in order."""
    reader = None
    if invocation.is_running() and os.name == "posix" and not _shows_everything():
        with contextlib.suppress(OSError, ValueError):  # closed stderr, or no process to be had
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
        with contextlib.suppress(subprocess.TimeoutExpired):  # what it has read comes first
            reader.wait(10)


# absl::SetMinLogLevel as the library names it, with absl's release in it.
_SET_MIN_LOG_LEVEL = rb"_ZN4absl\d+lts_\d+14SetMinLogLevelENS0_18LogSeverityAtLeastE(?=\0)"


def _level_of_absl():
    """Tell absl the level of TF_CPP_MIN_LOG_LEVEL; at 2 and below errors are shown."""
    level = os.environ["TF_CPP_MIN_LOG_LEVEL"].strip()
    if not (2, 16) <= TF_VERSION < (2, 21) or level not in ("1", "2", "3"):
        return
    with contextlib.suppress(OSError, AttributeError):  # another system or build
        library = os.path.join(os.path.dirname(sys.modules["tensorflow"].__file__),
                               "libtensorflow_framework.so.2")
        with open(library, "rb") as source, \
                mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as text:
            found = re.search(_SET_MIN_LOG_LEVEL, text)
            name = found.group().decode() if found else None
        if name:
            getattr(ctypes.CDLL(library), name)(ctypes.c_int(int(level)))


with warnings.catch_warnings(), _without_harmless_lines():
    warnings.simplefilter("ignore")  # numpy's FutureWarnings, at TF 1.15's import
    import tensorflow.compat.v1 as tf

TF_VERSION = tuple(int(part) for part in re.findall(r"\d+", tf.__version__)[:3])
IS_TF2 = TF_VERSION >= (2,)

_level_of_absl()
_ready = False


def setup():
    """Switch TensorFlow to graph mode with version 1 behaviour, and silence deprecation notes; call
    before any graph.

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
    """Compiled products on a CPU are summed in one order.

    TensorFlow 2.6 shares a compiled product among threads, and the order in which their parts are
    summed is that in which they end: one run in about ten differs in the last place, and a resumed
    run is no longer the uninterrupted one. One thread has one order. XLA reads its flags when it
    compiles for the first time. Other differences remain with 2.6 (docs/evidence/machines.md).
    2.15 and later have been seen to repeat their bits without it.
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

    A `jit_function` called there for the first time ends up outside the loop; a concrete function
    does not.

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

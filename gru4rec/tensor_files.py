"""Tensors in TensorFlow's V2 checkpoint files: arrays in, arrays out, no graph or variable of the model needed."""

import contextlib
import errno
import os
import re
import tempfile

import numpy as np

SHARD = ".data-00000-of-00001"
ENDINGS = (".index", SHARD)


def write(prefix, arrays):
    """Write `prefix`.index and its one shard; OSError if the disk refuses.

    Args:
      prefix: path. arrays: name -> array.
    """
    from gru4rec.tf_compat import tf
    with tf.Graph().as_default():
        placeholders = [tf.placeholder(a.dtype, a.shape) for a in arrays.values()]
        op = tf.raw_ops.SaveV2(prefix=_tf_path(prefix), tensor_names=list(arrays), shape_and_slices=[""] * len(arrays),
                               tensors=placeholders)
        with tf.Session(config=tf.ConfigProto(device_count={"GPU": 0})) as session:
            try:
                session.run(op, dict(zip(placeholders, arrays.values())))
            except tf.errors.ResourceExhaustedError as error:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
            except tf.errors.OpError as error:
                raise OSError(_reason(error)) from error


def _reason(error):
    """The line of TensorFlow's that says what was wrong; a whole page goes before it in version 2."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for before, line in zip(lines, lines[1:]) if before.startswith("Node:")), lines[0])


def read(prefix, shapes):
    """name -> array of every tensor in `shapes`.

    Args:
      prefix: path. shapes: name -> (shape, dtype).
    Raises: ValueError naming the first tensor that is missing or differs, or what TensorFlow says of the files.
    """
    from gru4rec.tf_compat import tf
    arrays = {}
    with _without_wildcards(prefix) as path:
        try:
            reader = tf.train.NewCheckpointReader(_tf_path(path))
            stored, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
            for name, (shape, dtype) in shapes.items():
                if name not in stored:
                    raise ValueError("tensor %s is missing" % name)
                if (tuple(stored[name]), dtypes[name].as_numpy_dtype) != (tuple(shape), dtype):
                    raise ValueError("tensor %s is of type and shape %s %s, the configuration says %s %s"
                                     % (name, dtypes[name].name, tuple(stored[name]), np.dtype(dtype), tuple(shape)))
                arrays[name] = np.asarray(reader.get_tensor(name))
        # TensorFlow has raised each of these on damaged files.
        except (tf.errors.OpError, RuntimeError, IndexError, KeyError, TypeError, UnicodeDecodeError, MemoryError) as error:
            lines = str(error).splitlines()
            raise ValueError("TensorFlow says %s" % (lines[0] if lines else type(error).__name__)) from error
    return arrays


def _tf_path(path):
    """A local path as TensorFlow must be told it: bytes, and absolute, so that no "s3:" in front means anything."""
    return os.fsencode(os.path.abspath(path))


@contextlib.contextmanager
def _without_wildcards(prefix):
    """A prefix of the same tensor files; another one where TensorFlow would read it as a pattern (`*`, `?`, `[`)."""
    if not re.search(r"[*?\[\\]", os.path.abspath(prefix)):
        yield prefix
        return
    with tempfile.TemporaryDirectory(prefix="gru4rec-") as plain:
        for ending in ENDINGS:
            os.symlink(os.path.abspath(prefix + ending), os.path.join(plain, "model" + ending))
        yield os.path.join(plain, "model")

"""Arrays -> files in TensorFlow's V2 checkpoint format, by TensorFlow.

`checkpoint.bundle_reader` reads them without TensorFlow.
"""

import errno
import os

from gru4rec.checkpoint import bundle_reader

ENDINGS = (bundle_reader.INDEX, bundle_reader.DATA)


def write(prefix, arrays):
    """Write `prefix`.index and its one shard; OSError if the disk refuses.

    Args:
      prefix: path. arrays: name -> array.
    """
    from gru4rec.tf_compat import tf
    with tf.Graph().as_default():
        placeholders = [tf.placeholder(a.dtype, a.shape) for a in arrays.values()]
        op = tf.raw_ops.SaveV2(prefix=_tf_path(prefix), tensor_names=list(arrays),
                               shape_and_slices=[""] * len(arrays), tensors=placeholders)
        with tf.Session(config=tf.ConfigProto(device_count={"GPU": 0})) as session:
            try:
                session.run(op, dict(zip(placeholders, arrays.values())))
            except tf.errors.ResourceExhaustedError as error:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
            except tf.errors.OpError as error:
                raise OSError(_reason(error)) from error


def _reason(error):
    """The line of TensorFlow's error text that says what was wrong.

    It is the first; in TensorFlow 2, the one after the line "Node: ...".
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    for before, line in zip(lines, lines[1:]):
        if before.startswith("Node:"):
            return line
    return lines[0]


def _tf_path(path):
    """A local path for TensorFlow: bytes, and absolute, so that even "s3:x" is local."""
    return os.fsencode(os.path.abspath(path))

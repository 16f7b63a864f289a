"""Arrays -> TensorFlow's V2 checkpoint files, by TensorFlow; `checkpoint.bundle_reader` reads them,
without it.
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
                               shape_and_slices=[""] * len(arrays),
                               tensors=placeholders)
        with tf.Session(config=tf.ConfigProto(device_count={"GPU": 0})) as session:
            try:
                session.run(op, dict(zip(placeholders, arrays.values())))
            except tf.errors.ResourceExhaustedError as error:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
            except tf.errors.OpError as error:
                raise OSError(_reason(error)) from error


def _reason(error):
    """The line of TensorFlow's that says what was wrong; a whole page goes before it in version 2.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for before, line in zip(lines, lines[1:]) if before.startswith("Node:")),
                lines[0])


def _tf_path(path):
    """A local path as TensorFlow must be told it: bytes, and absolute, so that no "s3:" in front
    means anything.
    """
    return os.fsencode(os.path.abspath(path))

"""CPU and GPU: TensorFlow as it is, with stateless random numbers."""

import math
import os

from gru4rec import tf_compat
from gru4rec.device import hashed
from gru4rec.device.base import Device, Missing
from gru4rec.tf_compat import tf


class _Host(Device):
    """What CPU and GPU share."""

    @property
    def xla(self):
        return tf_compat.has_xla()

    def random_int31(self, shape, seed, step, stream):
        word = hashed.bits(shape, seed, step, stream)
        return tf.bitwise.bitwise_and(word, tf.constant(2 ** 31 - 1))

    def _dropout(self, x, rate, seed, step, stream):
        # The top 23 bits of a word, as a number in [0, 1), are compared with the rate, but without
        # the conversion to float.
        least = min(math.ceil(rate * 2 ** 23) * 2 ** 9 - 2 ** 31, 2 ** 31 - 1)
        kept = hashed.bits(x.shape, seed, step, stream, self.workers) >= least
        return x * (tf.cast(kept, x.dtype) * (1.0 / (1.0 - rate)))


class Cpu(_Host):
    """The processor of this machine; GPUs are not touched."""

    name = "cpu"

    def session_config(self):
        return tf.ConfigProto(device_count={"GPU": 0})


class Gpu(_Host):
    """The first GPU that TensorFlow lists; memory is taken as needed."""

    name = "gpu"

    def session_config(self):
        config = tf.ConfigProto(allow_soft_placement=True)
        config.gpu_options.allow_growth = True
        return config


def open_gpu(reason):
    """Gpu if TensorFlow lists one.

    Raises: Missing, which says what is not there.
    """
    if list_gpus():
        return Gpu(reason)
    if not tf.test.is_built_with_cuda():
        raise Missing("gpu", "TensorFlow %s is built without CUDA" % tf.__version__,
                      "install a build for GPU, or use --device cpu")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        raise Missing("gpu", "TensorFlow sees no GPU while CUDA_VISIBLE_DEVICES is %r" % visible,
                      "name a GPU there or unset it, or use --device cpu")
    raise Missing("gpu", "TensorFlow %s lists no GPU" % tf.__version__,
                  "check that nvidia-smi lists one and that the CUDA libraries are installed, or "
                  "use --device cpu")


def list_gpus():
    """GPUs TensorFlow can use. Not to be called where an NPU is used: the adapter lacks it."""
    return tf.config.experimental.list_physical_devices("GPU")

"""Random numbers as a hash of (seed, stream, position, step): stateless, and nearly free inside a
compiled loop.

TensorFlow's own stateless kernels compile to much slower code. Only int32 operations that every
TensorFlow has: the bits are the same in TF 1.15 and TF 2, compiled or not.
"""

import numpy as np

from gru4rec.parallel.workers import ALONE
from gru4rec.tf_compat import tf


def bits(shape, seed, step, stream, workers=ALONE):
    """Whole numbers, uniform over all of int32.

    Each position has a random word of its own, fixed for a seed and stream; the words of a step are
    those, xor the hash of the step, hashed.

    Args:
      shape: static shape; as many words become a constant of the graph.
      seed: whole number, taken modulo 2**32.
      step: whole number or scalar int32/int64 tensor, taken modulo 2**32.
      stream: small whole number >= 0; streams of one seed are independent.
      workers: parallel.workers.Workers whose rows lie one below the other; `shape` is that of one,
      and this one's are returned.
    Returns: int32 tensor.
    """
    shape = [int(d) for d in shape]
    random = np.random.RandomState([seed % 2 ** 32, stream])
    words = random.randint(-2 ** 31, 2 ** 31,
                           size=[shape[0] * workers.size] + shape[1:] if shape else shape,
                           dtype=np.int64)
    if workers.size > 1:
        words = words[workers.rank * shape[0]:(workers.rank + 1) * shape[0]]
    step = tf.cast(tf.convert_to_tensor(step), tf.int32)
    return _mix(tf.bitwise.bitwise_xor(tf.constant(words, tf.int32), _mix(step)))


def _mix(x):
    """The finaliser `lowbias32` of Wellons' hash prospector: bijective, every input bit moves every
    output bit.
    """
    x = _xorshift(x, 16) * _int32(0x21f0aaad)
    x = _xorshift(x, 15) * _int32(0x735a2d97)
    return _xorshift(x, 15)


def _xorshift(x, n):
    """x xor (x >> n), the shift bringing in zeros (that of int32 brings in the sign)."""
    low = tf.constant(2 ** (32 - n) - 1, tf.int32)
    return tf.bitwise.bitwise_xor(x,
                                  tf.bitwise.bitwise_and(tf.bitwise.right_shift(x, tf.constant(n)),
                                                         low))


def _int32(word):
    return tf.constant(np.uint32(word).astype(np.int32))

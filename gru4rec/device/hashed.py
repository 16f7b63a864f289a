"""Random numbers as a hash of seed, stream, position and step: stateless and cheap.

TensorFlow's own stateless random ops become much slower code in a compiled loop. This hash uses
only int32 operations that every TensorFlow has, so the bits are the same in TensorFlow 1.15 and 2,
compiled or not.
"""

import numpy as np

from gru4rec.parallel.workers import ALONE
from gru4rec.tf_compat import tf


def bits(shape, seed, step, stream, workers=ALONE):
    """Whole numbers, uniform over all of int32.

    Each position has a random word that is fixed for a seed and stream. The words of a step are
    these words, xor the hash of the step, hashed.

    Args:
      shape: static shape; a constant of this size is added to the graph.
      seed: whole number, taken modulo 2**32.
      step: whole number or scalar int32/int64 tensor, taken modulo 2**32.
      stream: small whole number >= 0; streams of one seed are independent.
      workers: parallel.workers.Workers, whose rows are stacked in order of rank. `shape` is that
        of one worker, and its own rows are returned.
    Returns: int32 tensor.
    """
    shape = whole_shape = [int(d) for d in shape]
    if workers.size > 1:
        whole_shape = [shape[0] * workers.size] + shape[1:]
    random = np.random.RandomState([seed % 2 ** 32, stream])
    words = random.randint(-2 ** 31, 2 ** 31, size=whole_shape, dtype=np.int64)
    if workers.size > 1:
        words = words[workers.rank * shape[0]:(workers.rank + 1) * shape[0]]
    step = tf.cast(tf.convert_to_tensor(step), tf.int32)
    return _mix(tf.bitwise.bitwise_xor(tf.constant(words, tf.int32), _mix(step)))


def _mix(x):
    """The hash function `lowbias32` of Chris Wellons' hash prospector.

    It is bijective, and every input bit changes every output bit.
    """
    x = _xorshift(x, 16) * _int32(0x21f0aaad)
    x = _xorshift(x, 15) * _int32(0x735a2d97)
    return _xorshift(x, 15)


def _xorshift(x, n):
    """x xor (x >> n), with zeros shifted in; the shift of int32 would repeat the sign."""
    low = tf.constant(2 ** (32 - n) - 1, tf.int32)
    shifted = tf.bitwise.right_shift(x, tf.constant(n))
    return tf.bitwise.bitwise_xor(x, tf.bitwise.bitwise_and(shifted, low))


def _int32(word):
    return tf.constant(np.uint32(word).astype(np.int32))

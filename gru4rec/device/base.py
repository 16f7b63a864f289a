"""What the engine may ask of a device."""

from dataclasses import dataclass
from typing import ClassVar, Optional

from gru4rec.errors import DeviceError
from gru4rec.parallel.communicator import NOBODY_ELSE, Communicator
from gru4rec.tf_compat import tf

NUM_STREAMS = 1024  # independent random streams of a run: one for the dropout of each layer, and
EMBED_DROPOUT_STREAM, NEGATIVES_STREAM = NUM_STREAMS - 2, NUM_STREAMS - 1
# odd, so streams of one seed never meet; large, so neighbouring seeds do not either
_STREAM_STRIDE = 0x9E3779B1


class Missing(DeviceError):
    """A device that cannot be had: what is missing, and what mends it."""

    def __init__(self, device, what, mend):
        super().__init__("device %s: %s; %s" % (device, what, mend))
        self.what = what


def stream_seed(seed, stream):
    """Seed of one stream: whole number in [-2**31, 2**31), distinct for each stream of a seed.

    Args:
      seed: whole number; equal modulo 2**32 means equal.
      stream: 0 <= stream < NUM_STREAMS.
    """
    if not 0 <= stream < NUM_STREAMS:
        raise ValueError("random stream %r is not in [0, %d)" % (stream, NUM_STREAMS))
    return (int(seed) + stream * _STREAM_STRIDE + 2 ** 31) % 2 ** 32 - 2 ** 31


@dataclass(frozen=True, eq=False)
class Device:
    """One device; immutable. Subclasses fill in what differs.

    reason: why it was chosen.
    communicator: speaks with the processes this one trains together with; `workers` says how many
    they are.
    name: "npu" | "gpu" | "cpu".
    use_resource: kind of variables, for `tf.get_variable(use_resource=...)`.
    default_steps_per_run: training steps per `session.run`; None lets the engine tune it.
    conservative_optimizer: True asks for the stock optimizer graph, one step per run, and static
    shapes in all of it.
    loops: whether `loop` makes the device repeat an op by itself.
    stateless: whether random numbers are functions of (seed, step, stream), so that a resumed
    run repeats."""

    reason: str
    communicator: Communicator = NOBODY_ELSE

    name: ClassVar[str]
    use_resource: ClassVar[bool] = True
    default_steps_per_run: ClassVar[Optional[int]] = None
    conservative_optimizer: ClassVar[bool] = False
    stateless: ClassVar[bool] = True
    loops: ClassVar[bool] = False

    @property
    def workers(self):
        """parallel.workers.Workers of the processes that train together."""
        return self.communicator.workers

    @property
    def xla(self):
        """Whether the training loop may be compiled by XLA."""
        return False

    def session_config(self):
        """A new tf.ConfigProto for every session on this device."""
        raise NotImplementedError

    def random_uniform(self, shape, seed, step, stream):
        """Uniform numbers for one step.

        Args:
          shape: static shape.
          seed: whole number, the run's seed.
          step: whole number or scalar int32/int64 tensor; both types give the same bits.
          stream: 0 <= stream < NUM_STREAMS; users that must be independent take different streams.
        Returns: float32 in [0, 1), multiples of 2**-23 where `stateless`.
        """
        raise NotImplementedError

    def random_int31(self, shape, seed, step, stream):
        """Whole numbers for one step, uniform over [0, 2**31).

        Args: as of `random_uniform`.
        Returns: int32. Made of two uniform numbers unless the device has better.
        """
        halves = self.random_uniform([2] + list(shape), seed, step, stream)
        high, low = [tf.cast(tf.floor(halves[i] * 2.0 ** bits), tf.int32) for i,
                     bits in enumerate((15, 16))]
        return high * 2 ** 16 + low

    def dropout(self, x, rate, seed, step, stream):
        """Inverted dropout: each element is 0 with probability `rate`, else x / (1 - rate).

        Args:
          x: float tensor of static shape.
          rate: 0 <= rate < 1; 0 returns `x` itself.
          seed, step, stream: as in `random_uniform`.
        Returns: tensor like `x`.
        """
        if not 0 <= rate < 1:
            raise ValueError("dropout rate %r is not in [0, 1)" % (rate,))
        return self._dropout(x, rate, seed, step, stream) if rate else x

    def _dropout(self, x, rate, seed, step, stream):
        raise NotImplementedError

    def wrap_optimizer(self, opt):
        """The optimizer as this device wants it."""
        return opt

    def no_overflow(self, gradients):
        """Whether nothing overflowed while `gradients` were computed, as a bool scalar, on a device
        whose overflows leave no infinity; None elsewhere.
        """
        return None

    def loop(self, session, op, steps):
        """An op that makes the device run `op` so many times; built after all variables have their
        values.

        What is fetched with it is that of the last time. Only where `loops`.
        """
        raise NotImplementedError

    def without_loop(self):
        """The device for sessions that make no such loop, such as those of an evaluation."""
        return self

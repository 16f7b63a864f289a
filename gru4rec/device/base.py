"""What the rest of the package may ask of a device."""

from dataclasses import dataclass
from typing import ClassVar

from gru4rec.errors import DeviceError
from gru4rec.parallel.communicator import NOBODY_ELSE, Communicator

# Independent streams of random numbers in a run: stream i is for the dropout of layer i; the last
# two are for the dropout of the input rows and for drawn negatives.
NUM_STREAMS = 1024
EMBED_DROPOUT_STREAM, NEGATIVES_STREAM = NUM_STREAMS - 2, NUM_STREAMS - 1
# Odd, so that streams of one seed never meet; large, so that those of close seeds do not either.
_STREAM_STRIDE = 0x9E3779B1


class Missing(DeviceError):
    """A device that cannot be used: what is missing, and how to fix it."""

    def __init__(self, device, what, fix):
        super().__init__("device %s: %s; %s" % (device, what, fix))
        self.what = what


def stream_seed(seed, stream):
    """Seed of one stream: a whole number in [-2**31, 2**31), different for each stream of a seed.

    Args:
      seed: whole number; seeds that are equal modulo 2**32 are the same seed.
      stream: 0 <= stream < NUM_STREAMS.
    """
    if not 0 <= stream < NUM_STREAMS:
        raise ValueError("random stream %r is not in [0, %d)" % (stream, NUM_STREAMS))
    return (int(seed) + stream * _STREAM_STRIDE + 2 ** 31) % 2 ** 32 - 2 ** 31


@dataclass(frozen=True, eq=False)
class Device:
    """One device; immutable. Subclasses define what differs between devices.

    reason: why this device was chosen, for the log.
    communicator: exchanges tensors with the other processes of the run; `workers` says how many
      there are.
    name: "npu" | "gpu" | "cpu".
    use_resource: kind of TensorFlow variables, as in `tf.get_variable(use_resource=...)`.
    conservative_optimizer: True if the device needs TensorFlow's own optimizer graph, one step per
      run, and static shapes everywhere.
    loops: True if the device can repeat an op by itself (`loop`).
    stateless: True if random numbers are functions of (seed, step, stream), so that a resumed run
      draws the same ones.
    """

    reason: str
    communicator: Communicator = NOBODY_ELSE

    name: ClassVar[str]
    use_resource: ClassVar[bool] = True
    conservative_optimizer: ClassVar[bool] = False
    stateless: ClassVar[bool] = True
    loops: ClassVar[bool] = False

    @property
    def workers(self):
        """parallel.workers.Workers: the processes that train together."""
        return self.communicator.workers

    @property
    def xla(self):
        """Whether XLA may compile the training loop."""
        return False

    def session_config(self):
        """A new tf.ConfigProto; every session on this device is opened with one."""
        raise NotImplementedError

    def random_int31(self, shape, seed, step, stream):
        """Random whole numbers of one step, uniform over [0, 2**31).

        Args:
          shape: static shape.
          seed: whole number, the seed of the run.
          step: whole number or scalar int32/int64 tensor; each of them gives the same bits.
          stream: 0 <= stream < NUM_STREAMS. Uses that must be independent take different streams.
        Returns: int32 tensor.
        """
        raise NotImplementedError

    def dropout(self, x, rate, seed, step, stream):
        """Inverted dropout: each element becomes 0 with probability `rate`, else x / (1 - rate).

        Args:
          x: float tensor of static shape.
          rate: dropout probability, 0 <= rate < 1; with 0, `x` itself is returned.
          seed, step, stream: as in `random_int31`.
        Returns: tensor like `x`.
        """
        if not 0 <= rate < 1:
            raise ValueError("dropout rate %r is not in [0, 1)" % (rate,))
        return self._dropout(x, rate, seed, step, stream) if rate else x

    def _dropout(self, x, rate, seed, step, stream):
        raise NotImplementedError

    def no_overflow(self, gradients):
        """True if computing `gradients` overflowed nowhere: a bool scalar tensor.

        Only for devices on which an overflow leaves no infinity; None on all others.
        """
        return None

    def loop(self, session, op, steps):
        """An op that makes the device run `op` `steps` times. Only where `loops` is True.

        Build it after all variables have their values. What is fetched together with it comes from
        the last repetition.
        """
        raise NotImplementedError

    def without_loop(self):
        """This device for sessions that have no such loop, for example those of an evaluation."""
        return self

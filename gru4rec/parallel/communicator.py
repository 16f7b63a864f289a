"""How processes that train together exchange tensors: the interface, and a process that is alone.

`device.npu.Hccl` implements it with the Ascend adapter, `parallel.collectives.Collectives` with
TensorFlow's own runtime.
"""

from gru4rec.parallel.workers import ALONE
from gru4rec.tf_compat import tf


class Communicator:
    """What the step, the engines and the devices may call; here for one process alone: no exchange.

    workers: parallel.workers.Workers, how many processes there are, and which one this is.
    same_samples: whether all workers draw the same negatives in a step.
    exchange: None, or function (JSON value) -> list of the values of all workers.
    """

    workers = ALONE
    same_samples = True
    exchange = None

    def all_reduce(self, tensor):
        """The sum of a tensor over the workers."""
        return tensor

    def all_gather(self, tensor):
        """The tensors of all workers one below the other, in their order; of static shape."""
        return tensor

    def broadcast(self, tensors):
        """The tensors of worker 0, as a list."""
        return list(tensors)

    def on_all_workers(self, flag):
        """Whether a bool scalar is true on every worker."""
        if self.workers.size == 1:
            return flag
        return tf.equal(self.all_reduce(tf.cast(tf.logical_not(flag), tf.float32)), 0.0)

    def session(self, graph, config):
        """A tf.Session in which the collectives of a graph work."""
        return tf.Session(graph=graph, config=config)

    def run(self, call):
        """What `call()` returns, which waits for all workers; an error if one of them is gone."""
        return call()


class Several(Communicator):
    """What the communicators of more than one process have in common."""

    def __init__(self, workers):
        self.workers = workers

    def all_gather(self, tensor):
        shape = tensor.shape.as_list()
        gathered = self._all_gather(tensor)
        # an adapter's op leaves it open
        gathered.set_shape([shape[0] * self.workers.size] + shape[1:])
        return gathered

    def _all_gather(self, tensor):
        raise NotImplementedError


NOBODY_ELSE = Communicator()

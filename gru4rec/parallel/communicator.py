"""How processes that train together see each other's tensors: the one seam, and the process that is
alone.

`device.npu.Hccl` speaks through the Ascend adapter, `parallel.collectives.Collectives` through
TensorFlow's own runtime."""

from gru4rec.parallel.workers import ALONE
from gru4rec.tf_compat import tf


class Communicator:
    """What the step, the engines and the devices may ask; here of one process alone, for which
    nothing is to be done.

    workers: parallel.workers.Workers: how many processes there are, and which this is.
    same_samples: whether the negatives that ranks draw in one step are the same on all.
    """

    workers = ALONE
    same_samples = True
    exchange = None  # where there is one: function (JSON value) -> list of the values of all ranks

    def all_reduce(self, tensor):
        """The sum of a tensor over the ranks."""
        return tensor

    def all_gather(self, tensor):
        """The tensors of all ranks one below the other, in rank order; of static shape."""
        return tensor

    def broadcast(self, tensors):
        """The tensors of rank 0, as a list."""
        return list(tensors)

    def on_all_ranks(self, flag):
        """Whether a bool scalar is true on every rank."""
        if self.workers.size == 1:
            return flag
        return tf.equal(self.all_reduce(tf.cast(tf.logical_not(flag), tf.float32)), 0.0)

    def session(self, graph, config):
        """A tf.Session in which the collectives of a graph work."""
        return tf.Session(graph=graph, config=config)

    def run(self, call):
        """What `call()` returns, a function that waits for all ranks; where one may be gone, it is
        said.
        """
        return call()


class Several(Communicator):
    """What those for more than one process share."""

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

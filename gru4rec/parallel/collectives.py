"""Several processes on TensorFlow's own distributed runtime: gRPC servers and collective ops.

TensorFlow does all the sending. When a process dies, TensorFlow 2 fails the call that waits for it,
but TensorFlow 1.15 waits forever. So a call runs in a thread of its own, and the main thread looks
whether the other processes still listen when a call takes long. A call that does not finish changes
nothing: all updates of a step wait for its collectives.
"""

import json
import os
import threading
import time

import numpy as np

from gru4rec.errors import ClusterError
from gru4rec.parallel.communicator import Several
from gru4rec.tf_compat import collective_ops, tf

GROUP = 1  # the one group of collectives: all workers
PATIENCE = 2.0  # seconds a call may take before this process looks whether the others listen
# seconds for TensorFlow to report an error itself, and for others to see that this process lives
GRACE = 3.0


def _past_the_proxy(tasks):
    """Make gRPC reach the processes of a cluster directly, without the proxy of the web.

    It would use the proxy of http_proxy or https_proxy. Whoever wants a proxy between the processes
    sets grpc_proxy; then nothing is changed.
    """
    if os.environ.get("grpc_proxy"):
        return
    excepted = os.environ.get("no_grpc_proxy") or os.environ.get("no_proxy") or ""
    hosts = [host for host in excepted.split(",") if host]
    for address in ["localhost:0"] + [task.address for task in tasks]:
        host = address.rpartition(":")[0].strip("[]")
        if host not in hosts:
            hosts.append(host)
    os.environ["no_grpc_proxy"] = ",".join(hosts)


class Collectives(Several):
    """Communicator of a parallel.cluster.Cluster.

    Its server runs as long as the process, because TensorFlow cannot stop one.

    broken: whether a call was given up. From then on sessions may wait forever.
    """

    def __init__(self, cluster, timeout, config):
        """Start the server of this process.

        Args:
          timeout: seconds to wait for processes that do not come, or do not go on.
          config: tf.ConfigProto of the device.
        Raises: ClusterError if this process cannot listen at its port.
        """
        super().__init__(cluster.workers)
        self._cluster, self._timeout, self._keys = cluster, timeout, 0
        # gRPC sends from there
        self._place = "/job:%s/task:%d/device:CPU:0" % (cluster.own.job, cluster.own.index)
        self.broken = False
        _past_the_proxy(cluster.tasks)
        try:
            self._server = tf.train.Server(tf.train.ClusterSpec(cluster.addresses()),
                                           job_name=cluster.own.job,
                                           task_index=cluster.own.index,
                                           config=self._complete(config))
        except tf.errors.OpError as error:
            raise ClusterError("%s cannot listen at its address (%s); is the port taken?"
                               % (cluster.own, " ".join(str(error).split())[:120])) from None

    def _complete(self, config):
        first, own = self._cluster.tasks[0], self._cluster.own
        config.experimental.collective_group_leader = ("/job:%s/replica:0/task:%d"
                                                       % (first.job, first.index))
        config.device_filters.append("/job:%s/task:%d" % (own.job, own.index))
        return config

    def all_reduce(self, tensor):
        with tf.device(self._place):
            return collective_ops().all_reduce(tf.identity(tensor), self.workers.size, GROUP,
                                               self._key(), "Add", "Id")

    def _all_gather(self, tensor):
        with tf.device(self._place):
            return collective_ops().all_gather(tf.identity(tensor), self.workers.size, GROUP,
                                               self._key())

    def broadcast(self, tensors):
        """The tensors of worker 0, as sums to which the other workers add zeros."""
        if self.workers.rank:
            tensors = [tf.zeros_like(tensor) for tensor in tensors]
        return [self.all_reduce(tensor) for tensor in tensors]

    def _key(self):
        """The number of the next collective; workers build the same graphs, so they agree on it."""
        self._keys += 1
        return self._keys

    def session(self, graph, config):
        return tf.Session(self._server.target, graph=graph, config=self._complete(config))

    def run(self, call):
        """What `call()` returns.

        Raises: ClusterError naming the process that is gone, or saying that nothing has moved for
          --cluster_timeout; the call is then given up.
        """
        if self.broken:
            raise ClusterError("the cluster is broken")
        done, result = _begun(call)
        began = time.monotonic()
        while not done.wait(PATIENCE):
            gone = self._cluster.gone()
            if gone and not done.wait(GRACE):
                self.broken = True
                raise self._cluster.lost(gone)
            if time.monotonic() - began > self._timeout:
                self.broken = True
                raise ClusterError("there was no progress for --cluster_timeout %g s, though all "
                                   "processes listen: one of them hangs; stop all and start them "
                                   "again with --resume 1" % self._timeout)
        error = result.get("error")
        if error is None:
            return result["value"]
        errors = tf.errors
        if isinstance(error, (errors.UnavailableError, errors.CancelledError, errors.AbortedError,
                              errors.InternalError, errors.DeadlineExceededError)):
            self.broken = True
            raise self._explained(error)
        raise error

    @staticmethod
    def within(seconds, call):
        """What `call()` returns, which waits for no other process.

        Raises: ClusterError if it takes longer.
        """
        done, result = _begun(call)
        if not done.wait(seconds):
            raise ClusterError("TensorFlow gave no answer for %g s" % seconds)
        if "error" in result:
            raise result["error"]
        return result["value"]

    def _explained(self, error):
        until = time.monotonic() + GRACE
        while time.monotonic() < until:  # its port may stay open for a moment
            gone = self._cluster.gone()
            if gone:
                return self._cluster.lost(gone)
            time.sleep(0.1)
        return ClusterError("the connection between the processes broke (%s)"
                            % " ".join(str(error).split())[:160])

    def wait(self, check=lambda: None):
        """Wait until all processes have come; see parallel.cluster.Cluster.wait."""
        self._cluster.wait(self._timeout, check)

    def leave(self):
        """Wait until every worker calls this: then none needs this process any more.

        An error no longer matters.
        """
        try:
            self.exchange("bye")
            time.sleep(0.3)  # the last tensors may still be on their way
        except ClusterError:
            pass

    def linger(self):
        """Wait a moment before this process ends, so that others see which one went first."""
        time.sleep(2 * GRACE)

    def name(self, rank):
        """The worker of a rank, as messages name it."""
        return str(self._cluster.tasks[rank])

    def exchange(self, value):
        """The values of all workers, as a list in the order of their ranks.

        value: anything that json can write.
        """
        content = np.frombuffer(json.dumps(value).encode("ascii"), np.uint8).astype(np.int32)
        longest = int(self._gather(np.array([len(content)], np.int32)).max())
        rows = self._gather(np.pad(content, (0, longest - len(content)), "constant",
                                   constant_values=32)[None])
        return [json.loads(bytes(row.astype(np.uint8)).decode("ascii")) for row in rows]

    def gather(self, array):
        """The arrays of all workers, as a list; they may differ in their first dimension."""
        array = np.asarray(array)
        counts = self._gather(np.array([len(array)], np.int32))
        padded = np.zeros((int(counts.max()),) + array.shape[1:], array.dtype)
        padded[:len(array)] = array
        return [rows[:count] for rows, count in zip(self._gather(padded[None]), counts)]

    def shared(self, array):
        """The array of worker 0, on every worker; the others give one of its shape and type."""
        return self._once(lambda value: self.broadcast([value])[0], np.asarray(array))

    def _gather(self, array):
        return self._once(self.all_gather, array)

    def _once(self, operation, array):
        graph = tf.Graph()
        with graph.as_default():
            value_ph = tf.placeholder(array.dtype, array.shape)
            if array.ndim:
                result = operation(value_ph)
            else:  # has no dimension to gather along
                result = operation(value_ph[None])[0]
        session = self.session(graph, tf.ConfigProto(device_count={"GPU": 0}))
        value = self.run(lambda: session.run(result, {value_ph: array}))
        session.close()  # not reached if the call was given up: closing could wait for it
        return value


def _begun(call):
    """Run a call in a thread of its own.

    Returns: (threading.Event of its end, dict that then holds its `value` or `error`).
    """
    done, result = threading.Event(), {}

    def job():
        try:
            result["value"] = call()
        except BaseException as error:  # raised where it was asked for
            result["error"] = error
        done.set()

    threading.Thread(target=job, daemon=True).start()
    return done, result

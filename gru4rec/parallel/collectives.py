"""Several processes on TensorFlow's own distributed runtime: gRPC servers, and collective ops in
their sessions.

Nothing here is of our own on the wire. A process that dies makes TensorFlow 2 fail the call that
waits for it; TensorFlow 1.15 waits forever. So a call runs beside the main thread, which looks
whether the others still listen when it
takes long. What a call has not finished never happened: all updates of a step wait for its
collectives."""

import json
import os
import threading
import time

import numpy as np

from gru4rec.errors import ClusterError
from gru4rec.parallel.communicator import Several
from gru4rec.tf_compat import collective_ops, tf

GROUP = 1  # the one group of collectives: all ranks
PATIENCE = 2.0  # seconds a call may take before the others are looked at
# seconds for TensorFlow to say itself what went wrong, and for others to see that this process
# still lives
GRACE = 3.0


def _past_the_proxy(tasks):
    """Processes of a cluster, this machine among them, are reached past a proxy for the web.

    gRPC would ask the proxy of http_proxy or https_proxy for them. Who wants one between the
    processes sets grpc_proxy, and then nothing is changed.
    """
    if os.environ.get("grpc_proxy"):
        return
    given = os.environ.get("no_grpc_proxy") or os.environ.get("no_proxy") or ""
    hosts = [host for host in given.split(",") if host]
    for address in ["localhost:0"] + [task.address for task in tasks]:
        host = address.rpartition(":")[0].strip("[]")
        if host not in hosts:
            hosts.append(host)
    os.environ["no_grpc_proxy"] = ",".join(hosts)


class Collectives(Several):
    """Communicator of a parallel.cluster.Cluster; the server runs as long as the process
    (TensorFlow cannot stop one).
    """

    def __init__(self, cluster, timeout, config):
        """timeout: seconds to wait for processes that do not come, or do not go on. config:
        tf.ConfigProto of the device.

        Raises: ClusterError if the port of this process cannot be had.
        """
        super().__init__(cluster.workers)
        self._cluster, self._timeout, self._keys = cluster, timeout, 0
        # what gRPC sends lies there
        self._place = "/job:%s/task:%d/device:CPU:0" % (cluster.own.job, cluster.own.index)
        self.broken = False  # whether a call was given up: sessions may hang from then on
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
        """By sums: ranks other than 0 add zeros."""
        return [self.all_reduce(tensor if self.workers.rank == 0 else tf.zeros_like(tensor))
                for tensor in tensors]

    def _key(self):
        """A number that all ranks give the same collective: they build the same graphs in the same
        order.
        """
        self._keys += 1
        return self._keys

    def session(self, graph, config):
        return tf.Session(self._server.target, graph=graph, config=self._complete(config))

    def run(self, call):
        """What `call()` returns.

        Raises: ClusterError naming who is gone, or that nothing moved for --cluster_timeout; the
        call is given up."""
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
                raise ClusterError("nothing has moved for --cluster_timeout %g s, though all "
                                   "processes listen: one of them "
                                   "hangs; stop all and start them again with --resume 1"
                                   % self._timeout)
        error = result.get("error")
        if error is None:
            return result["value"]
        if isinstance(error,
                      (tf.errors.UnavailableError, tf.errors.CancelledError, tf.errors.AbortedError,
                              tf.errors.InternalError, tf.errors.DeadlineExceededError)):
            self.broken = True
            raise self._explained(error)
        raise error

    @staticmethod
    def within(seconds, call):
        """What `call()`, which waits for no other process, returns; ClusterError if that takes
        longer.
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
        """Until all processes have come; see parallel.cluster.Cluster.wait."""
        self._cluster.wait(self._timeout, check)

    def leave(self):
        """Wait until every rank has come here: then none needs this process any more. What goes
        wrong matters no more.
        """
        try:
            self.exchange("bye")
            time.sleep(0.3)  # the last tensors may still be on their way
        except ClusterError:
            pass

    def linger(self):
        """Wait a moment before this process ends, so that the others can tell it from the one that
        is gone.
        """
        time.sleep(2 * GRACE)

    def name(self, rank):
        """A rank as messages name it."""
        return str(self._cluster.tasks[rank])

    def exchange(self, value):
        """What every rank has to say: list of JSON values in rank order.

        Args:
          value: what json can write.
        """
        content = np.frombuffer(json.dumps(value).encode("ascii"), np.uint8).astype(np.int32)
        longest = int(self._gather(np.array([len(content)], np.int32)).max())
        rows = self._gather(np.pad(content, (0, longest - len(content)), "constant",
                                   constant_values=32)[None])
        return [json.loads(bytes(row.astype(np.uint8)).decode("ascii")) for row in rows]

    def gather(self, array):
        """Arrays of all ranks, which may differ in their first dimension, as a list."""
        array = np.asarray(array)
        counts = self._gather(np.array([len(array)], np.int32))
        padded = np.zeros((int(counts.max()),) + array.shape[1:], array.dtype)
        padded[:len(array)] = array
        every = self._gather(padded[None])
        return [rows[:count] for rows, count in zip(every, counts)]

    def shared(self, array):
        """An array of rank 0, on every rank; the others give one of its shape and type."""
        return self._once(lambda value: self.broadcast([value])[0], np.asarray(array))

    def _gather(self, array):
        return self._once(self.all_gather, array)

    def _once(self, operation, array):
        graph = tf.Graph()
        with graph.as_default():
            value_ph = tf.placeholder(array.dtype, array.shape)
            result = operation(value_ph if array.ndim else value_ph[None])
            result = result if array.ndim else result[0]
        session = self.session(graph, tf.ConfigProto(device_count={"GPU": 0}))
        value = self.run(lambda: session.run(result, {value_ph: array}))
        session.close()  # not that of a call that was given up: it may wait for that call
        return value


def _begun(call):
    """(threading.Event of its end, dict that then has its `value` or `error`) of a call in a thread
    of its own.
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

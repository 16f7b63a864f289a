"""Which processes train together on TensorFlow's own runtime, read from TF_CONFIG.

The standard environment variable of each process looks like this:

    {"cluster": {"worker": ["a:2222", "b:2222"]}, "task": {"type": "worker", "index": 0}}

Rank 0 is the chief where there is one, else worker 0; the others follow in the order of the lists.
This module does not import TensorFlow.
"""

import contextlib
import json
import logging
import os
import re
import socket
import time
from typing import NamedTuple, Tuple

from gru4rec.command.process import end_process
from gru4rec.errors import ClusterError, ConfigError
from gru4rec.parallel.workers import Workers

_log = logging.getLogger(__name__)

VARIABLE = "TF_CONFIG"
_JOBS = ("chief", "worker")
_EXAMPLE = '{"cluster": {"worker": ["a:2222", "b:2222"]}, "task": {"type": "worker", "index": 0}}'


class Task(NamedTuple):
    """One process of a cluster."""

    job: str
    index: int
    address: str  # host:port

    def __str__(self):
        return "%s %d (%s)" % self


class Cluster(NamedTuple):
    """All processes in the order of their ranks, and the rank of this one."""

    tasks: Tuple[Task, ...]
    rank: int

    @property
    def workers(self):
        """How many processes there are, and which one this is."""
        return Workers(len(self.tasks), self.rank)

    @property
    def own(self):
        """The Task of this process."""
        return self.tasks[self.rank]

    def addresses(self):
        """Job -> list of addresses, as tf.train.ClusterSpec takes it."""
        addresses = {}
        for task in self.tasks:
            addresses.setdefault(task.job, []).append(task.address)
        return addresses

    def wait(self, timeout, check=lambda: None):
        """Wait until every other process listens at its address.

        Args:
          timeout: seconds. check: function called now and then, which may raise.
        Raises: ClusterError naming the processes that did not come.
        """
        until, next_line = time.monotonic() + timeout, time.monotonic() + 5
        missing = self._others()
        while True:
            missing = [task for task in missing if not listens(task.address)]
            if not missing:
                return
            if time.monotonic() >= until:
                raise ClusterError("%s did not start within --cluster_timeout %g s; start it with "
                                   "the same cluster and its own task in TF_CONFIG, and check that "
                                   "its port can be reached" % (_named(missing), timeout))
            if time.monotonic() >= next_line:
                _log.info("waiting for %s", _named(missing))
                next_line = time.monotonic() + 30
            check()
            time.sleep(0.2)

    def gone(self):
        """The other tasks at whose address nobody listens any more."""
        return [task for task in self._others() if not listens(task.address)]

    @staticmethod
    def lost(tasks):
        """The ClusterError that says which tasks are gone."""
        return ClusterError("%s is gone" % _named(tasks))

    def _others(self):
        return [task for rank, task in enumerate(self.tasks) if rank != self.rank]


def _named(tasks):
    return ", ".join(map(str, tasks))


def free_addresses(count):
    """Addresses on this machine where nothing listens.

    All ports are held until the last one is known, so that they differ.
    """
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(contextlib.closing(socket.socket())) for _ in range(count)]
        for free in sockets:
            free.bind(("127.0.0.1", 0))
        return ["127.0.0.1:%d" % free.getsockname()[1] for free in sockets]


def environment(addresses, index):
    """Value of TF_CONFIG for worker `index` of these addresses."""
    return json.dumps({"cluster": {"worker": addresses},
                       "task": {"type": "worker", "index": index}})


def listens(address, timeout=2.0):
    """Whether something accepts a connection at host:port."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout).close()
        return True
    except (OSError, UnicodeError):  # the latter for a name that no host can have
        return False


def from_environment(environment=None):
    """The Cluster of TF_CONFIG; None without it, or where it names this process alone.

    Args:
      environment: dict, os.environ if None.
    Raises: ConfigError naming what is wrong with it.
    """
    if environment is None:
        environment = os.environ
    text = environment.get(VARIABLE, "").strip()
    if not text:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise _wrong("is no JSON: %.60r" % text) from None
    spec = task = None
    if isinstance(value, dict):
        spec, task = value.get("cluster"), value.get("task")
    if not isinstance(spec, dict) or not isinstance(task, dict):
        raise _wrong("lacks cluster or task")
    unknown = sorted(set(spec) - set(_JOBS))
    if unknown:
        raise _wrong("names the job %r; every process trains: they are workers (one may be the "
                     "chief)" % unknown[0])
    tasks = tuple(Task(job, index, address) for job in _JOBS
                  for index, address in enumerate(_addresses(job, spec.get(job, []))))
    if len(spec.get("chief", [])) > 1:
        raise _wrong("has %d chiefs; there may be one" % len(spec["chief"]))
    if len({task.address for task in tasks}) < len(tasks):
        raise _wrong("gives one address to two tasks")
    own = task.get("type"), task.get("index")
    ranks = [rank for rank, known in enumerate(tasks) if own == (known.job, known.index)
             and not isinstance(own[1], bool)]
    if not ranks:
        raise _wrong("says task %s %s, which is not in its cluster" % own)
    return Cluster(tasks, ranks[0]) if len(tasks) > 1 else None


def _addresses(job, addresses):
    if not isinstance(addresses, list):
        raise _wrong("has no list of addresses for %s" % job)
    for address in addresses:
        port = None
        if isinstance(address, str):
            port = re.match(r"[^\s/]+:([0-9]{1,5})\Z", address)
        if not port or not 0 < int(port.group(1)) < 65536:
            raise _wrong("has the address %r for %s; give host:port" % (address, job))
    return addresses


def _wrong(what):
    return ConfigError("%s %s; it should look like %s, or unset it" % (VARIABLE, what, _EXAMPLE))


@contextlib.contextmanager
def left_behind(communicator):
    """Context in which a ClusterError ends this process at once.

    TensorFlow may still wait for the process that is gone, and must not hold this one.
    """
    try:
        yield
    except ClusterError as error:
        communicator.linger()
        end_process(error)

"""Which processes train together on TensorFlow's own runtime, as the standard variable TF_CONFIG
says; no TensorFlow here.

    TF_CONFIG='{"cluster": {"worker": ["a:2222", "b:2222"]}, "task": {"type": "worker", "index":
    0}}'

Rank 0 is the chief where there is one, else worker 0; the others follow in the order of the lists.
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
    """All processes in rank order, and which of them this is."""

    tasks: Tuple[Task, ...]
    rank: int

    @property
    def workers(self):
        return Workers(len(self.tasks), self.rank)

    @property
    def own(self):
        return self.tasks[self.rank]

    def addresses(self):
        """Job -> list of addresses, as tf.train.ClusterSpec takes it."""
        found = {}
        for task in self.tasks:
            found.setdefault(task.job, []).append(task.address)
        return found

    def wait(self, timeout, check=lambda: None):
        """Until every other process listens.

        Args:
          timeout: seconds. check: function called now and then, which may raise.
        Raises: ClusterError naming those that did not come.
        """
        until, said = time.monotonic() + timeout, time.monotonic() + 5
        missing = self._others()
        while True:
            missing = [task for task in missing if not listens(task.address)]
            if not missing:
                return
            if time.monotonic() >= until:
                raise ClusterError("%s did not come within --cluster_timeout %g s; start it with "
                                   "the same TF_CONFIG (its "
                                   "task is its own), and see that its port can be reached"
                                   % (_named(missing), timeout))
            if time.monotonic() >= said:
                _log.info("waiting for %s", _named(missing))
                said = time.monotonic() + 30
            check()
            time.sleep(0.2)

    def gone(self):
        """The other tasks at whose address nobody listens any more."""
        return [task for task in self._others() if not listens(task.address)]

    def lost(self, tasks, what="is gone"):
        """The ClusterError that names tasks."""
        return ClusterError("%s %s" % (_named(tasks), what))

    def _others(self):
        return [task for rank, task in enumerate(self.tasks) if rank != self.rank]


def _named(tasks):
    return ", ".join(map(str, tasks))


def free_addresses(count):
    """Addresses on this machine where nothing listens; the ports differ, as all are held until the
    last is found.
    """
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(contextlib.closing(socket.socket())) for _ in range(count)]
        for found in sockets:
            found.bind(("127.0.0.1", 0))
        return ["127.0.0.1:%d" % found.getsockname()[1] for found in sockets]


def environment(addresses, index):
    """Value of TF_CONFIG for worker `index` of these."""
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
    """Cluster of TF_CONFIG; None without it, or where it names this process alone.

    Args:
      environment: dict, os.environ if None.
    Raises: ConfigError naming what is wrong with it.
    """
    text = (os.environ if environment is None else environment).get(VARIABLE, "").strip()
    if not text:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise _wrong("is no JSON: %.60r" % text) from None
    spec, task = (found.get(key)
                  for key in ("cluster", "task")) if isinstance(found, dict) else (None, None)
    if not isinstance(spec, dict) or not isinstance(task, dict):
        raise _wrong("lacks cluster or task")
    strange = sorted(set(spec) - set(_JOBS))
    if strange:
        raise _wrong("names the job %r; every process trains: they are workers (one may be the "
                     "chief)" % strange[0])
    tasks = tuple(Task(job, i, address) for job in _JOBS for i,
                  address in enumerate(_addresses(job, spec.get(job, []))))
    if len(spec.get("chief", [])) > 1:
        raise _wrong("has %d chiefs; there may be one" % len(spec["chief"]))
    if len({task.address for task in tasks}) < len(tasks):
        raise _wrong("gives one address to two tasks")
    own = task.get("type"), task.get("index")
    places = [rank for rank, known in enumerate(tasks) if own == (known.job, known.index)
              and not isinstance(own[1], bool)]
    if not places:
        raise _wrong("says task %s %s, which is not in its cluster" % own)
    return Cluster(tasks, places[0]) if len(tasks) > 1 else None


def _addresses(job, found):
    if not isinstance(found, list):
        raise _wrong("has no list of addresses for %s" % job)
    for address in found:
        port = re.match(r"[^\s/]+:([0-9]{1,5})\Z", address) if isinstance(address, str) else None
        if not port or not 0 < int(port.group(1)) < 65536:
            raise _wrong("has the address %r for %s; give host:port" % (address, job))
    return found


def _wrong(what):
    return ConfigError("%s %s; it should look like %s, or unset it" % (VARIABLE, what, _EXAMPLE))


@contextlib.contextmanager
def left_behind(communicator):
    """Within it a process that is gone ends this one: nothing of TensorFlow that waits for it may
    hold the process.
    """
    try:
        yield
    except ClusterError as error:
        communicator.linger()
        end_process(error)

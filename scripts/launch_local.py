"""The program behind launch_local.sh: N processes on this machine that train together.

Each gets its TF_CONFIG. The exit status is that of the first process that failed, else 0.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from gru4rec.parallel import cluster  # noqa: E402

MOST = 256


def start(addresses, index, flags, pin):
    """Start one worker; returns its subprocess.Popen."""
    path = os.pathsep.join([ROOT] + [part for part in [os.environ.get("PYTHONPATH")] if part])
    environment = dict(os.environ, TF_CONFIG=cluster.environment(addresses, index), PYTHONPATH=path)

    def on_core():
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[index % len(cores)]})

    return subprocess.Popen([sys.executable, "-u", "-m", "gru4rec.main"] + flags, env=environment,
                            stdout=None if index == 0 else subprocess.DEVNULL,
                            stderr=None if index == 0 else subprocess.PIPE,
                            preexec_fn=on_core if pin else None)


def show(index, stream):
    """Copy the stderr of a worker to ours, with its name before each line."""
    for line in stream:
        sys.stderr.write("worker %d: %s" % (index, line.decode("utf-8", "replace")))
        sys.stderr.flush()


def main(argv):
    if not argv or not argv[0].isdigit() or not 1 <= int(argv[0]) <= MOST:
        sys.stderr.write("error: launch_local.sh %s: the first argument is the number of "
                         "processes, 1 to %d\n" % (argv[0] if argv else "", MOST))
        return 2
    count, flags = int(argv[0]), argv[1:]
    pin = "--pin" in flags[:1]
    addresses = cluster.free_addresses(count)
    workers = [start(addresses, index, flags[1:] if pin else flags, pin) for index in range(count)]

    def forward(number, _):
        for worker in workers:
            with contextlib.suppress(ProcessLookupError):
                worker.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, forward)
    readers = [threading.Thread(target=show, args=(index, worker.stderr))
               for index, worker in enumerate(workers) if index]
    for reader in readers:
        reader.start()
    # Exit statuses in the order in which the processes end: the first that is not 0 caused the
    # others.
    statuses = []
    lock = threading.Lock()

    def wait(worker):
        status = worker.wait()
        if status < 0:  # ended by a signal
            status = 128 - status
        with lock:
            statuses.append(status)

    waiting = [threading.Thread(target=wait, args=(worker,)) for worker in workers]
    for thread in waiting:
        thread.start()
    for thread in waiting + readers:
        while thread.is_alive():
            thread.join(0.2)  # signals are handled between two of these calls
    return next((status for status in statuses if status), 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The number of threads: one for each core, started here and not by numpy's libraries.

Threads inside many small matrix products lose more by waiting for each other than they gain.
"""

import os

_OF_LIBRARIES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")


def one_blas_thread():
    """Let each of numpy's matrix products use one thread; call this before numpy is imported.

    A number that the user has set in the environment stays.
    """
    for name in _OF_LIBRARIES:
        os.environ.setdefault(name, "1")


def cores():
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

"""One thread per core, shared out here: many small products lose more by waiting for each other
than they gain.
"""

import os

_OF_LIBRARIES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")


def one_blas_thread():
    """Let numpy's products use one thread each, unless the user said otherwise; call before numpy
    is imported.
    """
    for name in _OF_LIBRARIES:
        os.environ.setdefault(name, "1")


def cores():
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

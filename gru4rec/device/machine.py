"""The machine and the library versions that a measurement belongs to. Needs no TensorFlow."""

import os
import platform
import sys


def facts():
    """Processor, number of cores this process may use, memory, kind of machine, system.

    Returns: dict for JSON; memory_gib only where /proc tells it.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count()
    processor = proc_value("/proc/cpuinfo", "model name") or platform.processor()
    values = {"processor": processor or platform.machine(), "cores": cores,
              "machine": platform.machine(), "system": platform.system()}
    kib = proc_value("/proc/meminfo", "MemTotal")
    if kib:
        values["memory_gib"] = round(int(kib.split()[0]) / 2.0 ** 20, 1)
    return values


def versions(*packages):
    """Version of Python, and of those of the packages that this process has imported.

    Args: packages: names of top-level packages.
    Returns: dict name -> version.
    """
    loaded = {name: sys.modules[name].__version__ for name in packages if name in sys.modules}
    return dict(loaded, python=platform.python_version())


def proc_value(path, name):
    """Value of the first line `name : value` of a file in /proc; None if there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as lines:
            return next((line.partition(":")[2].strip() for line in lines
                         if line.startswith(name)), None)
    except OSError:
        return None

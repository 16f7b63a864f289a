"""Files that a command is asked to write: refused before anything is read, whole or not there
afterwards.
"""

import contextlib
import importlib.util
import os

from gru4rec.errors import InputError
from gru4rec.files import durable


def check_ranks_out(path, *inputs):
    """Refuse, before any file of events is read, a table that could not be written or would replace
    one of `inputs`.

    Raises: InputError naming the flag.
    """
    if path is None:
        return
    directory = os.path.dirname(os.path.abspath(path))
    if os.path.isdir(path) or not os.path.isdir(directory) or not os.access(directory, os.W_OK):
        raise InputError("--ranks_out %s cannot be written: it must be a file in a directory that "
                         "exists and is writable"
                         % path)
    if any(os.path.exists(name) and os.path.exists(path) and os.path.samefile(path, name)
           for name in inputs):
        raise InputError("--ranks_out %s would replace the events that are read; give another"
                         % path)
    check_pyarrow("--ranks_out %s" % path)


def check_pyarrow(name):
    """Raises InputError if `name` ends as a parquet file and nothing here can read or write one."""
    if name.lower().endswith(".parquet") and importlib.util.find_spec("pyarrow") is None:
        raise InputError("%s needs pyarrow, which is not installed; pip install pyarrow, or use a "
                         ".csv" % name)


def check(path, *inputs):
    """Refuse, before anything is read, a file that could not be written or would replace one of
    `inputs`.

    Raises: InputError.
    """
    directory = os.path.dirname(os.path.abspath(path))
    if os.path.isdir(path) or not os.path.isdir(directory) or not os.access(directory, os.W_OK):
        raise InputError("--out %s cannot be written: it must be a file in a directory that exists "
                         "and is writable" % path)
    if any(os.path.exists(name) and os.path.exists(path) and os.path.samefile(path, name)
           for name in inputs):
        raise InputError("--out %s would replace the file that is read; give another" % path)
    check_pyarrow("--out %s" % path)


@contextlib.contextmanager
def replacing(path):
    """Context with a binary file that appears at `path`, or replaces what is there, only if all
    went well.

    Raises: InputError if the disk refuses.
    """
    try:
        with durable.replacing(path) as temporary, open(temporary, "wb") as file:
            yield file
    except OSError as error:
        raise InputError("--out %s cannot be written: %s; make room, or give another"
                         % (path, error.strerror or error)) from error

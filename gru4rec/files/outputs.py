"""Files that a command is asked to write: checked before the work, written whole or not at all."""

import contextlib
import importlib.util
import os

from gru4rec.errors import InputError
from gru4rec.files import durable


def check(flag, path, *inputs, directory=False):
    """Refuse, before anything is read, an output that could not be written.

    Args:
      flag: the flag that gave the path, with its dashes, for the error text.
      path: of the file to write; None, where the flag was not given, is always right.
      inputs: files that the command reads, which the output must not replace.
      directory: True where the output is a directory of several files; then only the place where it
        is made is checked.
    Raises: InputError.
    """
    if path is None:
        return
    parent = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(parent) or not os.access(parent, os.W_OK):
        raise InputError("%s %s cannot be written: %s is no directory that can be written; make it "
                         "first, or give another" % (flag, path, parent))
    if directory:
        return
    if os.path.isdir(path):
        raise InputError("%s %s cannot be written: it is a directory; give the name of a file"
                         % (flag, path))
    for name in inputs:
        if os.path.exists(name) and os.path.exists(path) and os.path.samefile(path, name):
            raise InputError("%s %s would replace the input %s; give another"
                             % (flag, path, name))
    check_pyarrow("%s %s" % (flag, path))


def check_pyarrow(name):
    """Refuse a name that ends in .parquet where pyarrow, which reads and writes it, is missing.

    Raises: InputError.
    """
    if name.lower().endswith(".parquet") and importlib.util.find_spec("pyarrow") is None:
        raise InputError("%s needs pyarrow, which is not installed; pip install pyarrow, or use a "
                         ".csv" % name)


@contextlib.contextmanager
def replacing(flag, path):
    """Context with a binary file that takes its place at `path` only if the block ends well.

    Raises: InputError naming the flag if the disk refuses.
    """
    try:
        with durable.replacing(path) as temporary, open(temporary, "wb") as file:
            yield file
    except OSError as error:
        raise InputError("%s %s cannot be written: %s; make room, or give another"
                         % (flag, path, error.strerror or error)) from error

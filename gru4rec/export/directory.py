"""The directory of an export: written under a temporary name, then renamed.

    vocabulary.json   item ids by index: a JSON array of numbers or strings, as in the training file
    manifest.json     format, versions, source checkpoint, configuration, SHA-256 of the files, and
                      the file, inputs and outputs of each graph
"""

import contextlib
import json
import os
import platform
import shutil
import tempfile

import numpy as np

from gru4rec.errors import InputError
from gru4rec.files import durable, outputs
from gru4rec.files.hashes import sha256
from gru4rec.version import __version__

VERSION = 1
MANIFEST, VOCABULARY = "manifest.json", "vocabulary.json"


def check(out, overwrite):
    """Refuse, before anything is read, a directory that must not be replaced or cannot be made.

    Args:
      out: the directory, of --out. overwrite: whether an earlier export there may be replaced.

    Raises: InputError naming the flag.
    """
    outputs.check("--out", out, directory=True)
    if not os.path.lexists(out):
        return
    if not overwrite:
        raise InputError("--out %s exists; give another, or --overwrite 1" % out)
    if os.path.islink(out) or not os.path.isfile(os.path.join(out, MANIFEST)):
        raise InputError("--out %s exists and holds no export (no %s), so --overwrite 1 does not "
                         "replace it; give another" % (out, MANIFEST))


@contextlib.contextmanager
def replacing(out):
    """Context with a temporary directory that becomes `out` if the block ends well.

    Otherwise it is removed, and an earlier `out` stays.

    Raises: InputError if the disk refuses.
    """
    out = os.path.abspath(out)
    try:
        temporary = tempfile.mkdtemp(prefix=".tmp-export-", dir=os.path.dirname(out))
        try:
            new = os.path.join(temporary, "new")
            os.mkdir(new)
            yield new
            for name in _files(new):
                durable.sync(os.path.join(new, name))
            old = os.path.join(temporary, "old")
            if os.path.lexists(out):
                os.rename(out, old)
            try:
                os.rename(new, out)
            except BaseException:
                if os.path.lexists(old) and not os.path.lexists(out):
                    os.rename(old, out)
                raise
            durable.sync_directory(os.path.dirname(out))
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise InputError("--out %s cannot be written: %s; make room or give another"
                         % (out, error.strerror or error)) from error


def write_vocabulary(path, vocabulary):
    """Write the item ids by index as a JSON array, one to a line."""
    with open(path, "w", encoding="ascii") as out:
        out.write("[\n%s\n]\n" % ",\n".join(map(json.dumps, vocabulary.ids.tolist())))


def write_manifest(directory, export_format, source, graphs, versions):
    """Write the manifest.

    Args:
      directory: holds every other file. export_format: one of export.FORMATS.
      source: export.source.Source. graphs: name of a graph -> its entry, a dict.
      versions: name of a library that wrote the graphs -> its version.
    """
    files = {name: sha256(os.path.join(directory, name)) for name in _files(directory)}
    manifest = dict(version=VERSION, format=export_format, num_items=source.num_items,
                    source=source.record, config=source.config, graphs=graphs, sha256=files,
                    versions=dict(versions, gru4rec=__version__, numpy=np.__version__,
                                  python=platform.python_version()))
    with open(os.path.join(directory, MANIFEST), "w", encoding="ascii") as out:
        json.dump(manifest, out, indent=1, sort_keys=True)
        out.write("\n")


def _files(directory):
    """Sorted paths of all files below a directory, relative to it, with "/"."""
    return sorted(os.path.relpath(os.path.join(folder, name), directory).replace(os.sep, "/")
                  for folder, _, names in os.walk(directory) for name in names)

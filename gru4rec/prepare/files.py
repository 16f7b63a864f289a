"""Raw files: which ones are given, and whether they can be read."""

import gzip
import os
import re
import zlib

from gru4rec.data.reading.columns import data_error

# First bytes of archives and of compressed files that are not gzip.
_PACKED = (b"PK\3\4", b"7z\xbc\xaf\x27\x1c", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ", b"BZh", b"Rar!")


def open_lines(path):
    """Binary lines of a file, unpacked if it is gzip."""
    file = open(path, "rb")
    magic = file.read(2)
    file.seek(0)
    return gzip.GzipFile(fileobj=file) if magic == b"\x1f\x8b" else file


def is_utf8(path):
    """Whether DuckDB can be given this name; a name in another encoding holds surrogates."""
    return not re.search("[\ud800-\udfff]", path)


def of_directory(paths, dataset, known):
    """The raw files: `paths`, or the dataset's own files, gzip or not, of the one directory given.

    Args:
      paths: tuple of str. dataset: its name. known: datasets.Dataset.
    Raises: DataError naming the directory, the file it lacks and where to get that.
    """
    if len(paths) != 1 or not os.path.isdir(paths[0]):
        return paths
    directory = paths[0]
    if not known.files:
        raise data_error(directory, "this is a directory, and the files of %s have no names of "
                         "their own; give its files" % dataset)
    raw_paths = []
    for name in known.files:
        plain = os.path.join(directory, name)
        existing = [path for path in (plain, plain + ".gz") if os.path.isfile(path)]
        if not existing:
            raise data_error(directory, "there is no %s and no %s.gz in it; get it from %s"
                             % (name, name, known.origin))
        raw_paths.append(existing[0])
    return tuple(raw_paths)


def checked(path):
    """(absolute path, whether it is gzip) of a file that can be read to its end.

    Raises: DataError.
    """
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            raise data_error(path, "this is no file; give a regular file, since it is read more "
                             "than once")
        with open(path, "rb") as file:
            magic = file.read(6)
        # DuckDB checks no checksum, and before 2.0 it took a truncated file for a whole one.
        if magic[:2] == b"\x1f\x8b":
            with open_lines(path) as unpacked:
                while unpacked.read(1 << 20):
                    pass
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise data_error(path, "cannot be read: %s; correct the path, its permissions, or the file"
                         % reason) from None
    if not magic:
        raise data_error(path, "the file is empty; give a file with events")
    if any(map(magic.startswith, _PACKED)):
        raise data_error(path, "this is an archive; unpack it and give the file inside")
    path = os.path.abspath(path)
    if not is_utf8(path):
        raise data_error(path, "DuckDB reads only files whose name is UTF-8; rename this file")
    return path, magic[:2] == b"\x1f\x8b"

"""Files that are on the disk whole or not there at all: written aside, synced, renamed."""

import contextlib
import errno
import os
import shutil
import tempfile
import uuid

TEMPORARY = ".tmp-"  # what begins so is being written; where no run is alive it is rubbish


def sync(path):
    """Wait until a file is on the disk."""
    _fsync(path, os.O_RDONLY)


def sync_directory(path):
    """Wait until the names in a directory are on the disk, where its file system can say so."""
    try:
        _fsync(path, os.O_RDONLY)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def _fsync(path, flags):
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def replacing(path):
    """Context of a temporary path beside `path`; it is renamed to `path` if the block ends well,
    else removed.
    """
    directory = os.path.dirname(path) or "."
    temporary = os.path.join(directory, TEMPORARY + uuid.uuid4().hex[:12])
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        raise
    sync_directory(directory)


@contextlib.contextmanager
def aside(directory):
    """Context of a temporary directory within `directory`, which is gone afterwards."""
    temporary = tempfile.mkdtemp(prefix=TEMPORARY, dir=directory)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path, text):
    """Give a file this content, or leave it as it was; OSError if the disk refuses."""
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as out:
        out.write(text)

"""Files that are on the disk whole or not at all: write a temporary file, sync it, rename it."""

import contextlib
import errno
import os
import uuid

TEMPORARY = ".tmp-"  # a name that begins so is being written, or was left by a process that died


def sync(path):
    """Wait until a file is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_directory(path):
    """Wait until the names in a directory are on the disk, if its file system can do that."""
    try:
        sync(path)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


@contextlib.contextmanager
def replacing(path):
    """Context with a temporary path beside `path`.

    If the block ends well the temporary file is renamed to `path`; otherwise it is removed.
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


def write_text(path, text):
    """Write a text file; if the disk refuses it stays as it was (OSError)."""
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as out:
        out.write(text)

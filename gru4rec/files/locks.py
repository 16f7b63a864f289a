"""Locks on directories, held by the kernel: a lock ends when its process ends, however it ends."""

import contextlib
import errno
import logging
import os

from gru4rec.errors import LockedError

try:
    import fcntl
except ImportError:  # not on this system: directories are not locked
    fcntl = None

_log = logging.getLogger(__name__)

FILE = ".lock"


class Lock:
    """A lock on the file `name` in a directory."""

    def __init__(self, directory, name=FILE):
        self._path, self._handle = os.path.join(directory, name), None

    def acquire(self):
        """Take the lock.

        Raises: LockedError with the process id of the holder; OSError if the file cannot be made.
        """
        while self._handle is None:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                self._lock(handle)
                # the holder may have removed the file after it was opened here; then try again
                with contextlib.suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(handle), os.stat(self._path)):
                        os.ftruncate(handle, 0)
                        os.write(handle, b"%d\n" % os.getpid())
                        self._handle, handle = handle, None
            finally:
                if handle is not None:
                    os.close(handle)

    def _lock(self, handle):
        if fcntl is None:
            return
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                pid = os.read(handle, 20).decode("ascii", "replace").strip() or "unknown"
                raise LockedError("%s is in use by another run (process id %s); wait for it, stop "
                                  "it, or give another directory"
                                  % (os.path.dirname(self._path) or ".", pid)) from None
            _log.warning("%s cannot be locked (%s): make sure that no other run uses the directory",
                         self._path, error.strerror)

    def release(self):
        """Give the lock back and remove its file; a second call does nothing."""
        if self._handle is not None:
            with contextlib.suppress(OSError):
                os.remove(self._path)
            os.close(self._handle)
            self._handle = None

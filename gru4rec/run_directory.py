"""--checkpoint_dir of a training: one run at a time in it, and an earlier run moved aside, never half and never lost."""

import contextlib
import errno
import logging
import os
import re
import shutil

from gru4rec import durable
from gru4rec.baselines import rules
from gru4rec.checkpoint import PREFIX, STATE_FILE, VOCABULARY
from gru4rec.errors import InputError, LockedError
from gru4rec.runlog import Metrics

try:
    import fcntl
except ImportError:  # not on this system; then nothing guards a directory
    fcntl = None

_log = logging.getLogger(__name__)

REFIT = "refit.json"  # the second part of a run with --refit 1 has begun; see resume.Refit
_LOCK = ".lock"
_OF_A_RUN = (VOCABULARY, STATE_FILE, Metrics.FILE, rules.FILE, REFIT)
_UNDER_WAY = ".part"  # ending of previous-<N> while files are moved to it


class Lock:
    """A kernel lock on the file `name` in a directory; it ends with the process, whatever ends that."""

    def __init__(self, directory, name=_LOCK):
        self._path, self._handle = os.path.join(directory, name), None

    def acquire(self):
        """Raises: LockedError with the process id of the holder; OSError if the file cannot be made."""
        while self._handle is None:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                self._lock(handle)
                with contextlib.suppress(FileNotFoundError):  # the holder may just have removed what was opened here
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
                raise LockedError("%s is in use by another run (process id %s); wait for it, stop it, or give another "
                                  "directory" % (os.path.dirname(self._path) or ".", pid)) from None
            _log.warning("%s cannot be locked (%s): see that no other run uses the directory", self._path, error.strerror)

    def release(self):
        """Also removes the file; a second call does nothing."""
        if self._handle is not None:
            with contextlib.suppress(OSError):
                os.remove(self._path)
            os.close(self._handle)
            self._handle = None


class RunDirectory:
    """Context of a run in a directory: locked from the start if it exists, else from `begin` on."""

    def __init__(self, path):
        self.path, self._lock = path, Lock(path)

    def __enter__(self):
        if os.path.isdir(self.path):
            with self._errors():
                self._lock.acquire()
        return self

    def __exit__(self, *_):
        self._lock.release()

    def tidy(self):
        """Remove what dead runs were writing, and finish moving an earlier run aside if that was cut short."""
        if not os.path.isdir(self.path):
            return
        with self._errors():
            for name in os.listdir(self.path):
                if name.startswith(durable.TEMPORARY):
                    self._remove(name)
            for name in os.listdir(self.path):
                if re.match(r"previous-[1-9][0-9]*%s\Z" % re.escape(_UNDER_WAY), name):
                    # REFIT goes first when it goes (`_earlier`): where it is still there it is of the part to come.
                    self._move_to(name, but=(REFIT,))

    def begin(self, refit=None):
        """Make the directory ready for a new run: an earlier one found there is moved to previous-<N>/ and that is logged.

        Args:
          refit: None, or text of the file REFIT, which is written before the first part of the run is moved aside.
        Raises: InputError if the directory cannot be made or written; LockedError if another run is in it.
        """
        with self._errors():
            os.makedirs(self.path, exist_ok=True)
            self._lock.acquire()
            self.tidy()
            if refit is not None:
                durable.write_text(self.file(REFIT), refit)
            but = () if refit is None else (REFIT,)
            if self._earlier(but):
                number = 1
                while os.path.exists(self.file("previous-%d" % number)):
                    number += 1
                aside = "previous-%d" % number
                os.mkdir(self.file(aside + _UNDER_WAY))
                self._move_to(aside + _UNDER_WAY, but)
                _log.warning("an earlier run in %s was moved to %s", self.path, self.file(aside))

    def file(self, name):
        return os.path.join(self.path, name)

    def _earlier(self, but):
        """Names of the files of the run in the directory, without those in `but`; REFIT is the first."""
        names = [n for n in os.listdir(self.path) if (n.startswith(PREFIX) or n in _OF_A_RUN) and n not in but]
        return sorted(names, key=lambda n: n != REFIT)

    def _move_to(self, part, but):
        for name in self._earlier(but):
            os.replace(self.file(name), os.path.join(self.file(part), name))
        os.rename(self.file(part), self.file(part[:-len(_UNDER_WAY)]))
        durable.sync_directory(self.path)

    def _remove(self, name):
        path = self.file(name)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.remove(path)

    @contextlib.contextmanager
    def _errors(self):
        try:
            yield
        except OSError as error:
            raise InputError("--checkpoint_dir %s cannot be used: %s; give another"
                             % (self.path, error.strerror or error)) from error

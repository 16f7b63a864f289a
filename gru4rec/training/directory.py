"""--checkpoint_dir of a training: one run at a time, and an earlier run is moved aside.

A move that is cut short at any moment is finished by the next run: no file is lost.
"""

import contextlib
import logging
import os
import re
import shutil

from gru4rec.checkpoint.names import PREFIX, STATE_FILE, VOCABULARY, remove_halves
from gru4rec.errors import InputError
from gru4rec.evaluation.baselines import rules
from gru4rec.files import durable
from gru4rec.files.locks import Lock
from gru4rec.runlog.rows import Metrics

_log = logging.getLogger(__name__)

REFIT = "refit.json"  # the second part of a run with --refit 1 has begun; see training.start.Refit
_OF_A_RUN = (VOCABULARY, STATE_FILE, Metrics.FILE, rules.FILE, REFIT)
_UNDER_WAY = ".part"  # ending of the name previous-<N> while files are moved there


class RunDirectory:
    """Context of a run in a directory: locked from the start if it exists, else from `begin` on."""

    def __init__(self, path, writes=True):
        """path: str. writes: False locks nothing; of devices that train together one writes."""
        self.path, self._lock, self._writes = path, Lock(path), writes

    def __enter__(self):
        if self._writes and os.path.isdir(self.path):
            with self._errors():
                self._lock.acquire()
        return self

    def __exit__(self, *_):
        self._lock.release()

    def tidy(self):
        """Remove what dead runs were writing, and finish a move that was cut short."""
        if not os.path.isdir(self.path):
            return
        with self._errors():
            remove_halves(self.path)
            for name in os.listdir(self.path):
                if name.startswith(durable.TEMPORARY):
                    self._remove(name)
            for name in os.listdir(self.path):
                if re.match(r"previous-[1-9][0-9]*%s\Z" % re.escape(_UNDER_WAY), name):
                    # If REFIT belonged to the run that is moved, it went first (`_earlier`). So
                    # if it is still here, it belongs to the part to come.
                    self._move_to(name, but=(REFIT,))

    def begin(self, refit=None):
        """Make the directory ready for a new run; an earlier one in it is moved to previous-<N>/.

        Args:
          refit: None, or text of the file REFIT, which is written before the first part of the run
          is moved aside.
        Raises: InputError if the directory cannot be made or written; LockedError if another run
          is in it.
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
        """Path of a file in the directory."""
        return os.path.join(self.path, name)

    def _earlier(self, but):
        """Names of the files of the run in the directory, REFIT first, without those in `but`."""
        names = [name for name in os.listdir(self.path)
                 if (name.startswith(PREFIX) or name in _OF_A_RUN) and name not in but]
        return sorted(names, key=lambda name: name != REFIT)

    def _move_to(self, part, but):
        """Move the run's files to `part`, then take the ending _UNDER_WAY off its name."""
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

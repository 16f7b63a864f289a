"""Watch a checkpoint directory, and replace the model when there is another checkpoint."""

import logging
import os
import threading

from gru4rec import checkpoint
from gru4rec.checkpoint import names
from gru4rec.errors import Gru4RecError

_log = logging.getLogger(__name__)

# How often the same files are tried: a checkpoint may be read while it is being replaced, and a
# damaged one must not be tried for ever.
TRIES = 5


class Reloader:
    """A thread that looks every few seconds and loads a new model while requests are answered.

    Args:
      directory, epoch: as of recommend.model.load.
      version: version of the model that is in use.
      load: function () -> recommend.model.Model.
      replace: function (Model), called with a new model.
      seconds: between two looks; 0 never looks.
    """

    def __init__(self, directory, epoch, version, load, replace, seconds):
        self._directory, self._epoch, self._version = directory, epoch, version
        self._load, self._replace, self._seconds = load, replace, seconds
        self._seen, self._tries, self._stop = (), 0, threading.Event()
        self._thread = threading.Thread(target=self._run, name="reload", daemon=True)
        if seconds:
            self._thread.start()

    def close(self):
        """End the thread."""
        self._stop.set()
        if self._seconds:
            self._thread.join()

    def _run(self):
        while not self._stop.wait(self._seconds):
            self.look()

    def look(self):
        """Replace the model if the directory holds another one; returns whether it did."""
        files = self._files()
        if files != self._seen:
            self._seen, self._tries = files, TRIES
        if not self._tries:
            return False
        self._tries -= 1
        try:
            if checkpoint.version(self._directory, self._epoch) == self._version:
                self._tries = 0
                return False
            model = self._load()
        except (Gru4RecError, OSError, MemoryError) as error:
            _log.warning("the model stays in use, the new one cannot be loaded: %s", error)
            return False
        if model.version == self._version:  # the newest is damaged, the one before it is in use
            return False
        self._version, self._tries = model.version, 0
        self._replace(model)
        _log.info("model %s is used from now on (%s)", model.version, model.path)
        return True

    def _files(self):
        """Names, times and sizes of the checkpoint files; a new model changes at least one."""
        try:
            with os.scandir(self._directory) as entries:
                stats = [(entry.name, entry.stat()) for entry in entries
                         if entry.name.startswith(names.PREFIX) or entry.name == names.VOCABULARY]
        except OSError:  # the directory or a file was removed
            return None
        return sorted((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats)

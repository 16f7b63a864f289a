"""Watching a checkpoint directory: the model is replaced when another checkpoint is there, and kept when it is not."""

import logging
import threading

from gru4rec import checkpoint
from gru4rec.errors import Gru4RecError

_log = logging.getLogger(__name__)

TRIES = 5  # a checkpoint that was read while it was being replaced is tried again, a damaged one not for ever


class Reloader:
    """A thread that looks every few seconds and loads aside, so that requests are answered meanwhile.

    Args:
      directory, epoch: as serving.model.load. version: of the model that is loaded already.
      load: function () -> serving.model.Model. replace: function (Model).
      seconds: between two looks; 0 never looks.
    """

    def __init__(self, directory, epoch, version, load, replace, seconds):
        self._directory, self._epoch, self._version = directory, epoch, version
        self._load, self._replace, self._seconds = load, replace, seconds
        self._tries, self._stop, self.failures = {}, threading.Event(), 0
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
        try:
            version = checkpoint.version(self._directory, self._epoch)
            if version == self._version or self._tries.get(version, 0) >= TRIES:
                return False
            self._tries = {version: self._tries.get(version, 0) + 1}
            model = self._load()
        except (Gru4RecError, OSError, MemoryError) as error:
            self.failures += 1
            _log.warning("the model is kept, no other can be loaded: %s", error)
            return False
        self._version, self._tries = model.version, {}
        self._replace(model)
        _log.info("model %s is used from now on (%s)", model.version, model.path)
        return True

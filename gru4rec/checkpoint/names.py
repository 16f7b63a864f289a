"""Which checkpoints a directory has, what their files are called, and which are removed."""

import contextlib
import os
import re
from typing import NamedTuple

from gru4rec.checkpoint import bundle_writer
from gru4rec.errors import CheckpointError
from gru4rec.files import durable

PREFIX = "gru-model-"
VOCABULARY = "vocabulary.npz"
STATE_FILE = "checkpoint"
# checkpoints within an epoch that stay with --keep 0: the newest, and one in case it is damaged
MOMENTS = 2
_NAME = re.compile(r"gru-model-(0|[1-9][0-9]*)(?:-step([1-9][0-9]*))?\.json\Z")


class Name(NamedTuple):
    """What a checkpoint is named after; the older is the smaller."""

    epoch: int  # 0-based
    step: float = float("inf")  # updates made, within the epoch; infinite at its end

    @property
    def is_epoch(self):
        return self.step == float("inf")

    def __str__(self):
        if self.is_epoch:
            return "%s%d" % (PREFIX, self.epoch)
        return "%s%d-step%d" % ((PREFIX,) + self)

    @property
    def manifest(self):
        """File name."""
        return str(self) + ".json"

    def files(self):
        """Names of the files that belong to this checkpoint alone, the manifest last."""
        return [str(self) + ending for ending in bundle_writer.ENDINGS] + [self.manifest]


def prune(directory, keep, spare=None):
    """Remove all but the newest checkpoints.

    Args:
      keep: int, how many stay, counted apart for the ends of epochs and for checkpoints within
        one; 0 keeps the ends of all epochs and two within one.
      spare: None, or the epoch (0-based) that stays however old it is.
    """
    names = listing(directory)
    ends, moments = [n for n in names if n.is_epoch], [n for n in names if not n.is_epoch]
    old = (ends[:-keep] if keep else []) + moments[:-(keep or MOMENTS)]
    remove(directory, [n for n in old if not (n.is_epoch and n.epoch == spare)])


def remove(directory, names):
    """Remove checkpoints, so that none is half there.

    The manifest is renamed first and removed last: if the process is killed in between,
    `remove_halves` knows from its name what is left to remove. This needs no room on the disk.
    """
    for name in names:
        manifest = os.path.join(directory, name.manifest)
        leaving = os.path.join(directory, durable.TEMPORARY + name.manifest)
        try:
            with contextlib.suppress(FileNotFoundError):
                os.replace(manifest, leaving)
            _remove_tensors(directory, name)
            with contextlib.suppress(FileNotFoundError):
                os.remove(leaving)
        except OSError as error:
            raise CheckpointError("%s cannot be removed: %s"
                                  % (os.path.join(directory, str(name)), error.strerror)) from error


def _remove_tensors(directory, name):
    for part in name.files()[:-1]:
        with contextlib.suppress(FileNotFoundError):
            os.remove(os.path.join(directory, part))


def remove_halves(directory):
    """Remove the tensors of checkpoints that a killed process was writing or removing.

    Their manifest lies in a temporary directory, or has a temporary name. No process may be writing
    there now; OSError if a file cannot be removed. Whoever calls it removes what is temporary.
    """
    finished = listing(directory)
    for entry in os.listdir(directory):
        if not entry.startswith(durable.TEMPORARY):
            continue
        path = os.path.join(directory, entry)
        if os.path.isdir(path):
            halves = listing(path)
        else:
            halves = _names_of([entry[len(durable.TEMPORARY):]])
        for name in halves:
            if name not in finished:
                _remove_tensors(directory, name)


def listing(directory):
    """Names of all finished checkpoints, oldest first.

    Raises: CheckpointError if the directory cannot be read.
    """
    if not os.path.isdir(directory):
        return []
    try:
        names = os.listdir(directory)
    except OSError as error:
        raise CheckpointError("%s cannot be read: %s; give another --checkpoint_dir"
                              % (directory, error.strerror)) from error
    return _names_of(names)


def _names_of(files):
    """The Names of those files that are manifests, oldest first."""
    return sorted(Name(int(m.group(1)), int(m.group(2)) if m.group(2) else float("inf"))
                  for m in map(_NAME.match, files) if m)


def epochs(directory):
    """Sorted epochs that have a checkpoint at their end."""
    return [name.epoch for name in listing(directory) if name.is_epoch]

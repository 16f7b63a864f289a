"""What the files of a checkpoint are called, which checkpoints a directory has, and which are
removed.
"""

import os
import re
from typing import NamedTuple

from gru4rec.checkpoint import bundle_writer
from gru4rec.errors import CheckpointError

PREFIX = "gru-model-"
VOCABULARY = "vocabulary.npz"
STATE_FILE = "checkpoint"
MOMENTS = 2  # that stay with --keep 0: the newest, and one before it should it be damaged
_NAME = re.compile(r"gru-model-(0|[1-9][0-9]*)(?:-step([1-9][0-9]*))?\.json\Z")


class Name(NamedTuple):
    """What a checkpoint is called after; ordered by age."""

    epoch: int  # 0-based
    step: float = float("inf")  # updates made, of a moment within the epoch; infinite for its end

    @property
    def is_epoch(self):
        return self.step == float("inf")

    def __str__(self):
        return PREFIX + ("%d" % self.epoch if self.is_epoch else "%d-step%d" % self)

    @property
    def manifest(self):
        """File name."""
        return str(self) + ".json"

    def files(self):
        """Names of the files that belong to it alone, the manifest last."""
        return [str(self) + ending for ending in bundle_writer.ENDINGS] + [self.manifest]


def prune(directory, keep, spare=None):
    """Remove all but the newest checkpoints.

    Args:
      keep: int, how many of epochs and how many of moments within one stay; 0 for all epochs and
      two moments.
      spare: None, or the epoch (0-based) that stays however old.
    """
    names = listing(directory)
    ends, moments = [n for n in names if n.is_epoch], [n for n in names if not n.is_epoch]
    old = (ends[:-keep] if keep else []) + moments[:-(keep or MOMENTS)]
    remove(directory, [n for n in old if not (n.is_epoch and n.epoch == spare)])


def remove(directory, names):
    """Remove checkpoints, manifest first, so that none is half there."""
    for name in names:
        for part in reversed(name.files()):
            try:
                os.remove(os.path.join(directory, part))
            except FileNotFoundError:
                pass
            except OSError as error:
                raise CheckpointError("%s cannot be removed: %s"
                                      % (os.path.join(directory, part), error.strerror)) from error


def listing(directory):
    """Names of all checkpoints that were finished, oldest first; CheckpointError if the directory
    cannot be read.
    """
    if not os.path.isdir(directory):
        return []
    try:
        names = os.listdir(directory)
    except OSError as error:
        raise CheckpointError("%s cannot be read: %s; give another --checkpoint_dir"
                              % (directory, error.strerror)) from error
    return sorted(Name(int(m.group(1)), int(m.group(2)) if m.group(2) else float("inf"))
                  for m in map(_NAME.match, names) if m)


def epochs(directory):
    """Sorted epochs that have a checkpoint of their end."""
    return [name.epoch for name in listing(directory) if name.is_epoch]

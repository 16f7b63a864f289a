"""The manifest of a checkpoint: a JSON file with its configuration and the checksum of each file.

Keys: format, epoch, step, num_steps, num_items, config, files (name -> [size, SHA-256]), sha256 (of
all other keys), and

    position    Position of the run; None for a checkpoint from which no run can go on
    data        what was trained on (`training.fingerprint.data_of`); None likewise
    phase       "train", or "refit" for the second part of a run with --refit 1
    validation  training.validation.Validation.record; None without a validation

File names are never taken from it: they follow from the name of the checkpoint.
"""

import hashlib
import json
import os
import re
from typing import NamedTuple, Optional

from gru4rec.errors import CheckpointError
from gru4rec.files import durable
from gru4rec.files.hashes import fingerprint
from gru4rec.files.json_fields import number, object_of, or_none, positive, text, whole

FORMAT = 1
PHASES = ("train", "refit")
REMEDY = "use another epoch (--test) or train again"


class Position(NamedTuple):
    """How far a run was, with what its log lines need to go on as if it had not stopped."""

    epoch: int  # 0-based, the one being trained
    steps: int  # made in this epoch since it was last divided
    loss_sum: float  # sum of the losses of these steps
    seconds: float  # spent on these steps
    workers: int = 1  # processes that trained together
    # how the epoch was trained before that: (workers, lanes of each, steps), see data/epochs.py
    divisions: tuple = ()
    # of the model.divergence.Watch; None before its first loss
    mean_loss: Optional[float] = None
    best_loss: Optional[float] = None


def make(**values):
    """A manifest of these keys: dict with `format` and `sha256`."""
    manifest = dict(values, format=FORMAT)
    manifest["sha256"] = checksum(manifest)
    return manifest


def dump(manifest):
    """The text of a manifest."""
    return json.dumps(manifest, indent=1, sort_keys=True)


def checksum(manifest):
    """SHA-256 of all other keys: a changed configuration would change what the tensors mean."""
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode("ascii")).hexdigest()


def read(path):
    """Read and check a manifest -> dict, in which `position` is a Position or None.

    Raises: CheckpointError naming the file and what is wrong with it.
    """
    try:
        with open(path, encoding="utf-8") as file:
            manifest = json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(path, "not a manifest (%s)" % str(error).splitlines()[0]) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise damaged(path, "not a manifest of format %d" % FORMAT)
    for key, holds in _KEYS.items():
        if not holds(manifest.get(key)):
            raise damaged(path, "%s is missing or of the wrong type" % key)
    if manifest.get("sha256") != checksum(manifest):
        raise damaged(path, "its checksum is not that of its content")
    # keys that may be absent
    for key in ("position", "data", "phase", "validation"):
        manifest.setdefault(key, None)
    if manifest["position"]:
        manifest["position"] = Position(**manifest["position"])
        divisions = tuple(tuple(part) for part in manifest["position"].divisions)
        manifest["position"] = manifest["position"]._replace(divisions=divisions)
    return manifest


def workers(manifest):
    """Processes that trained together when it was saved; their hidden states are stacked."""
    return manifest["position"].workers if manifest["position"] else 1


def amend(path, **values):
    """Change keys of a manifest; if the disk refuses (OSError) it stays as it was."""
    manifest = dict(read(path), **values)
    if manifest["position"]:
        manifest["position"] = manifest["position"]._asdict()
    del manifest["sha256"]
    durable.write_text(path, dump(make(**manifest)))


def verify(directory, names, manifest, where, checksums=True):
    """Compare files with what the manifest says of them.

    Args:
      names: of the files. where: path of the manifest.
      checksums: False compares sizes only.
    Raises: CheckpointError if one is missing, or its size or checksum is another.
    """
    for name in names:
        path = os.path.join(directory, name)
        try:
            actual = fingerprint(path) if checksums else [os.path.getsize(path)]
        except OSError as error:
            raise damaged(path, error.strerror or "cannot be read") from error
        expected = manifest["files"].get(name)
        if isinstance(expected, list) and not checksums:
            expected = expected[:1]
        if actual != expected:
            raise damaged(path, "size or checksum is not what %s says" % os.path.basename(where))


def damaged(path, what):
    """The CheckpointError for a damaged file."""
    return CheckpointError("%s is damaged: %s; %s" % (path, what, REMEDY))


def _divisions(value):
    return isinstance(value, (list, tuple)) and all(map(_division, value))


def _division(value):
    return (isinstance(value, (list, tuple)) and len(value) == 3
            and all(map(positive, value[:2])) and whole(value[2]))


def _history(value):
    return isinstance(value, list) and all(map(or_none(number), value))


def _record(value):
    return (object_of(metric=_metric, value=or_none(number), best_epoch=or_none(whole),
                      best_value=or_none(number),
                      values=_history)(value)
            and (value["best_epoch"] is None) == (value["best_value"] is None))


def _metric(value):
    return text(value) and bool(re.match(r"(recall|mrr)@[0-9]{1,18}\Z", value))


_KEYS = {
    "epoch": whole, "step": whole, "num_steps": whole, "num_items": whole,
    "config": lambda value: isinstance(value, dict),
    "files": lambda value: isinstance(value, dict),
    "position": or_none(object_of(("workers", "divisions", "mean_loss", "best_loss"), epoch=whole,
                                  steps=whole, loss_sum=number, seconds=number, workers=positive,
                                  divisions=_divisions, mean_loss=or_none(number),
                                  best_loss=or_none(number))),
    "data": or_none(object_of(train=text, validation=or_none(text), events=whole, items=whole)),
    "phase": lambda value: value is None or value in PHASES,
    "validation": or_none(_record),
}
START = Position(0, 0, 0.0, 0.0)

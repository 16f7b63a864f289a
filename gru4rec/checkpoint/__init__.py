"""Write and read checkpoints; incomplete ones are ignored. On top of config, data, model.

The files of a checkpoint directory, here after epoch 2:

    gru-model-2.index, gru-model-2.data-00000-of-00001
                      tensors under the names of model.state, in TensorFlow's own format
    gru-model-2.json  the manifest (checkpoint.manifest)
    vocabulary.npz    item ids and their support (data.vocab), one for all checkpoints
    rules.npz         sequential rules, if asked for (evaluation.baselines.rules)
    checkpoint        names the newest checkpoint, for tf.train.latest_checkpoint

A checkpoint within an epoch is called gru-model-2-step5000, by the number of updates made.
Everything is written to a temporary directory, synced and renamed. The manifest comes last: without
one a checkpoint was never finished, and it is ignored.
Tensors are saved and read as arrays, so any engine, device and TensorFlow can go on with them.
"""

import logging
import os
import shutil
import tempfile
from typing import Any, Dict, NamedTuple, Optional

import numpy as np

from gru4rec import config as config_module
from gru4rec.checkpoint import bundle_reader, bundle_writer
from gru4rec.checkpoint import manifest as manifests
from gru4rec.checkpoint.names import PREFIX, STATE_FILE, VOCABULARY, Name, epochs, listing
from gru4rec.data.vocab import Vocabulary
from gru4rec.errors import CheckpointError, ConfigError
from gru4rec.files import durable, hashes
from gru4rec.model import state

_log = logging.getLogger(__name__)

ATTEMPTS = 5  # to read a checkpoint from a directory whose run removes old ones meanwhile


class Checkpoint(NamedTuple):
    """One checkpoint, read back."""

    path: str  # directory/gru-model-<epoch>, the prefix of its file names
    config: Any  # config.Config it was trained with
    vocabulary: Vocabulary
    arrays: Dict[str, np.ndarray]  # names and dtypes of model.state
    epoch: int  # 0-based
    num_steps: int  # steps of the whole run it belongs to
    # training.validation.Validation.record of its epoch; None without a validation
    validation: Optional[Dict[str, Any]] = None
    # name and checksum of the manifest, which holds the checksums of the other files
    version: Optional[str] = None

    @property
    def step(self):
        """Updates made."""
        return int(self.arrays[state.GLOBAL_STEP])


def save(directory, config, vocabulary, arrays, epoch, num_steps, validation=None, **more):
    """Write a checkpoint; earlier ones stay as they are, whatever happens.

    Args:
      directory: exists. config: config.Config. vocabulary: Vocabulary. arrays: engine.arrays().
      epoch: int, 0-based. num_steps: int, steps of the whole run.
      validation: None, or training.validation.Validation.record of the epoch.
      more: `position`, `data` and `phase` of the manifest, and `is_moment`: True for a checkpoint
        within the epoch, False at its end.
    Returns: path prefix.
    Raises: CheckpointError if the disk refuses.
    """
    step = int(arrays[state.GLOBAL_STEP])
    name = Name(epoch, step) if more.pop("is_moment", False) else Name(epoch)
    try:
        temporary = tempfile.mkdtemp(prefix=durable.TEMPORARY, dir=directory)
        try:
            files = _write_parts(temporary, name, directory, vocabulary, arrays)
            manifest = manifests.make(epoch=epoch, step=step, num_steps=num_steps,
                                      num_items=len(vocabulary), config=config.to_dict(),
                                      files=files, validation=validation, **more)
            _write_text(os.path.join(temporary, name.manifest), manifests.dump(manifest))
            _write_text(os.path.join(temporary, STATE_FILE),
                        'model_checkpoint_path: "%s"\nall_model_checkpoint_paths: "%s"\n'
                        % (name, name))
            for part in os.listdir(temporary):
                durable.sync(os.path.join(temporary, part))
            _move_into_place(temporary, directory, name)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise _not_written("checkpoint " + os.path.join(directory, str(name)), error) from error
    return os.path.join(directory, str(name))


def _write_parts(temporary, name, directory, vocabulary, arrays):
    """Write the tensors, and the vocabulary unless `directory` has the same.

    Returns: name of each file -> [size, SHA-256].
    """
    bundle_writer.write(os.path.join(temporary, str(name)), arrays)
    vocabulary_path = os.path.join(temporary, VOCABULARY)
    vocabulary.save(vocabulary_path)
    files = {part: hashes.fingerprint(os.path.join(temporary, part))
             for part in sorted(os.listdir(temporary))}
    existing = os.path.join(directory, VOCABULARY)
    if os.path.exists(existing) and hashes.fingerprint(existing) == files[VOCABULARY]:
        os.remove(vocabulary_path)
    return files


def _write_text(path, text):
    with open(path, "w", encoding="utf-8") as out:
        out.write(text)


def _not_written(what, error):
    """The CheckpointError for an OSError in writing."""
    return CheckpointError("%s cannot be written: %s; free space or give another --checkpoint_dir"
                           % (what, error))


def _move_into_place(temporary, directory, name):
    last = [name.manifest, STATE_FILE]
    # a checkpoint of the same name loses its manifest before its files are replaced
    if os.path.exists(os.path.join(directory, last[0])):
        os.remove(os.path.join(directory, last[0]))
    for part in sorted(set(os.listdir(temporary)) - set(last)):
        os.replace(os.path.join(temporary, part), os.path.join(directory, part))
    durable.sync_directory(directory)
    for part in last:
        os.replace(os.path.join(temporary, part), os.path.join(directory, part))
    durable.sync_directory(directory)


def record_validation(directory, epoch, record):
    """Add the result of a validation to the manifest of an epoch that is saved.

    Args:
      record: training.validation.Validation.record.
    Raises: CheckpointError if it cannot be written.
    """
    path = os.path.join(directory, Name(epoch).manifest)
    try:
        manifests.amend(path, validation=record)
    except OSError as error:
        raise _not_written(path, error) from error


def load(directory, epoch=None, checksums=True):
    """Read a checkpoint -> Checkpoint; needs no TensorFlow.

    Args:
      epoch: as for `pick`, which chooses the checkpoint.
      checksums: False compares only the sizes of the files, which are then not read twice.
    Raises: CheckpointError if it does not exist, is damaged, or is not what its manifest says.
    """
    attempts = ATTEMPTS
    while True:
        name, manifest = pick(directory, epoch, checksums)
        try:
            vocabulary = Vocabulary.load(os.path.join(directory, VOCABULARY))
            arrays = tensors(directory, name, manifest["config"], len(vocabulary),
                             manifests.workers(manifest))
            return Checkpoint(os.path.join(directory, str(name)), manifest["config"], vocabulary,
                              arrays, name.epoch, manifest["num_steps"],
                              manifest.get("validation"), _version(name, manifest))
        except CheckpointError:
            # if it is no longer listed, the run that trains here has removed it: choose again
            if attempts == 0 or name in listing(directory):
                raise
            attempts -= 1


def version(directory, epoch=None):
    """The `version` that `load` would give, from the manifest alone; CheckpointError as there."""
    return _version(*pick(directory, epoch, checksums=False, level=logging.DEBUG))


def _version(name, manifest):
    return "%s-%s" % (str(name)[len(PREFIX):], manifest["sha256"][:12])


def pick(directory, epoch=None, checksums=True, level=logging.INFO):
    """Choose a checkpoint, also while a run is training in the directory; needs no TensorFlow.

    Args:
      epoch: 0-based, or None for the best epoch of a run with validation, else the newest epoch,
        and where no epoch is finished the newest checkpoint within one. A damaged one is logged,
        and the one before it used.
      checksums: as for `load`. level: at which the choice is logged.
    Returns: (Name, its manifest as from `verified`).
    """
    if epoch is None:
        def read(name):
            best = _best(directory, name, level)
            if best is None or best == name.epoch:
                return name, verified(directory, name, checksums)
            return Name(best), None

        name, manifest = newest(directory, read, epochs_first=True)
        if not name.is_epoch:
            _log.log(level, "%s of %s is used, a moment within epoch %d: no epoch is finished",
                     name, directory, name.epoch)
        if manifest:
            return name, manifest
        epoch = name.epoch
    return _named(directory, epoch), verified(directory, Name(epoch), checksums)


def newest(directory, read, epochs_first=False):
    """What `read(Name)` returns for the newest checkpoint that is not damaged.

    Damaged ones, for which `read` raises CheckpointError, are logged.

    Args:
      epochs_first: True takes a checkpoint at the end of an epoch before any within one.
    Raises: CheckpointError if there is none, or all are damaged.
    """
    for _ in range(ATTEMPTS):
        names = listing(directory)[::-1]
        if epochs_first:
            names.sort(key=lambda name: not name.is_epoch)
        errors, removed = [], False
        for name in names:
            try:
                result = read(name)
            except CheckpointError as error:
                if name in listing(directory):
                    errors.append(error)
                else:  # the run that trains here has removed it
                    removed = True
                continue
            for error in errors:
                _log.warning("%s",
                             str(error).replace(manifests.REMEDY, "the one before it is used"))
            return result
        if not removed:
            break
    if errors:
        raise errors[0]
    raise CheckpointError("%s holds no checkpoint; train first (--train 1) or give "
                          "--checkpoint_dir" % directory)


def _named(directory, epoch):
    present = epochs(directory)
    if epoch not in present:
        raise CheckpointError("%s has no checkpoint of epoch %d; --test takes one of: %s"
                              % (directory, epoch, ", ".join(map(str, present))))
    return Name(epoch)


def _best(directory, name, level):
    """The best epoch by validation that a manifest names; None without a validation."""
    record = manifests.read(os.path.join(directory, name.manifest)).get("validation") or {}
    best = record.get("best_epoch")
    if best is not None:
        _log.log(level,
                 "epoch %d of %s is used, the best by validation (%s %.4f); --test takes another",
                 best, directory, record["metric"], record["best_value"])
    return best


def verified(directory, name, checksums=True):
    """Read the manifest of a checkpoint and compare the files with it; needs no TensorFlow.

    Args:
      checksums: as for `load`.
    Returns: dict, see checkpoint.manifest.read, with `config` a config.Config.
    Raises: CheckpointError naming the file that is damaged.
    """
    path = os.path.join(directory, name.manifest)
    manifest = manifests.read(path)
    manifests.verify(directory, name.files()[:-1] + [VOCABULARY], manifest, path, checksums)
    try:
        return dict(manifest, config=config_module.from_dict(manifest["config"]))
    except ConfigError as error:
        raise manifests.damaged(path, str(error)) from error


def tensors(directory, name, config, num_items, workers=1):
    """All arrays of a checkpoint (names of model.state.shapes), as `bundle_reader.read` gives them.

    Args:
      workers: processes that trained together (Position.workers).
    Raises: CheckpointError if the files are damaged, or hold something else.
    """
    prefix = os.path.join(directory, str(name))
    try:
        arrays = bundle_reader.read(prefix, state.shapes(config, num_items, workers))
    except ValueError as error:
        raise manifests.damaged(prefix, str(error)) from error
    step = int(arrays[state.GLOBAL_STEP])
    if not 0 <= step <= state.MAX_STEPS:
        raise manifests.damaged(prefix, "%s is %d" % (state.GLOBAL_STEP, step))
    for last in set(state.last_steps(config).values()):
        if arrays[last].min() < 0 or arrays[last].max() > step:
            raise manifests.damaged(prefix, "%s is outside 0..%d" % (last, step))
    return arrays


def check_flags(asked, checkpoint):
    """Refuse flags that contradict a saved model.

    Args:
      asked: config.Config of the command; only flags that were given on the command line count.
    Raises: CheckpointError naming the flag, both values and the checkpoint.
    """
    for flag, given, trained in config_module.contradictions(asked, checkpoint.config):
        raise CheckpointError("--%s %s contradicts %s, which was trained with --%s %s; leave the "
                              "flag out" % (flag, given, checkpoint.path, flag, trained))

"""Checkpoints, complete or absent. Imports config, data, model, files; TensorFlow to write only.

In the checkpoint directory lie, for epoch 2,

    gru-model-2.index  gru-model-2.data-00000-of-00001   tensors under the names of model.state, as a TF Saver writes
    vocabulary.npz                                       item ids and support (data.vocab)
    gru-model-2.json                                     manifest (module of that name)
    rules.npz                                            sequential rules to compare with (rules), if asked for
    checkpoint                                           names the newest, for tf.train.latest_checkpoint

A moment within an epoch is called gru-model-2-step5000, by the number of updates made. Everything
is written to a temporary directory, synced and renamed; the manifest comes last, so a checkpoint
without one was never finished and is not seen.
Tensors are read as arrays: no engine, optimizer layout or device is baked in.
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

ATTEMPTS = 5  # to read a checkpoint that is being removed meanwhile


class Checkpoint(NamedTuple):
    """One saved moment of a run, read back."""

    path: str  # directory/gru-model-<epoch>, the prefix TensorFlow knows it by
    config: Any  # config.Config it was trained with
    vocabulary: Vocabulary
    arrays: Dict[str, np.ndarray]  # names and dtypes of model.state
    epoch: int  # 0-based
    num_steps: int  # steps of the whole run it belongs to
    # validation.Validation.record of its epoch; None without a validation
    validation: Optional[Dict[str, Any]] = None
    version: Optional[str] = None  # epoch and checksum of the manifest, and so of everything in it

    @property
    def step(self):
        """Updates made."""
        return int(self.arrays[state.GLOBAL_STEP])


def save(directory, config, vocabulary, arrays, epoch, num_steps, validation=None, **more):
    """Write a checkpoint; the others are not touched, whatever happens.

    Args:
      directory: exists. config: config.Config. vocabulary: Vocabulary. arrays: engine.arrays().
      epoch: int, 0-based. num_steps: int, steps of the whole run.
      validation: None, or training.validation.Validation.record of the epoch.
      more: `position`, `data` and `phase` of the manifest, and `is_moment`: whether the epoch is
      not at its end.
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
                                      num_items=len(vocabulary),
                                      config=config.to_dict(), files=files, validation=validation,
                                      **more)
            _write_text(os.path.join(temporary, name.manifest), manifests.dump(manifest))
            _write_text(os.path.join(temporary, STATE_FILE),
                        'model_checkpoint_path: "%s"\nall_model_checkpoint_paths: "%s"\n'
                        % (name, name))
            _move_into_place(temporary, directory, name)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise CheckpointError("checkpoint %s cannot be written: %s; free space or give another "
                              "--checkpoint_dir"
                              % (os.path.join(directory, str(name)), error)) from error
    return os.path.join(directory, str(name))


def _write_parts(temporary, name, directory, vocabulary, arrays):
    """Tensor files, and the vocabulary unless the directory has the same; returns name -> [size,
    sha256].
    """
    bundle_writer.write(os.path.join(temporary, str(name)), arrays)
    vocabulary_path = os.path.join(temporary, VOCABULARY)
    vocabulary.save(vocabulary_path)
    files = {part: hashes.fingerprint(os.path.join(temporary, part))
             for part in sorted(os.listdir(temporary))}
    existing = os.path.join(directory, VOCABULARY)
    if os.path.exists(existing) and hashes.fingerprint(existing) == files[VOCABULARY]:
        os.remove(vocabulary_path)
    for part in os.listdir(temporary):
        durable.sync(os.path.join(temporary, part))
    return files


def _write_text(path, text):
    with open(path, "w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())


def _move_into_place(temporary, directory, name):
    last = [name.manifest, STATE_FILE]
    # of the same name: its manifest must not speak of other files
    if os.path.exists(os.path.join(directory, last[0])):
        os.remove(os.path.join(directory, last[0]))
    for part in sorted(set(os.listdir(temporary)) - set(last)):
        os.replace(os.path.join(temporary, part), os.path.join(directory, part))
    durable.sync_directory(directory)
    for part in last:
        os.replace(os.path.join(temporary, part), os.path.join(directory, part))
    durable.sync_directory(directory)


def record_validation(directory, epoch, record):
    """Put validation.Validation.record into the manifest of an epoch that is saved; CheckpointError
    if it cannot be.
    """
    path = os.path.join(directory, Name(epoch).manifest)
    try:
        manifests.amend(path, validation=record)
    except OSError as error:
        raise CheckpointError("%s cannot be written: %s; free space or give another "
                              "--checkpoint_dir"
                              % (path, error)) from error


def load(directory, epoch=None, checksums=True):
    """Read a checkpoint, chosen as by `pick` -> Checkpoint; needs no TensorFlow.

    Args:
      checksums: False compares sizes only, for files too large to be read twice.
    Raises: CheckpointError if it does not exist, is damaged, or is not what its manifest says.
    """
    attempts = ATTEMPTS
    while True:
        name, found = pick(directory, epoch, checksums)
        try:
            vocabulary = Vocabulary.load(os.path.join(directory, VOCABULARY))
            arrays = tensors(directory, name, found["config"], len(vocabulary),
                             manifests.workers(found))
            return Checkpoint(os.path.join(directory, str(name)), found["config"], vocabulary,
                              arrays, name.epoch,
                              found["num_steps"], found.get("validation"), _version(name, found))
        except CheckpointError:
            # else a run that is training here has removed it
            if attempts == 0 or name in listing(directory):
                raise
            attempts -= 1


def version(directory, epoch=None):
    """What `load` would give as `version`, without reading the files; CheckpointError as there."""
    return _version(*pick(directory, epoch, checksums=False, level=logging.DEBUG))


def _version(name, found):
    return "%s-%s" % (str(name)[len(PREFIX):], found["sha256"][:12])


def pick(directory, epoch=None, checksums=True, level=logging.INFO):
    """The checkpoint to use, also in a directory in which a run is training; needs no TensorFlow.

    Args:
      epoch: 0-based, or None for the best of a run with validation, else the newest epoch; where no
      epoch is finished the
        newest moment. One that is damaged is reported, and the one before it used.
      checksums: as for `load`. level: at which the choice is logged.
    Returns: (Name, its manifest as from `verified`).
    """
    if epoch is None:
        def read(name):
            best = _best(directory, name, level)
            return (name,
                    verified(directory, name,
                             checksums)) if best in (None, name.epoch) else (Name(best), None)

        name, found = newest(directory, read, epochs_first=True)
        if not name.is_epoch:
            _log.log(level, "%s of %s is used, a moment within epoch %d: no epoch is finished",
                     name, directory, name.epoch)
        if found:
            return name, found
        epoch = name.epoch
    return _named(directory, epoch), verified(directory, Name(epoch), checksums)


def newest(directory, read, epochs_first=False):
    """What `read(Name)` returns for the newest checkpoint that is not damaged; those that are, are
    reported.

    Args:
      epochs_first: whether the end of any epoch comes before all moments within one.
    Raises: CheckpointError if there is none, or each is damaged.
    """
    for _ in range(ATTEMPTS):
        names = listing(directory)[::-1]
        if epochs_first:
            names.sort(key=lambda name: not name.is_epoch)
        errors, removed = [], False
        for name in names:
            try:
                found = read(name)
            except CheckpointError as error:
                if name in listing(directory):
                    errors.append(error)
                else:  # by a run that is training here
                    removed = True
                continue
            for error in errors:
                _log.warning("%s",
                             str(error).replace(manifests.REMEDY, "the one before it is used"))
            return found
        if not removed:
            break
    raise errors[0] if errors else CheckpointError(
        "%s holds no checkpoint; train first (--train 1) or give --checkpoint_dir" % directory)


def _named(directory, epoch):
    present = epochs(directory)
    if epoch not in present:
        raise CheckpointError("%s has no checkpoint of epoch %d; --test takes one of: %s"
                              % (directory, epoch, ", ".join(map(str, present))))
    return Name(epoch)


def _best(directory, name, level):
    """The best epoch by validation, as the manifest of a newer one says; None without a validation.
    """
    found = manifests.read(os.path.join(directory, name.manifest)).get("validation") or {}
    best = found.get("best_epoch")
    if best is not None:
        _log.log(level,
                 "epoch %d of %s is used, the best by validation (%s %.4f); --test takes another",
                 best, directory,
                 found["metric"], found["best_value"])
    return best


def verified(directory, name, checksums=True):
    """Manifest of a checkpoint whose files are what it says; needs no TensorFlow.

    Args:
      checksums: as for `load`.
    Returns: dict, see checkpoint.manifest.read, with `config` a config.Config.
    Raises: CheckpointError naming the file that is damaged.
    """
    path = os.path.join(directory, name.manifest)
    found = manifests.read(path)
    manifests.verify(directory, name.files()[:-1] + [VOCABULARY], found, path, checksums)
    try:
        return dict(found, config=config_module.from_dict(found["config"]))
    except ConfigError as error:
        raise manifests.damaged(path, str(error)) from error


def tensors(directory, name, config, num_items, workers=1):
    """name -> array, everything model.state says a run of this configuration has, as
    `bundle_reader.read` gives it.

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
      asked: config.Config of the command; only explicitly given flags count.
    Raises: CheckpointError naming flag, both values and the checkpoint.
    """
    for flag, ours, theirs in config_module.contradictions(asked, checkpoint.config):
        raise CheckpointError("--%s %s contradicts %s, which was trained with --%s %s; leave the "
                              "flag out"
                              % (flag, ours, checkpoint.path, flag, theirs))

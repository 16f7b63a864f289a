"""Checkpoints: TensorFlow V2 files, vocabulary and one manifest, complete or absent.

In the checkpoint directory lie, for epoch 2,

    gru-model-2.index  gru-model-2.data-00000-of-00001   tensors under the names of engine.state, as a TF Saver writes
    vocabulary.npz                                       item ids and support (data.vocab)
    gru-model-2.json                                     manifest: configuration, position, sizes and checksums, and
                                                         with a validation the epoch's value and the best epoch so far
    rules.npz                                            sequential rules to compare with (baselines.rules), if asked for
    checkpoint                                           names the newest, for tf.train.latest_checkpoint

Everything is written to a temporary directory and renamed; the manifest comes last, so a checkpoint without one was
never finished and is not seen. Tensors are read as arrays: no engine, optimizer layout or device is baked in.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from typing import Any, Dict, NamedTuple, Optional

import numpy as np

from gru4rec import config as config_module
from gru4rec.baselines import rules
from gru4rec.data.vocab import Vocabulary
from gru4rec.engine import state
from gru4rec.errors import CheckpointError, ConfigError, InputError
from gru4rec.runlog import Metrics

_log = logging.getLogger(__name__)

FORMAT = 1
PREFIX = "gru-model-"
VOCABULARY = "vocabulary.npz"
STATE_FILE = "checkpoint"
_NAME = re.compile(r"gru-model-(0|[1-9][0-9]*)\.json\Z")
_SHARD = ".data-00000-of-00001"


class Checkpoint(NamedTuple):
    """One saved moment of a run, read back."""

    path: str  # directory/gru-model-<epoch>, the prefix TensorFlow knows it by
    config: Any  # config.Config it was trained with
    vocabulary: Vocabulary
    arrays: Dict[str, np.ndarray]  # names and dtypes of engine.state
    epoch: int  # 0-based
    num_steps: int  # steps of the whole run it belongs to
    validation: Optional[Dict[str, Any]] = None  # validation.Validation.record of its epoch; None without a validation
    version: Optional[str] = None  # epoch and checksum of the manifest, and so of everything in it

    @property
    def step(self):
        """Updates made."""
        return int(self.arrays[state.GLOBAL_STEP])


def save(directory, config, vocabulary, arrays, epoch, num_steps, validation=None):
    """Write the checkpoint of an epoch; the earlier ones are not touched, whatever happens.

    Args:
      directory: exists. config: config.Config. vocabulary: Vocabulary. arrays: engine.arrays().
      epoch: int, 0-based. num_steps: int, steps of the whole run.
      validation: None, or validation.Validation.record of the epoch.
    Returns: path prefix.
    Raises: CheckpointError if the disk refuses.
    """
    name = "%s%d" % (PREFIX, epoch)
    try:
        temporary = tempfile.mkdtemp(prefix=".tmp-", dir=directory)
        try:
            files = _write_parts(temporary, name, directory, vocabulary, arrays)
            manifest = dict(format=FORMAT, epoch=epoch, step=int(arrays[state.GLOBAL_STEP]), num_steps=num_steps,
                            num_items=len(vocabulary), config=config.to_dict(), files=files,
                            validation=validation)
            manifest["sha256"] = _manifest_checksum(manifest)
            _write_text(os.path.join(temporary, name + ".json"), json.dumps(manifest, indent=1, sort_keys=True))
            _write_text(os.path.join(temporary, STATE_FILE),
                        'model_checkpoint_path: "%s"\nall_model_checkpoint_paths: "%s"\n' % (name, name))
            for part in [p for p in os.listdir(temporary) if not p.endswith(".json") and p != STATE_FILE]:
                os.replace(os.path.join(temporary, part), os.path.join(directory, part))
            for part in (name + ".json", STATE_FILE):
                os.replace(os.path.join(temporary, part), os.path.join(directory, part))
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise CheckpointError("checkpoint %s cannot be written: %s; free space or give another --checkpoint_dir"
                              % (os.path.join(directory, name), error)) from error
    return os.path.join(directory, name)


def _write_parts(temporary, name, directory, vocabulary, arrays):
    """Tensor files, and the vocabulary unless the directory has the same; returns name -> [size, sha256]."""
    _write_tensors(os.path.join(temporary, name), arrays)
    vocabulary_path = os.path.join(temporary, VOCABULARY)
    vocabulary.save(vocabulary_path)
    files = {part: _fingerprint(os.path.join(temporary, part)) for part in sorted(os.listdir(temporary))}
    existing = os.path.join(directory, VOCABULARY)
    if os.path.exists(existing) and _fingerprint(existing) == files[VOCABULARY]:
        os.remove(vocabulary_path)
    return files


def _write_tensors(prefix, arrays):
    from gru4rec.tf_compat import tf
    with tf.Graph().as_default():
        placeholders = [tf.placeholder(a.dtype, a.shape) for a in arrays.values()]
        op = tf.raw_ops.SaveV2(prefix=_tf_path(prefix), tensor_names=list(arrays), shape_and_slices=[""] * len(arrays),
                               tensors=placeholders)
        with tf.Session(config=tf.ConfigProto(device_count={"GPU": 0})) as session:
            try:
                session.run(op, dict(zip(placeholders, arrays.values())))
            except tf.errors.OpError as error:
                raise OSError(str(error).splitlines()[0]) from error


def _tf_path(path):
    """A local path as TensorFlow must be told it: bytes, and absolute, so that no "s3:" in front means anything."""
    return os.fsencode(os.path.abspath(path))


def _write_text(path, text):
    with open(path, "w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())


def _fingerprint(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return [os.path.getsize(path), digest.hexdigest()]


def epochs(directory):
    """Sorted epochs that have a finished checkpoint in a directory; CheckpointError if it cannot be read."""
    if not os.path.isdir(directory):
        return []
    try:
        names = os.listdir(directory)
    except OSError as error:
        raise CheckpointError("%s cannot be read: %s; give another --checkpoint_dir"
                              % (directory, error.strerror)) from error
    return sorted(int(m.group(1)) for m in map(_NAME.match, names) if m)


def load(directory, epoch=None):
    """Read a checkpoint.

    Args:
      directory: checkpoint directory. epoch: 0-based, or None for the best of a run with validation, else the newest.
    Returns: Checkpoint.
    Raises: CheckpointError if it does not exist, is damaged, or is not what its manifest says.
    """
    found = locate(directory, epoch)
    arrays = _read_tensors(found.path, state.shapes(found.config, len(found.vocabulary)))
    return found._replace(arrays=arrays)


def locate(directory, epoch=None, checksums=True):
    """`load` without the tensors: `arrays` is empty, and no TensorFlow is needed.

    Args:
      checksums: False compares sizes only, for files too large to be read twice.
    """
    prefix, epoch, manifest = _chosen(directory, epoch)
    _verify(directory, os.path.basename(prefix), manifest, checksums)
    try:
        saved = config_module.from_dict(manifest["config"])
    except ConfigError as error:
        raise _damaged(prefix + ".json", str(error)) from error
    vocabulary = Vocabulary.load(os.path.join(directory, VOCABULARY))
    return Checkpoint(prefix, saved, vocabulary, {}, epoch, manifest["num_steps"], manifest.get("validation"),
                      _version(epoch, manifest))


def version(directory, epoch=None):
    """What `locate` would give as `version`, from the manifests alone; CheckpointError as there."""
    _, epoch, manifest = _chosen(directory, epoch, logging.DEBUG)
    return _version(epoch, manifest)


def _version(epoch, manifest):
    return "%d-%s" % (epoch, manifest["sha256"][:12])


def _chosen(directory, epoch, level=logging.INFO):
    """(path prefix, epoch, manifest) of a checkpoint; None is the best by validation, else the newest."""
    present = epochs(directory)
    if not present:
        raise CheckpointError("%s holds no checkpoint; train first (--train 1) or give --checkpoint_dir" % directory)
    if epoch is None:
        epoch = _best(directory, present[-1], level)
    if epoch not in present:
        raise CheckpointError("%s has no checkpoint of epoch %d; --test takes one of: %s"
                              % (directory, epoch, ", ".join(map(str, present))))
    prefix = os.path.join(directory, "%s%d" % (PREFIX, epoch))
    return prefix, epoch, _manifest(prefix + ".json")


def _best(directory, newest, level):
    """The best epoch by validation, as the newest epoch of the run says; without a validation the newest itself."""
    found = _manifest(os.path.join(directory, "%s%d.json" % (PREFIX, newest))).get("validation") or {}
    best = found.get("best_epoch")
    if best is None:
        return newest
    _log.log(level, "epoch %d of %s is used, the best by validation (%s %.4f); --test takes another", best, directory,
             found["metric"], found["best_value"])
    return best


def _damaged(path, what):
    return CheckpointError("%s is damaged: %s; use another epoch (--test) or train again" % (path, what))


def _manifest(path):
    try:
        with open(path, encoding="utf-8") as file:
            manifest = json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, "not a manifest (%s)" % str(error).splitlines()[0]) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise _damaged(path, "not a manifest of format %d" % FORMAT)
    for key, kind in (("num_steps", int), ("num_items", int), ("config", dict), ("files", dict)):
        if not isinstance(manifest.get(key), kind) or isinstance(manifest.get(key), bool):
            raise _damaged(path, "%s is missing or of the wrong type" % key)
    if manifest.get("sha256") != _manifest_checksum(manifest):
        raise _damaged(path, "its checksum is not that of its content")
    return manifest


def _manifest_checksum(manifest):
    """SHA-256 of everything else in a manifest: a changed configuration would change what the tensors mean."""
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode("ascii")).hexdigest()


def _verify(directory, name, manifest, checksums=True):
    """Every file the manifest must list is there, with its size and checksum. Other names are never opened."""
    for part in (name + ".index", name + _SHARD, VOCABULARY):
        path = os.path.join(directory, part)
        said = manifest["files"].get(part)
        try:
            found = _fingerprint(path) if checksums else [os.path.getsize(path)] + (said or [])[1:]
        except OSError as error:
            raise _damaged(path, error.strerror or "cannot be read") from error
        if found != said:
            raise _damaged(path, "size or checksum is not what %s.json says" % name)


def _read_tensors(prefix, shapes):
    """name -> array of every tensor in `shapes` (name -> (shape, dtype)); an error names the first that differs."""
    from gru4rec.tf_compat import tf
    arrays = {}
    with _without_wildcards(prefix) as path:
        try:
            reader = tf.train.NewCheckpointReader(_tf_path(path))
            stored, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
            for name, (shape, dtype) in shapes.items():
                if name not in stored:
                    raise _damaged(prefix, "tensor %s is missing" % name)
                if (tuple(stored[name]), dtypes[name].as_numpy_dtype) != (tuple(shape), dtype):
                    raise _damaged(prefix, "tensor %s is of type and shape %s %s, the configuration says %s %s"
                                   % (name, dtypes[name].name, tuple(stored[name]), np.dtype(dtype), tuple(shape)))
                arrays[name] = np.asarray(reader.get_tensor(name))
        except (tf.errors.OpError, RuntimeError) as error:
            raise _damaged(prefix, str(error).splitlines()[0]) from error
    return arrays


@contextlib.contextmanager
def _without_wildcards(prefix):
    """A prefix of the same tensor files; another one where TensorFlow would read it as a pattern (`*`, `?`, `[`)."""
    if not re.search(r"[*?\[\\]", os.path.abspath(prefix)):
        yield prefix
        return
    with tempfile.TemporaryDirectory(prefix="gru4rec-") as plain:
        for ending in (".index", _SHARD):
            os.symlink(os.path.abspath(prefix + ending), os.path.join(plain, "model" + ending))
        yield os.path.join(plain, "model")


def check_flags(asked, checkpoint):
    """Refuse flags that contradict a saved model.

    Args:
      asked: config.Config of the command; only explicitly given flags count.
    Raises: CheckpointError naming flag, both values and the checkpoint.
    """
    for flag, ours, theirs in config_module.contradictions(asked, checkpoint.config):
        raise CheckpointError("--%s %s contradicts %s, which was trained with --%s %s; leave the flag out"
                              % (flag, ours, checkpoint.path, flag, theirs))


def prepare_directory(directory):
    """Make the directory of a new run; an earlier run found there is moved to previous-<N>/ and that is logged.

    Raises: InputError if it cannot be made or written.
    """
    try:
        os.makedirs(directory, exist_ok=True)
        earlier = [n for n in os.listdir(directory)
                   if n.startswith(PREFIX) or n in (VOCABULARY, STATE_FILE, Metrics.FILE, rules.FILE)]
        if earlier:
            number = 1
            while os.path.exists(os.path.join(directory, "previous-%d" % number)):
                number += 1
            aside = os.path.join(directory, "previous-%d" % number)
            os.mkdir(aside)
            for name in earlier:
                os.replace(os.path.join(directory, name), os.path.join(aside, name))
            _log.warning("an earlier run in %s was moved to %s", directory, aside)
        elif not os.access(directory, os.W_OK):
            raise InputError("--checkpoint_dir %s is not writable; give another" % directory)
    except OSError as error:
        raise InputError("--checkpoint_dir %s cannot be used: %s; give another"
                         % (directory, error.strerror or error)) from error

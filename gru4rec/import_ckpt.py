"""Command `python -m gru4rec.import_ckpt`: convert a checkpoint of the older TensorFlow 1 port.

The older port saves `gru_layer/embedding`, `gru_layer/softmax_w`, `gru_layer/softmax_b` and the
kernels and biases of one GRUCell, which all its layers share. It saves no vocabulary: item indices
are the order of first appearance in the training file. So the training file is needed too, and it
must be the one that the model was trained on.
"""

import os
import re
import sys
from dataclasses import dataclass, replace
from typing import Optional

import numpy as np

from gru4rec import config as config_module
from gru4rec.command import invocation
from gru4rec.command.flags import Command, flag
from gru4rec.command.kinds import whole
from gru4rec.command.process import exit_status, say, setup_logging
from gru4rec.errors import CheckpointError, ConfigError, InputError
from gru4rec.model import state

_TABLES = {state.EMBEDDING: "gru_layer/embedding", state.SOFTMAX_W: "gru_layer/softmax_w",
           state.SOFTMAX_B: "gru_layer/softmax_b"}
_CELL = re.compile(r"gru_layer/(?:.*/)?cell_(\d+)/.*(gates|candidate)/(kernel|bias)\Z")


@dataclass(frozen=True)
class ImportConfig:
    """What is imported, and where to."""

    old: Optional[str] = flag(None, "old checkpoint: its prefix (…/gru-model-2), or its directory "
                              "for the newest one", "path", shown="required")
    train_path: Optional[str] = flag(None, "training file of the old model", "file",
                                     shown="required")
    checkpoint_dir: Optional[str] = flag(None, "directory of the new checkpoint", "directory",
                                         shown="required")
    layer: int = flag(1, "number of layers of the old model (they shared one cell)", "layers",
                      kind=whole, low=1, high=1000)
    hidden_act: str = flag("tanh", "--hidden_act of the old model", choices=("tanh", "relu"))
    loss: str = flag("cross-entropy", "--loss of the old model",
                     choices=("cross-entropy", "bpr", "top1"))
    session_key: str = flag("SessionId", "column of the session id", "column")
    item_key: str = flag("ItemId", "column of the item id", "column")
    time_key: str = flag("Time", "column of the event time", "column")


COMMAND = Command("python -m gru4rec.import_ckpt",
                  "Turn a checkpoint of the older TensorFlow 1 port into one of this program.",
                  (("import", ImportConfig),))


def main(argv=None):
    """Run the command; returns its exit status (command.process.exit_status)."""
    setup_logging()
    return exit_status(lambda: _run(sys.argv[1:] if argv is None else argv))


def _run(argv):
    options, = COMMAND.parse(argv)
    for name in ("old", "train_path", "checkpoint_dir"):
        if getattr(options, name) is None:
            raise ConfigError("--%s is missing (%s)" % (name, invocation.see_help()))
    from gru4rec.data import sessions
    from gru4rec.data.reading import loader
    events = loader.load_events(options.train_path, options.session_key, options.item_key,
                                options.time_key)
    vocabulary, _, _ = sessions.index_train(events)
    path, tensors = read(options.old)
    arrays, config = convert(tensors, len(vocabulary), options, path)
    from gru4rec import checkpoint
    from gru4rec.training.directory import RunDirectory
    with RunDirectory(options.checkpoint_dir) as directory:
        directory.begin()
        saved = checkpoint.save(options.checkpoint_dir, config, vocabulary, arrays, 0, 0)
    say("saved %s (%d items, %d layers of %d)" % (saved, len(vocabulary), config.model.layer,
                                                  config.model.size[0]))


def read(path):
    """Read an old checkpoint -> (prefix, dict of old name -> array).

    Args:
      path: prefix of the files, or a directory.
    Raises: CheckpointError if there is none, or it cannot be read.
    """
    from gru4rec import tf_compat
    from gru4rec.tf_compat import tf
    tf_compat.setup()
    prefix = tf.train.latest_checkpoint(path) if os.path.isdir(path) else path
    if prefix is None:
        raise CheckpointError("%s holds no TensorFlow checkpoint (no file named checkpoint); give "
                              "the prefix of one" % path)
    try:
        reader = tf.train.load_checkpoint(prefix)
        return prefix, {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()
                        if name.startswith("gru_layer/")}
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        what = str(error).splitlines()[0]
        raise CheckpointError("%s cannot be read as a TensorFlow checkpoint: %s; give the prefix "
                              "of its .index file" % (prefix, what)) from error


def convert(tensors, num_items, options, path):
    """Old tensors -> (arrays under our names, config.Config of a model that has them).

    Args:
      tensors: dict of old name -> array. num_items: items of the training file.
      options: ImportConfig. path: of the old checkpoint, for error texts.
    Raises: CheckpointError naming the tensor that is missing or of another shape; InputError for
      another training file.
    """
    tables, cells = _weights(tensors, path)
    items, hidden = tables[state.SOFTMAX_W].shape
    if items != num_items:
        raise InputError("%s was trained on %d items, --train_path has %d; give the file it was "
                         "trained on" % (path, items, num_items))
    asked = config_module.from_flags({
        "size": str(hidden), "layer": str(options.layer), "hidden_act": options.hidden_act,
        "loss": options.loss, "embed_size": str(tables[state.EMBEDDING].shape[1]), "dropout": "0",
        "train_path": options.train_path, "checkpoint_dir": options.checkpoint_dir,
        "session_key": options.session_key, "item_key": options.item_key,
        "time_key": options.time_key})
    config = replace(asked, explicit=())
    arrays = state.initial(config, items)
    arrays.update(tables)
    for layer in range(options.layer):
        cell = cells[layer if layer in cells else 0]
        for part, value in cell.items():
            arrays["gru_layer_%d/%s" % (layer, part)] = value
    for name, (shape, _) in state.shapes(config, items).items():
        if arrays[name].shape != tuple(shape):
            raise CheckpointError("%s: tensor for %s has the shape %s, a model of %d layers of %d "
                                  "needs %s; check --layer"
                                  % (path, name, arrays[name].shape, options.layer, hidden,
                                     tuple(shape)))
    return arrays, config


def _weights(tensors, path):
    """({our name of a table: array}, {number of a cell: {"gates/kernel": array, ...}}), float32."""
    tables, cells = {}, {}
    for name, old_name in _TABLES.items():
        if old_name not in tensors:
            raise CheckpointError("%s has no tensor %s; it is no checkpoint of the older port"
                                  % (path, old_name))
        tables[name] = np.asarray(tensors[old_name], np.float32)
    for name, value in tensors.items():
        matched = _CELL.match(name)
        if matched:
            number, part = int(matched.group(1)), "%s/%s" % matched.group(2, 3)
            cells.setdefault(number, {})[part] = np.asarray(value, np.float32)
    if sorted(cells.get(0, ())) != ["candidate/bias", "candidate/kernel", "gates/bias",
                                    "gates/kernel"]:
        raise CheckpointError("%s has no GRUCell under gru_layer/…/cell_0; it is no checkpoint of "
                              "the older port" % path)
    return tables, cells


if __name__ == "__main__":
    sys.exit(main())

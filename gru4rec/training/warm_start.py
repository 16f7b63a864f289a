"""Starting from the weights of another model (--init_from): the daily retrain on newer events.

The vocabulary is that of the model with the new items appended. So old items keep their rows, also
those that have vanished. Weights are brought up to date (`model.state.caught_up`) and copied; new
items have fresh rows. The optimizer starts anew: steps are counted from 1 again, for the learning
rate and for Adam, whose corrections for its first steps would be wrong for old moments.
"""

import dataclasses
import logging
import os
from typing import Any, NamedTuple

from gru4rec import checkpoint
from gru4rec import config as config_module
from gru4rec.checkpoint import names
from gru4rec.checkpoint.manifest import workers
from gru4rec.config import presets
from gru4rec.data.sessions import Sessions
from gru4rec.data.vocab import Vocabulary
from gru4rec.model import state

_log = logging.getLogger(__name__)
# Flags of the model group that belong to training alone, so they may differ from the model's.
_FREE = ("dropout", "embed_dropout")


class Source(NamedTuple):
    """The model to start from."""

    directory: str
    name: names.Name
    config: Any  # config.Config it was trained with
    vocabulary: Vocabulary
    workers: int = 1  # processes that trained it together

    @property
    def path(self):
        return os.path.join(self.directory, str(self.name))


def find(config):
    """The Source that --init_from names, None without; needs no TensorFlow.

    Raises: CheckpointError if there is no checkpoint, or none that can be read.
    """
    directory = config.training.init_from
    if directory is None:
        return None
    name, manifest = checkpoint.pick(directory)
    return Source(directory, name, manifest["config"],
                  Vocabulary.load(os.path.join(directory, names.VOCABULARY)), workers(manifest))


def with_model_of(source, config):
    """The configuration, with the model flags that were not given taken from a Source.

    Raises: CheckpointError for a model flag, given or of a preset, that contradicts the model; it
      names both values.
    """
    of_preset = tuple(presets.load(config.training.preset)) if config.training.preset else ()
    asked = dataclasses.replace(config, explicit=tuple(sorted(set(config.explicit + of_preset))))
    checkpoint.check_flags(asked, source)
    rates = {name: getattr(config.model, name) for name in _FREE if name in asked.explicit}
    config = dataclasses.replace(config, model=dataclasses.replace(source.config.model, **rates))
    # checks that the flags of both still have a meaning together
    checked = config_module.from_dict(config.to_dict())
    return dataclasses.replace(checked, explicit=config.explicit)


def onto(base, vocabulary, sessions):
    """Sessions in the item indices of an older vocabulary, to which new items are appended.

    Args:
      base: Vocabulary of the weights. vocabulary, sessions: of the training file, as
      data.sessions.index_train gives them.
    Returns: (Vocabulary with the support of the training file, Sessions).
    """
    extended, index = base.extended(vocabulary)
    return extended, Sessions(index[sessions.items], sessions.offsets)


def report(source, vocabulary):
    """Log how many items are new and how many have vanished."""
    old = len(source.vocabulary)
    present = int((vocabulary.support[:old] > 0).sum())
    _log.info("starting from %s: %d of its %d items occur in the training file, %d do not and keep "
              "their rows; %d new items have fresh rows", source.path, present, old, old - present,
              len(vocabulary) - old)


def filled(source, config, arrays):
    """A fresh state with the weights of a Source: rows of its items, and all that are no rows.

    Args:
      config: config.Config of the training. arrays: model.state.initial of it; changed in place and
      returned.
    """
    saved = checkpoint.tensors(source.directory, source.name, source.config, len(source.vocabulary),
                               source.workers)
    saved = state.caught_up(source.config, saved)
    for name in state.weight_shapes(config.model, 0):
        if name in state.dense_shapes(config.model):
            arrays[name] = saved[name]
        else:
            arrays[name][:len(saved[name])] = saved[name]
    return arrays

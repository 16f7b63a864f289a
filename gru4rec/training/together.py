"""How the processes of a cluster begin a run: the same flags everywhere, and the start that rank 0
has found.

Rank 0 alone has a checkpoint directory that counts. The others learn from it which configuration
the run has, where it goes on and with which weights, so that no file need be shared but what they
read their sessions from.
"""

import dataclasses
import math

import numpy as np

from gru4rec import config as config_module
from gru4rec.checkpoint.manifest import Position
from gru4rec.command.flags import show
from gru4rec.data.vocab import Vocabulary
from gru4rec.errors import ClusterError, ConfigError
from gru4rec.model import state
from gru4rec.training import fingerprint

# What may differ from process to process: where its files lie, and what it prints.
_OWN = {"data": ("train_path", "test_path"), "run": ("checkpoint_dir", "device", "tensorboard")}


class Start:
    """What resume.Start is to one process (`training.loop.train` and `main` ask for nothing else),
    the same on all.
    """

    refit, record, source, phase, is_finished = None, None, None, "train", False

    def __init__(self, config, own, said, communicator):
        """config: config.Config. own: the training.start.Start of rank 0, None on others. said: by
        rank 0, see `agreed`.
        """
        self.config, self._own, self._said, self._together = config, own, said, communicator
        self.is_finished, self.record = said["finished"], said["record"]
        if own is not None:
            self.name, self.manifest, self.source = own.name, own.manifest, own.source
        else:
            self.name = self.manifest = None

    def base_vocabulary(self):
        """Vocabulary whose item indices the weights have, without support, as rank 0 knows it; None
        for fresh weights.
        """
        if self._said["fresh"]:
            return None
        own = self._own.base_vocabulary() if self._own else None
        ids = self._together.exchange(own.ids.tolist() if own else [])[0]
        is_integer = all(isinstance(i, int) for i in ids)
        return Vocabulary(np.array(ids, np.int64 if is_integer else object),
                          np.zeros(len(ids), np.int64))

    def check_data(self, vocabulary, sessions, test=None):
        """On every rank an error if rank 0 finds that the run was trained on other events, or a
        rank has other events.

        Raises: CheckpointError on rank 0, ClusterError on the others; ConfigError on all for
        other events."""
        error = None
        if self._own is not None:
            try:
                self._own.check_data(vocabulary, sessions, test)
            except Exception as found:  # said to the others first
                error = found
        ours = fingerprint.data_of(vocabulary, sessions)
        said = self._together.exchange([ours["train"], len(vocabulary),
                                        None if error is None else str(error)])
        if error is not None:
            raise error
        if said[0][2] is not None:
            raise ClusterError("%s cannot go on: %s" % (self._together.name(0), said[0][2]))
        for rank, (found, items, _) in enumerate(said):
            if found != said[0][0]:
                names = self._together.name(rank), items, self._together.name(0), said[0][1]
                raise ConfigError("%s has other training events (of %d items) than %s (of %d): "
                                  "give every process the same "
                                  "training file or dataset directory" % names)

    def arrays(self, vocabulary):
        """State to start from; that of rank 0 where it is not fresh."""
        if self._said["fresh"]:
            return state.initial(self.config, len(vocabulary))
        own = self._own.arrays(vocabulary) if self._own else {}
        kinds, = self._together.exchange([[name, array.dtype.str, array.shape] for name,
                                          array in own.items()])[:1]
        return {name: self._together.shared(own[name] if self._own
                                            else np.zeros(shape, np.dtype(kind)))
                for name, kind, shape in kinds}

    def position(self):
        """checkpoint.manifest.Position to go on at; None for a new run."""
        if self._said["position"] is None:
            return None
        found = Position(*self._said["position"])
        return found._replace(divisions=tuple(tuple(part) for part in found.divisions))


def agreed(config, own, communicator):
    """Start of a run of several processes.

    Args:
      config: config.Config of this process's flags. own: the training.start.Start of rank 0; None
      on others.
      communicator: parallel.collectives.Collectives; all its processes have come.
    Raises: ConfigError on every rank, naming the first flag that is not the same everywhere.
    """
    said = {"asked": _common(config), "given": list(config.explicit)}
    if own is not None:
        position = own.position()
        started = (own.config if own.name is not None
                   else _scaled(own.config, communicator.workers.size))
        said.update(config=started.to_dict(), finished=own.is_finished, record=own.record,
                    fresh=own.name is None and own.source is None,
                    position=None if position is None else list(position))
    every = communicator.exchange(said)
    for rank, other in enumerate(every):
        _check_same(every[0], other, communicator.name(0), communicator.name(rank))
    found = config_module.from_dict(every[0]["config"])
    parts = {}
    for group, names in _OWN.items():
        ours = getattr(config, group)
        parts[group] = dataclasses.replace(getattr(found, group), **{
            name: getattr(ours, name) for name in names
            # else as the run had them
            if name in config.explicit or name in ("checkpoint_dir", "device")})
    return Start(dataclasses.replace(found, explicit=config.explicit, **parts), own, every[0],
                 communicator)


def _scaled(config, size):
    """A new run's configuration with --lr_scale made a number."""
    factor = {"none": 1.0, "linear": float(size),
              "sqrt": math.sqrt(size)}.get(config.training.lr_scale)
    if factor is None:
        return config
    return dataclasses.replace(config,
                               training=dataclasses.replace(config.training,
                                                            lr_scale="%.17g" % factor))


def _common(config):
    """What every process must be told alike."""
    found = config.to_dict()
    for group, names in _OWN.items():
        for name in names:
            del found[group][name]
    return found


def _check_same(first, other, first_name, other_name):
    given = first["given"] + other["given"]
    flags = [(group, name) for group in sorted(first["asked"])
             for name in sorted(first["asked"][group])]
    # before those that only follow from them
    for group, name in sorted(flags, key=lambda flag: flag[1] not in given):
        ours, theirs = (tuple(value) if isinstance(value, list) else value
                        for value in (said["asked"][group][name] for said in (first, other)))
        if ours != theirs:
            raise ConfigError("--%s is %s in %s and %s in %s; give every process the same flags"
                              % (name, show(ours), first_name, show(theirs), other_name))

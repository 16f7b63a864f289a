"""How the processes of a cluster begin a run: with equal flags, at the position of rank 0.

The checkpoint directory of rank 0 alone counts. The others learn from rank 0 which configuration
the run has, where it goes on and with which weights. So the processes need no shared file but those
that they read sessions from.
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
from gru4rec.training.start import FRESH, Fresh, Start

# What may differ from process to process: where its files lie, and where it prints.
_OWN = {"data": ("train_path", "test_path"), "run": ("checkpoint_dir", "device", "tensorboard")}


class FromRankZero(Fresh):
    """What the origin of rank 0 has, on every rank; each method is called by all at the same time.
    """

    def __init__(self, answer, origin, communicator):
        """answer: of rank 0, see `agreed`. origin: that of rank 0; None on the others."""
        self._is_fresh, self.record = answer["fresh"], answer["record"]
        self._origin, self._communicator = origin, communicator
        self.saved = origin.saved if origin else None
        if answer["position"] is not None:
            position = Position(*answer["position"])
            self.position = position._replace(divisions=tuple(map(tuple, position.divisions)))

    def base_vocabulary(self):
        """As rank 0 knows it, but without support; None for fresh weights."""
        if self._is_fresh:
            return None
        ids = self._origin.base_vocabulary().ids.tolist() if self._origin else []
        ids = self._communicator.exchange(ids)[0]
        is_integer = all(isinstance(i, int) for i in ids)
        return Vocabulary(np.array(ids, np.int64 if is_integer else object),
                          np.zeros(len(ids), np.int64))

    def report(self, vocabulary):
        if self._origin:
            self._origin.report(vocabulary)

    def check_data(self, config, vocabulary, sessions, test=None):
        """An error on every rank if one has other events than the run, or than rank 0.

        Raises: where rank 0 finds other events than those of the run, CheckpointError on rank 0 and
          ClusterError on the others; ConfigError on all where a rank has other events than rank 0.
        """
        error = None
        if self._origin:
            try:
                self._origin.check_data(config, vocabulary, sessions, test)
            except Exception as failure:  # raised below, after the others were told
                error = failure
        digest = fingerprint.data_of(vocabulary, sessions)["train"]
        answers = self._communicator.exchange([digest, len(vocabulary),
                                               None if error is None else str(error)])
        if error is not None:
            raise error
        name = self._communicator.name
        first_digest, first_items, first_error = answers[0]
        if first_error is not None:
            raise ClusterError("%s cannot go on: %s" % (name(0), first_error))
        for rank, (digest, items, _) in enumerate(answers):
            if digest != first_digest:
                raise ConfigError("%s has other training events (of %d items) than %s (of %d): "
                                  "give every process the same training file or dataset directory"
                                  % (name(rank), items, name(0), first_items))

    def arrays(self, config, vocabulary):
        if self._is_fresh:
            return state.initial(config, len(vocabulary))
        arrays = self._origin.arrays(config, vocabulary) if self._origin else {}
        shapes = self._communicator.exchange([[name, array.dtype.str, array.shape]
                                              for name, array in arrays.items()])[0]
        if not self._origin:
            arrays = {name: np.zeros(shape, np.dtype(kind)) for name, kind, shape in shapes}
        return {name: self._communicator.shared(arrays[name]) for name, _, _ in shapes}


def agreed(config, start, communicator):
    """Start of a run of several processes.

    Args:
      config: config.Config of this process's flags. start: the Start of rank 0; None on the others.
      communicator: parallel.collectives.Collectives; all its processes have come.
    Raises: ConfigError on every rank, naming the first flag that is not the same everywhere.
    """
    answer = {"asked": _common(config), "given": list(config.explicit)}
    if start is not None:
        origin, run_config = start.origin, start.config
        if origin.saved is None:  # a run that goes on has its factor already
            run_config = _scaled(run_config, communicator.workers.size)
        answer.update(config=run_config.to_dict(), finished=start.is_finished,
                      record=origin.record, fresh=origin is FRESH,
                      position=None if origin.position is None else list(origin.position))
    answers = communicator.exchange(answer)
    first = answers[0]
    for rank, other in enumerate(answers):
        _check_same(first, other, communicator.name(0), communicator.name(rank))
    origin = FromRankZero(first, None if start is None else start.origin, communicator)
    return Start(_with_own(config, config_module.from_dict(first["config"])), origin,
                 is_finished=first["finished"])


def _with_own(config, run_config):
    """The configuration of the run, with what this process has of its own (_OWN).

    A path that was not given to this process is that of the run.
    """
    groups = {}
    for group, names in _OWN.items():
        own = getattr(config, group)
        groups[group] = dataclasses.replace(getattr(run_config, group), **{
            name: getattr(own, name) for name in names
            if name in config.explicit or name in ("checkpoint_dir", "device")})
    return dataclasses.replace(run_config, explicit=config.explicit, **groups)


def _scaled(config, size):
    """A new run's configuration with --lr_scale made a number."""
    factor = {"none": 1.0, "linear": float(size),
              "sqrt": math.sqrt(size)}.get(config.training.lr_scale)
    if factor is None:
        return config
    training = dataclasses.replace(config.training, lr_scale="%.17g" % factor)
    return dataclasses.replace(config, training=training)


def _common(config):
    """The flags that every process must be given alike: group -> name -> value."""
    groups = config.to_dict()
    for group, names in _OWN.items():
        for name in names:
            del groups[group][name]
    return groups


def _check_same(first, other, first_name, other_name):
    """Raises: ConfigError naming the first flag that differs in the answers of two processes."""
    given = first["given"] + other["given"]
    flags = [(group, name) for group in sorted(first["asked"])
             for name in sorted(first["asked"][group])]
    flags.sort(key=lambda flag: flag[1] not in given)  # others only follow from those given
    for group, name in flags:
        values = [answer["asked"][group][name] for answer in (first, other)]
        # JSON has lists where a flag has a tuple
        first_value, value = [tuple(v) if isinstance(v, list) else v for v in values]
        if first_value != value:
            raise ConfigError("--%s is %s in %s and %s in %s; give every process the same flags"
                              % (name, show(first_value), first_name, show(value), other_name))

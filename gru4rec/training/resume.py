"""Where a training starts: afresh, from the weights of another model, or where an earlier run in
the directory stopped.

Everything here comes before TensorFlow is imported, but for `Start.arrays`.
"""

import dataclasses
import json
import logging
import os

from gru4rec import checkpoint
from gru4rec import config as config_module
from gru4rec.checkpoint import names
from gru4rec.command.flags import show
from gru4rec.errors import CheckpointError, ConfigError
from gru4rec.training import validation
from gru4rec.training.directory import REFIT
from gru4rec.training.start import Refit, Start, afresh, second_part

_log = logging.getLogger(__name__)

# Of the evaluation group, what a validation measures by; the rest of that group changes no number
# of a training.
_MEASURED_BY = ("cut_off", "tie", "unknown", "eval_target")


def find(asked, directory):
    """Start of a run that goes on where the newest checkpoint that is not damaged was saved.

    Args:
      asked: config.Config of the command; flags not given are those of the run. directory:
      training.directory.RunDirectory.
    Returns: Start; `afresh` if there is nothing to go on with.
    Raises: ConfigError for a flag that contradicts the run; CheckpointError if no checkpoint can
    be used."""
    directory.tidy()
    refit = _read_refit(directory)
    if not names.listing(directory.path) and refit is None:
        _log.warning("nothing to resume in %s: starting afresh", directory.path)
        return afresh(asked)
    name, found = None, None
    if names.listing(directory.path):
        name, found = checkpoint.newest(directory.path,
                                        lambda n: (n, checkpoint.verified(directory.path, n)))
        if found["position"] is None or found["data"] is None:
            raise CheckpointError("%s cannot be resumed: it does not say where in the run it was "
                                  "saved; train afresh without "
                                  "--resume" % directory.file(str(name)))
    if refit is None:
        start = _first_part(asked, name, found)
    else:
        start = _second_part(asked, name, found, refit)
    # of a part that came to its end, but was killed before it removed them
    if start.name is None or start.is_finished:
        names.remove(directory.path, [n for n in names.listing(directory.path) if not n.is_epoch])
    if start.name is not None and not start.is_finished:
        _log.info("going on from %s (epoch %d, step %d)", directory.file(str(start.name)),
                  name.epoch, found["step"])
    return start


def _first_part(asked, name, found):
    saved = found["config"]
    config = continued(asked, saved)
    trained = name.epoch + name.is_epoch
    if name.epoch >= config.training.epoch:
        raise ConfigError("--epoch %d contradicts the run in %s, which is in epoch %d already "
                          "(--epoch %d); give a larger one"
                          % (config.training.epoch, config.run.checkpoint_dir, name.epoch,
                             saved.training.epoch))
    record = found["validation"]
    measured = record is None or record["value"] is not None
    over = record is not None and name.is_epoch and measured and validation.is_over(
        name.epoch, record["best_epoch"], config.validation.patience)
    if not (name.is_epoch and measured and (trained == config.training.epoch or over)):
        return Start(config, name, found)
    if config.validation.refit:
        return second_part(config, record["best_epoch"], validation.summary(record))
    return Start(config, name, found, is_finished=True)


def _second_part(asked, name, found, refit):
    config = continued(asked, refit.config, ("epoch",))
    if name is None or found["phase"] != "refit":  # stopped before its first checkpoint
        return second_part(config, refit.best_epoch, refit.summary)
    return Start(validation.refit_config(config, refit.best_epoch), name, found,
                 refit._replace(config=config),
                 is_finished=name.is_epoch and name.epoch == refit.best_epoch)


def _read_refit(directory):
    path = directory.file(REFIT)
    if not os.path.exists(path):
        return None
    try:
        with open(path, encoding="utf-8") as file:
            values = json.load(file)
        best, summary = values["best_epoch"], values["summary"]
        if isinstance(best, bool) or not isinstance(best,
                                                    int) or best < 0 or not isinstance(summary,
                                                                                       str):
            raise ValueError("a value is of the wrong type")
        return Refit(config_module.from_dict(values["config"]), best, summary)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError("%s is damaged (%s); train afresh without --resume"
                              % (path, " ".join(str(error).split())[:120])) from error


def continued(asked, saved, fixed=()):
    """config.Config of a run that goes on: the saved one, with those given flags that change no
    number.

    Those are --epoch (the learning rate depends on the step alone, so a longer run has the same
    beginning), the run group, where files lie (their content is compared), and without a validation
    the evaluation group.
    Args:
      asked, saved: config.Config. fixed: names of further flags that must be as they were.
    Raises: ConfigError naming the first flag that differs, and both values.
    """
    parts = {}
    for group, cls in config_module.GROUPS:
        ours, theirs = getattr(asked, group), getattr(saved, group)
        given = {f.name: getattr(ours, f.name)
                 for f in dataclasses.fields(cls) if f.name in asked.explicit}
        for name in sorted(given):
            if (name in fixed
                or not _may_differ(group, name,
                                   saved)) and not _equal(given[name], getattr(theirs, name)):
                raise ConfigError("--%s %s contradicts the run in %s, which has --%s %s; leave the "
                                  "flag out, or train afresh "
                                  "without --resume" % (name, show(given[name]),
                                                        asked.run.checkpoint_dir, name,
                                                        show(getattr(theirs, name))))
        free = {name: value for name,
                value in given.items() if _may_differ(group, name, saved) and name != "lr_scale"}
        if group == "run":
            free.update(train=1, resume=1, checkpoint_dir=asked.run.checkpoint_dir)
        parts[group] = dataclasses.replace(theirs, **free)
    return config_module.Config(explicit=asked.explicit, **parts)


def _may_differ(group, name, saved):
    if group == "training":
        return name in ("epoch", "lr_scale")  # which factor a run has was settled when it began
    if group == "validation":
        return name == "valid_path"
    if group == "evaluation":
        return not (saved.validation.is_on and name in _MEASURED_BY)
    return group in ("run", "data")


def _equal(ours, theirs):
    """Whether a flag says what was saved; one size or rate stands for each layer."""
    if isinstance(ours, tuple) and len(ours) == 1:
        ours = ours * len(theirs)
    return ours == theirs

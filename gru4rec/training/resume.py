"""Where a resumed training continues: at the newest checkpoint of the run in --checkpoint_dir.

Everything here comes before TensorFlow is imported.
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
from gru4rec.training.start import Refit, Saved, Start, afresh, second_part

_log = logging.getLogger(__name__)

# Of the evaluation group, what a validation measures by; the rest of that group changes no number
# of a training.
_MEASURED_BY = ("cut_off", "tie", "unknown", "eval_target")


def find(asked, directory):
    """Start of a run that goes on at its newest checkpoint that is not damaged.

    Args:
      asked: config.Config of the command; flags not given are those of the run.
      directory: training.directory.RunDirectory.
    Returns: Start; that of a new run if there is nothing to go on with.
    Raises: ConfigError for a flag that contradicts the run; CheckpointError if no checkpoint can
      be used.
    """
    directory.tidy()
    refit = _read_refit(directory)
    if not names.listing(directory.path) and refit is None:
        _log.warning("nothing to resume in %s: starting afresh", directory.path)
        return afresh(asked)
    name, manifest = None, None
    if names.listing(directory.path):
        name, manifest = checkpoint.newest(
            directory.path, lambda name: (name, checkpoint.verified(directory.path, name)))
        if manifest["position"] is None or manifest["data"] is None:
            raise CheckpointError("%s cannot be resumed: it does not say where in the run it was "
                                  "saved; train again without --resume"
                                  % directory.file(str(name)))
    if refit is None:
        start = _first_part(asked, directory.path, name, manifest)
    else:
        start = _second_part(asked, directory.path, name, manifest, refit)
    saved = start.origin.saved
    # moments of a part that came to its end, but was killed before it removed them
    if saved is None or start.is_finished:
        names.remove(directory.path, [n for n in names.listing(directory.path) if not n.is_epoch])
    if saved is not None and not start.is_finished:
        _log.info("going on from %s (epoch %d, step %d)", saved.path, name.epoch, saved.step)
    return start


def _first_part(asked, path, name, manifest):
    run_config, saved = manifest["config"], Saved(path, name, manifest)
    config = continued(asked, run_config)
    num_epochs, record = config.training.epoch, manifest["validation"]
    if name.epoch >= num_epochs:
        raise ConfigError("--epoch %d contradicts the run in %s, which is in epoch %d already "
                          "(--epoch %d); give a larger one"
                          % (num_epochs, path, name.epoch, run_config.training.epoch))
    is_last = name.epoch + 1 == num_epochs
    if saved.is_over and record is not None:
        is_last = is_last or validation.is_over(name.epoch, record["best_epoch"],
                                                config.validation.patience)
    if not (saved.is_over and is_last):
        return Start(config, saved)
    if config.validation.refit:
        return second_part(config, record["best_epoch"], validation.summary(record))
    return Start(config, saved, is_finished=True)


def _second_part(asked, path, name, manifest, refit):
    config = continued(asked, refit.config, ("epoch",))
    if name is None or manifest["phase"] != "refit":  # stopped before its first checkpoint
        return second_part(config, refit.best_epoch, refit.summary)
    return Start(validation.refit_config(config, refit.best_epoch), Saved(path, name, manifest),
                 refit._replace(config=config),
                 is_finished=name.is_epoch and name.epoch == refit.best_epoch)


def _read_refit(directory):
    """Refit of the file REFIT; None without the file. Raises: CheckpointError if it is damaged."""
    path = directory.file(REFIT)
    if not os.path.exists(path):
        return None
    try:
        with open(path, encoding="utf-8") as file:
            values = json.load(file)
        best, summary = values["best_epoch"], values["summary"]
        is_number = isinstance(best, int) and not isinstance(best, bool)
        if not is_number or best < 0 or not isinstance(summary, str):
            raise ValueError("a value is of the wrong type")
        return Refit(config_module.from_dict(values["config"]), best, summary)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError("%s is damaged (%s); train again without --resume"
                              % (path, " ".join(str(error).split())[:120])) from error


def continued(asked, saved, fixed=()):
    """config.Config of a run that goes on: the saved one, with those given flags that may differ.

    Those are --epoch (the learning rate depends on the step alone, so a longer run has the same
    beginning), the run group, where files lie (their content is compared), and without a validation
    the evaluation group.
    Args:
      asked, saved: config.Config. fixed: names of further flags that must be as they were.
    Raises: ConfigError naming the first flag that differs, and both values.
    """
    groups = {}
    for group, cls in config_module.GROUPS:
        asked_group, saved_group = getattr(asked, group), getattr(saved, group)
        given = {field.name: getattr(asked_group, field.name)
                 for field in dataclasses.fields(cls) if field.name in asked.explicit}
        free = {}
        for name in sorted(given):
            may_differ = _may_differ(group, name, saved)
            value = getattr(saved_group, name)
            if (name in fixed or not may_differ) and not _equal(given[name], value):
                raise ConfigError("--%s %s contradicts the run in %s, which has --%s %s; leave the "
                                  "flag out, or train again without --resume"
                                  % (name, show(given[name]), asked.run.checkpoint_dir, name,
                                     show(value)))
            if may_differ and name != "lr_scale":
                free[name] = given[name]
        if group == "run":
            free.update(train=1, resume=1, checkpoint_dir=asked.run.checkpoint_dir)
        groups[group] = dataclasses.replace(saved_group, **free)
    return config_module.Config(explicit=asked.explicit, **groups)


def _may_differ(group, name, saved):
    if group == "training":
        return name in ("epoch", "lr_scale")  # which factor a run has was settled when it began
    if group == "validation":
        return name == "valid_path"
    if group == "evaluation":
        return not (saved.validation.is_on and name in _MEASURED_BY)
    return group in ("run", "data")


def _equal(given, saved):
    """Whether a given value says what was saved; one size or rate stands for each layer."""
    if isinstance(given, tuple) and len(given) == 1:
        given = given * len(saved)
    return given == saved

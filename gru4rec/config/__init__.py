"""Each option once: groups of flags, what follows, what contradicts. Imports command."""

import dataclasses
import json
import logging
from dataclasses import dataclass
from typing import Tuple

from gru4rec.command.flags import Command, convert, fields_of, show, split
from gru4rec.config import accelerator as accelerator_flags
from gru4rec.config import port as port_module
from gru4rec.config import presets
from gru4rec.config.accelerator import AcceleratorConfig
from gru4rec.config.checks import check_family, check_pair, check_validation, resolve_model
from gru4rec.config.groups import (
    AUTO,
    DataConfig,
    EvalConfig,
    ModelConfig,
    RunConfig,
    TrainConfig,
    ValidConfig,
)
from gru4rec.config.port import PortConfig
from gru4rec.errors import ConfigError

_log = logging.getLogger(__name__)

GROUPS = (("model", ModelConfig), ("training", TrainConfig), ("data", DataConfig),
          ("validation", ValidConfig),
          ("evaluation", EvalConfig), ("run", RunConfig), ("accelerator", AcceleratorConfig),
          ("port", PortConfig))
LATER = ("accelerator", "port")  # groups that checkpoints of earlier versions lack, and flags
LATER_FLAGS = ("global_negatives", "lr_scale", "cluster_timeout")


@dataclass(frozen=True)
class Config:
    """The resolved options of one command."""

    model: ModelConfig = ModelConfig()
    training: TrainConfig = TrainConfig()
    data: DataConfig = DataConfig()
    validation: ValidConfig = ValidConfig()
    evaluation: EvalConfig = EvalConfig()
    run: RunConfig = RunConfig()
    accelerator: AcceleratorConfig = AcceleratorConfig()
    port: PortConfig = PortConfig()
    explicit: Tuple[str, ...] = ()  # names of the flags the user gave

    def to_dict(self):
        """Plain dict for JSON; inverse of `from_dict`."""
        return {group: dataclasses.asdict(getattr(self, group)) for group, _ in GROUPS}

    def to_json(self):
        return json.dumps(self.to_dict(), indent=2, sort_keys=True)


COMMAND = Command("python -m gru4rec.main",
                  "Train (--train 1) or evaluate (--train 0) a GRU4Rec session model.", GROUPS)
parser = COMMAND.parser
_FIELDS = {item.name: item for _, _, item in fields_of(GROUPS)}


def parse(argv):
    """Command line -> Config.

    Args:
      argv: list of str without the program name.
    Returns: Config, resolved (`size`, `layer` and `final_act` are filled in) and checked.
    Raises: ConfigError with one line naming the flag, its value and what to give instead.
    """
    flags = vars(COMMAND.parser().parse_args(argv))
    if flags.get("preset") == "list":
        print(presets.table())
        raise SystemExit(0)
    return from_flags(flags)


def from_flags(flags):
    """Flag texts (or values) by name -> Config; what `parse` does after argparse."""
    given = {}
    for _, _, item in fields_of(GROUPS):
        if item.name in flags:
            given[item.name] = convert(item, flags[item.name])
    explicit = tuple(sorted(given))
    if given.get("preset"):
        given = dict(_of_preset(given), **given)
    return _assemble(given, explicit)


def _of_preset(given):
    """{flag name: value} of the preset that is given.

    What has no meaning beside another flag that is given is left out.
    """
    found = {}
    for name, value in presets.load(given["preset"]).items():
        if name not in _FIELDS:
            raise ConfigError("--preset %s holds the unknown flag %r; correct its file"
                              % (given["preset"], name))
        found[name] = convert(_FIELDS[name], value)
    for name, why in _idle(found, given):
        if name in found and name not in given and found.pop(name) != _FIELDS[name].default:
            _log.info("--preset %s: its --%s has no meaning with %s, which is given, and is left "
                      "out", given["preset"], name, why)
    return found


def _idle(preset, given):
    """Pairs (flag of the preset, flag given beside which it has no meaning).

    The reasons are those of `_check_family`.
    """
    loss, pairs = given.get("loss"), []
    if loss not in (None, "cross-entropy"):
        pairs.append(("logq", "--loss %s" % loss))
    if loss not in (None, "cross-entropy", "full-cross-entropy"):
        pairs.append(("label_smoothing", "--loss %s" % loss))
    if loss == "full-cross-entropy":
        pairs += [("n_sample", "--loss %s" % loss), ("mask_hits", "--loss %s" % loss)]
    if given.get("optimizer") == "adam":
        pairs.append(("momentum", "--optimizer adam"))
    if given.get("embedding") == "none":
        pairs.append(("embed_dropout", "--embedding none"))
    width = given.get("size", preset.get("size", ModelConfig.size))[-1]
    if given.get("embed_size") not in (AUTO, width) and preset.get("embedding") == "shared":
        pairs.append(("embedding", "--embed_size %d" % given["embed_size"]))
    return pairs


def from_dict(saved):
    """Inverse of `Config.to_dict`; unknown or missing keys are ConfigErrors."""
    if not isinstance(saved, dict):
        raise ConfigError("configuration is not a JSON object")
    given = {}
    for group, _, item in fields_of(GROUPS):
        if group in LATER and group not in saved:
            continue
        part = saved.get(group)
        if isinstance(part, dict) and item.name in LATER_FLAGS and item.name not in part:
            continue
        if not isinstance(part, dict) or item.name not in part:
            raise ConfigError("configuration lacks %s.%s" % (group, item.name))
        if part[item.name] is not None:
            given[item.name] = convert(item, part[item.name])
        elif item.default is not None:
            raise ConfigError("configuration has no value for %s.%s" % (group, item.name))
    return _assemble(given, ())


def _assemble(given, explicit):
    parts = dict(zip((group for group, _ in GROUPS), split(given, GROUPS)))
    parts["model"] = resolve_model(parts["model"], given)
    parts["data"], parts["port"] = _resolve_port(parts["data"], parts["port"])
    # at evaluation the loss not given is the saved model's, not the default
    if parts["run"].train or "loss" in given:
        check_pair(parts["model"])
    if parts["run"].train:
        check_family(parts["model"], parts["training"], explicit)
        check_validation(parts["validation"], explicit)
    npu_session_options(parts["run"], parts["accelerator"])
    return Config(explicit=explicit, **parts)


def _resolve_port(data, port):
    """(DataConfig, PortConfig): the older port's names end in the paths they stand for, and are not
    saved.
    """
    train_path, test_path = port_module.port_paths(port, data.train_path, data.test_path)
    return (dataclasses.replace(data, train_path=train_path, test_path=test_path),
            PortConfig(log_format=port.log_format))


def npu_session_options(run, accelerator):
    """Options that the flags ask for from the session of an NPU, checked: dict key -> value
    (`config.accelerator.options`).

    Args:
      run: RunConfig. accelerator: AcceleratorConfig.
    """
    return accelerator_flags.options(accelerator, "train" if run.train else "infer", npu_steps(run))


def npu_steps(run):
    """Steps of one session call on an NPU; elsewhere they are the loop engine's own affair."""
    on_device = run.train and run.device in ("npu", "auto") and run.engine != "loop"
    return run.steps_per_run or 1 if on_device else 1


def contradictions(asked, saved):
    """Model flags the user gave that differ from a saved model.

    Args:
      asked: Config of the command. saved: Config of the checkpoint.
    Returns: list of (flag, asked value, saved value), empty if they agree.
    """
    found, model = [], asked.model
    # one size repeats; only a --layer given says how often
    if "layer" not in asked.explicit and len(model.size) == 1:
        model = dataclasses.replace(model, size=model.size * saved.model.layer)
    for item in dataclasses.fields(ModelConfig):
        ours, theirs = getattr(model, item.name), getattr(saved.model, item.name)
        if item.name in asked.explicit and item.name not in ("dropout",
                                                             "embed_dropout") and ours != theirs:
            found.append((item.name, show(getattr(asked.model, item.name)), show(theirs)))
    return found

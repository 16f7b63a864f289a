"""Flags of training and evaluation, and checks for contradictions. On top of command."""

import dataclasses
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
          ("validation", ValidConfig), ("evaluation", EvalConfig), ("run", RunConfig),
          ("accelerator", AcceleratorConfig), ("port", PortConfig))
# Groups and flags that checkpoints of earlier versions lack.
LATER = ("accelerator", "port")
LATER_FLAGS = ("global_negatives", "lr_scale", "cluster_timeout")


@dataclass(frozen=True)
class Config:
    """The flags of one command, resolved and checked."""

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


COMMAND = Command("python -m gru4rec.main",
                  "Train (--train 1) or evaluate (--train 0) a GRU4Rec session model.", GROUPS)
parser = COMMAND.parser
_FIELDS = {item.name: item for _, _, item in fields_of(GROUPS)}


def parse(argv):
    """Command line -> Config.

    Args:
      argv: list of str without the program name.
    Returns: Config, resolved (`size`, `layer` and `final_act` are filled in) and checked.
    Raises: ConfigError on one line that names the flag, its value and what to give instead.
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
    """dict of flag name -> value of the preset that is given.

    A flag of the preset that has no meaning beside a flag that is given is left out.
    """
    values = {}
    for name, value in presets.load(given["preset"]).items():
        if name not in _FIELDS:
            raise ConfigError("--preset %s holds the unknown flag %r; correct its file"
                              % (given["preset"], name))
        values[name] = convert(_FIELDS[name], value)
    for name, why in _without_meaning(values, given):
        if name in values and name not in given and values.pop(name) != _FIELDS[name].default:
            _log.info("--preset %s: its --%s has no meaning with %s, which is given, and is left "
                      "out", given["preset"], name, why)
    return values


def _without_meaning(preset, given):
    """Pairs (flag of the preset, given flag beside which it has no meaning); see check_family."""
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
    """Inverse of `Config.to_dict`; a missing key is a ConfigError."""
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
    # An evaluation takes a loss that is not given from the saved model, not from the default.
    if parts["run"].train or "loss" in given:
        check_pair(parts["model"])
    if parts["run"].train:
        check_family(parts["model"], parts["training"], explicit)
        check_validation(parts["validation"], explicit)
    npu_session_options(parts["run"], parts["accelerator"])
    return Config(explicit=explicit, **parts)


def _resolve_port(data, port):
    """(DataConfig, PortConfig) with the paths that the older port's names stand for.

    The names themselves are not kept, so a checkpoint never holds them.
    """
    train_path, test_path = port_module.port_paths(port, data.train_path, data.test_path)
    return (dataclasses.replace(data, train_path=train_path, test_path=test_path),
            PortConfig(log_format=port.log_format))


def npu_session_options(run, accelerator):
    """Session options of an NPU, as `config.accelerator.options`.

    Args:
      run: RunConfig. accelerator: AcceleratorConfig.
    """
    return accelerator_flags.options(accelerator, "train" if run.train else "infer", npu_steps(run))


def npu_steps(run):
    """Steps of one session call in a loop on an NPU; 1 where the loop engine makes the steps."""
    if run.train and run.device in ("npu", "auto") and run.engine != "loop":
        return run.steps_per_run or 1
    return 1


def contradictions(asked, saved):
    """Model flags that the user gave and that differ from a saved model.

    Args:
      asked: Config of the command. saved: Config of the checkpoint.
    Returns: list of (flag, asked value, saved value), empty if they agree.
    """
    differing, model = [], asked.model
    # A single size is repeated for each layer; only a --layer that is given says how often.
    if "layer" not in asked.explicit and len(model.size) == 1:
        model = dataclasses.replace(model, size=model.size * saved.model.layer)
    for item in dataclasses.fields(ModelConfig):
        if item.name not in asked.explicit or item.name in ("dropout", "embed_dropout"):
            continue
        value = getattr(saved.model, item.name)
        if getattr(model, item.name) != value:
            differing.append((item.name, show(getattr(asked.model, item.name)), show(value)))
    return differing

"""The options of one command together: how they are read, what follows from them, and which contradict each other."""

import dataclasses
import json
import logging
from dataclasses import dataclass
from typing import Tuple

from gru4rec import presets
from gru4rec.command.flags import build_parser, convert, fields_of, show
from gru4rec.device import flags as device_flags
from gru4rec.device.flags import AcceleratorConfig, PortConfig
from gru4rec.errors import ConfigError
from gru4rec.options import (
    AUTO,
    FINAL_ACTS,
    VALIDATION_SOURCES,
    DataConfig,
    EvalConfig,
    ModelConfig,
    RunConfig,
    TrainConfig,
    ValidConfig,
)

_log = logging.getLogger(__name__)

GROUPS = (("model", ModelConfig), ("training", TrainConfig), ("data", DataConfig), ("validation", ValidConfig),
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


_FIELDS = {item.name: item for _, _, item in fields_of(GROUPS)}


def parser(prog="python -m gru4rec.main"):
    """The argparse parser of the main command."""
    return build_parser(prog, "Train (--train 1) or evaluate (--train 0) a GRU4Rec session model.", GROUPS)


def parse(argv, prog="python -m gru4rec.main"):
    """Command line -> Config.

    Args:
      argv: list of str without the program name.
    Returns: Config, resolved (`size`, `layer` and `final_act` are filled in) and checked.
    Raises: ConfigError with one line naming the flag, its value and what to give instead.
    """
    flags = vars(parser(prog).parse_args(argv))
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
    parts = {group: cls(**{f.name: given[f.name] for f in dataclasses.fields(cls) if f.name in given})
             for group, cls in GROUPS}
    parts["model"] = resolve_model(parts["model"], given)
    parts["data"], parts["port"] = _resolve_port(parts["data"], parts["port"])
    if parts["run"].train or "loss" in given:  # at evaluation the loss not given is the saved model's, not the default
        _check_pair(parts["model"])
    if parts["run"].train:
        _check_family(parts["model"], parts["training"], explicit)
        _check_validation(parts["validation"], explicit)
    npu_session_options(parts["run"], parts["accelerator"])
    return Config(explicit=explicit, **parts)


def _resolve_port(data, port):
    """(DataConfig, PortConfig): the older port's names end in the paths they stand for, and are not saved."""
    train_path, test_path = device_flags.port_paths(port, data.train_path, data.test_path)
    return (dataclasses.replace(data, train_path=train_path, test_path=test_path),
            PortConfig(log_format=port.log_format))


def npu_session_options(run, accelerator):
    """Options that the flags ask for from the session of an NPU, checked: dict key -> value (`device.flags.options`).

    Args:
      run: RunConfig. accelerator: AcceleratorConfig.
    """
    return device_flags.options(accelerator, "train" if run.train else "infer", npu_steps(run))


def npu_steps(run):
    """Steps of one session call on an NPU; elsewhere they are the loop engine's own affair."""
    on_device = run.train and run.device in ("npu", "auto") and run.engine != "loop"
    return run.steps_per_run or 1 if on_device else 1


def resolve_model(model, given=()):
    """Fill in what depends on other options.

    Args:
      model: ModelConfig as flags left it.
      given: names of the flags the user gave, to tell a contradiction from a default.
    Raises: ConfigError naming both flags.
    """
    size, layer = model.size, model.layer
    if len(size) == 1:
        size = size * layer
    elif "layer" in given and layer != len(size):
        raise ConfigError("--layer %d contradicts --size %s, which has %d layers; give one of them"
                          % (layer, show(size), len(size)))
    dropout = model.dropout
    if len(dropout) == 1:
        dropout = dropout * len(size)
    elif len(dropout) != len(size):
        raise ConfigError("--dropout %s has %d rates, --size %s has %d layers; give one rate, or one per layer"
                          % (show(dropout), len(dropout), show(size), len(size)))
    final_act = model.final_act or FINAL_ACTS[model.loss][0]
    return dataclasses.replace(model, size=size, layer=len(size), dropout=dropout, final_act=final_act,
                               embed_size=_embed_size(model, size))


def _embed_size(model, size):
    """Width of a row of the input table: that of its reader unless --embed_size says otherwise."""
    if model.embedding == "separate":
        return model.embed_size or size[0]
    width = size[-1] if model.embedding == "shared" else 3 * size[0]  # none: rows of the kernels of r, u and c
    if model.embed_size not in (AUTO, width):
        raise ConfigError("--embed_size %d contradicts --embedding %s, whose input rows have %d columns; leave it out, or "
                          "use --embedding separate" % (model.embed_size, model.embedding, width))
    return width


def _check_pair(model):
    if model.final_act not in FINAL_ACTS[model.loss]:
        raise ConfigError("--final_act %s has no meaning with --loss %s; use one of: %s"
                          % (model.final_act, model.loss, ", ".join(sorted(FINAL_ACTS[model.loss]))))


def _check_family(model, training, explicit):
    """Refuse what has no meaning together; every message names both flags."""
    cross_entropy = model.loss in ("cross-entropy", "full-cross-entropy")
    elu = "elu" in (model.final_act, model.hidden_act)
    full = model.loss == "full-cross-entropy"
    refused = (
        (training.momentum and training.optimizer == "adam", "--momentum %s" % training.momentum, "--optimizer adam",
         "adam has a momentum of its own; use another optimizer"),
        (training.logq and model.loss != "cross-entropy", "--logq %s" % training.logq, "--loss %s" % model.loss,
         "it corrects sampled probabilities; use --loss cross-entropy"),
        (training.label_smoothing and not cross_entropy, "--label_smoothing %s" % training.label_smoothing,
         "--loss %s" % model.loss, "use one of the cross-entropies"),
        (full and training.n_sample, "--n_sample %d" % training.n_sample, "--loss %s" % model.loss,
         "every item is a negative already; leave it out"),
        (full and training.mask_hits, "--mask_hits 1", "--loss %s" % model.loss,
         "an item occurs only once there; leave it out"),
        ("bpreg" in explicit and model.loss != "bpr-max", "--bpreg %s" % training.bpreg, "--loss %s" % model.loss,
         "it belongs to --loss bpr-max"),
        ("elu" in explicit and not elu, "--elu %s" % model.elu,
         "--final_act %s and --hidden_act %s" % (model.final_act, model.hidden_act), "neither is elu; leave it out"),
        ("score_scale" in explicit and model.score == "dot", "--score_scale %s" % model.score_scale, "--score dot",
         "it belongs to --score cosine"),
        ("sample_alpha" in explicit and not training.n_sample, "--sample_alpha %s" % training.sample_alpha, "--n_sample 0",
         "no negatives are drawn; give --n_sample or leave it out"),
        ("grad_cap_mode" in explicit and not training.grad_cap, "--grad_cap_mode %s" % training.grad_cap_mode,
         "--grad_cap 0", "there is no cap; give --grad_cap or leave it out"),
        (model.embed_dropout and model.embedding == "none", "--embed_dropout %s" % model.embed_dropout,
         "--embedding none", "there is no embedding to drop from"),
    )
    for wrong, one, other, remedy in refused:
        if wrong:
            raise ConfigError("%s has no meaning with %s: %s" % (one, other, remedy))


def _check_validation(validation, explicit):
    """One source of validation sessions at most, and nothing that needs one without it; messages name the flags."""
    given = ["--%s %s" % (name, getattr(validation, name)) for name in VALIDATION_SOURCES
             if getattr(validation, name) is not None]
    if len(given) > 1:
        raise ConfigError("%s contradicts %s: each says what to validate with; give one of them" % (given[0], given[1]))
    asks = [name for name, wrong in (("patience", validation.patience), ("refit", validation.refit),
                                     ("valid_metric", "valid_metric" in explicit)) if wrong]
    if asks and not given:
        raise ConfigError("--%s %s needs a validation; give one of --%s, or leave it out"
                          % (asks[0], getattr(validation, asks[0]), ", --".join(VALIDATION_SOURCES)))


def contradictions(asked, saved):
    """Model flags the user gave that differ from a saved model.

    Args:
      asked: Config of the command. saved: Config of the checkpoint.
    Returns: list of (flag, asked value, saved value), empty if they agree.
    """
    found, model = [], asked.model
    if "layer" not in asked.explicit and len(model.size) == 1:  # one size repeats; only a --layer given says how often
        model = dataclasses.replace(model, size=model.size * saved.model.layer)
    for item in dataclasses.fields(ModelConfig):
        ours, theirs = getattr(model, item.name), getattr(saved.model, item.name)
        if item.name in asked.explicit and item.name not in ("dropout", "embed_dropout") and ours != theirs:
            found.append((item.name, show(getattr(asked.model, item.name)), show(theirs)))
    return found

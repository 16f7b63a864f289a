"""Every option once: frozen dataclasses hold name, default, unit, help; argparse and JSON are built from them."""

import argparse
import dataclasses
import json
from dataclasses import dataclass, field
from typing import Optional, Tuple

from gru4rec import presets
from gru4rec.errors import ConfigError

# Which score activations give each loss a meaning (docs/design.md, "Losses"); the first is the default.
FINAL_ACTS = {
    "cross-entropy": ("softmax", "tanh"),
    "full-cross-entropy": ("softmax", "tanh"),
    "bpr": ("tanh", "linear", "relu"),
    "top1": ("tanh", "linear", "relu"),
    "bpr-max": ("elu", "linear", "tanh"),
    "top1-max": ("elu", "linear", "tanh"),
}
OPTIMIZERS = ("adam", "adagrad", "rmsprop", "sgd")

MANY = 10 ** 6  # units, lanes, steps a call: a typing error beyond that must not take the machine's memory
AUTO = None  # a flag that is resolved from other flags or from the device


def text(value):
    """A str as it is; an empty one (an unset shell variable) and anything else is a ValueError."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("not text")
    return value


def whole(value):
    """"7" or 7 -> 7; a fraction or a truth value is a ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError("not a whole number")
    return int(value)


def real(value):
    """"0.5", 0.5 or 1 -> float."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("not a number")
    return float(value)


def _list_of(kind, value):
    parts = value.split(",") if isinstance(value, str) else [value] if isinstance(value, (int, float)) else value
    if not isinstance(parts, (list, tuple)) or not parts:
        raise ValueError("not a list")
    return tuple(kind(part) for part in parts)


def int_list(value):
    """"100,50" or [100, 50] -> (100, 50), 100 -> (100,), at least one number."""
    return _list_of(whole, value)


def real_list(value):
    """"0.5,0.2" or [0.5, 0.2] or 0.5 -> a tuple of float, at least one."""
    return _list_of(real, value)


def name_list(value):
    """"recall,mrr" or ["recall", "mrr"] -> ("recall", "mrr"), at least one name, none twice."""
    parts = tuple(value.split(",") if isinstance(value, str) else value if isinstance(value, (list, tuple)) else ())
    if not parts or not all(isinstance(part, str) and part for part in parts) or len(set(parts)) < len(parts):
        raise ValueError("not a list of names")
    return parts


def ranks_path(value):
    """The path of a table, told by its ending."""
    if not text(value).lower().endswith((".parquet", ".csv")):
        raise ValueError("not a table's path")
    return value


_KINDS = {text: "text of at least one character", whole: "a whole number", real: "a number",
          int_list: "whole numbers such as 100 or 100,50", real_list: "numbers such as 0.5 or 0.5,0.2",
          name_list: "a list of different names such as recall,mrr",
          ranks_path: "a file name ending in .parquet or .csv"}


def _flag(default, help_text, unit="", choices=None, kind=text, shown=None, low=None, high=None, above=None,
          below=None):
    """One option: its default, help text, unit, and the values it takes (`above`/`below` are exclusive bounds)."""
    meta = dict(help=help_text, unit=unit, choices=choices, kind=kind, shown=shown, low=low, high=high, above=above,
                below=below)
    return field(default=default, metadata=meta)


@dataclass(frozen=True)
class ModelConfig:
    """What the network is. Saved with the weights; evaluation takes it from there."""

    layer: int = _flag(1, "GRU layers", "layers", kind=whole, low=1, high=1000)
    size: Tuple[int, ...] = _flag((100,), "hidden units; a list such as 100,50 gives one size per layer", "units",
                                  kind=int_list, low=1, high=MANY)
    cell: str = _flag("gru", "TensorFlow 1's GRUCell, or the variant of the authors' code, whose carried state is the one "
                      "after dropout", choices=("gru", "official"))
    embedding: str = _flag("separate", "input rows: a table of their own, the rows of the output table, or none: one-hot "
                           "input, a row of the first layer's kernel for each item",
                           choices=("separate", "shared", "none"))
    embed_size: Optional[int] = _flag(AUTO, "width of an input row", "units", kind=whole, low=1, high=MANY,
                                      shown="as wide as what reads it")
    hidden_act: str = _flag("tanh", "activation of the candidate state", choices=("tanh", "relu", "elu"))
    final_act: Optional[str] = _flag(AUTO, "activation of the scores in the loss",
                                     choices=("softmax", "tanh", "relu", "linear", "elu"),
                                     shown="softmax for the cross-entropies, tanh for bpr and top1, elu for bpr-max and "
                                     "top1-max")
    elu: float = _flag(1.0, "alpha of the activation elu (0 makes it linear as a final_act)", kind=real, low=0.0, high=1e6)
    loss: str = _flag("cross-entropy", "training loss; full-cross-entropy takes every item as a negative",
                      choices=tuple(FINAL_ACTS))
    dropout: Tuple[float, ...] = _flag((0.5,), "share of each layer's outputs dropped in training (0 = off); a list gives "
                                       "one rate per layer", "rate", kind=real_list, low=0.0, below=1.0)
    embed_dropout: float = _flag(0.0, "share of each input row dropped in training", "rate", kind=real, low=0.0, below=1.0)


@dataclass(frozen=True)
class TrainConfig:
    """How the weights are found."""

    epoch: int = _flag(3, "passes over the training sessions", "epochs", kind=whole, low=1)
    optimizer: str = _flag("adam", "rule of the updates; all touch only the rows of the step", choices=OPTIMIZERS)
    lr: float = _flag(0.001, "initial learning rate", "per step", kind=real, above=0.0, high=1e30)
    momentum: float = _flag(0.0, "share of the last move that is made again (not with adam); of rows, where touched",
                            "factor", kind=real, low=0.0, below=1.0)
    decay: float = _flag(0.96, "learning rate factor each --decay_steps (staircase, floor 1e-5)", "factor", kind=real,
                         above=0.0, high=1.0)
    decay_steps: int = _flag(1000, "steps between two decays", "steps", kind=whole, low=1)
    batch_size: int = _flag(50, "sessions trained side by side (lanes)", "lanes", kind=whole, low=2, high=MANY)
    n_sample: int = _flag(0, "negatives drawn in each step, shared by its lanes, beside those of the batch", "items",
                          kind=whole, low=0, high=MANY)
    sample_alpha: float = _flag(0.5, "negatives are drawn with probability ~ support ** sample_alpha", "exponent", kind=real,
                                low=0.0, high=10.0)
    logq: float = _flag(0.0, "share of the correction of sampled scores for how often their item is drawn (cross-entropy)",
                        "factor", kind=real, low=0.0, high=1e6)
    mask_hits: int = _flag(0, "1 leaves out a negative that is the item of the lane's own target", choices=(0, 1), kind=whole)
    bpreg: float = _flag(1.0, "weight of the score regulariser of bpr-max", "factor", kind=real, low=0.0, high=1e6)
    label_smoothing: float = _flag(0.0, "share of the target's probability spread over all columns (cross-entropies)",
                                   "share", kind=real, low=0.0, below=1.0)
    grad_cap: float = _flag(0.0, "largest norm of a gradient (0 = no cap)", "L2 norm", kind=real, low=0.0)
    grad_cap_mode: str = _flag("tensor", "what the norm is taken of: each weight tensor, or all together",
                               choices=("tensor", "global"))
    session_order: str = _flag("id", "order in which sessions are trained: by id, or by time of the first event",
                               choices=("id", "time"))
    seed: int = _flag(0, "seed of initial weights, dropout and drawn negatives", kind=whole, low=0, high=2 ** 31 - 1)


@dataclass(frozen=True)
class DataConfig:
    """Where events come from."""

    train_path: Optional[str] = _flag(None, "training events (.txt .tsv .csv .parquet, .gz too)", "file",
                                      shown="the bundled sample")
    test_path: Optional[str] = _flag(None, "test events, same format", "file", shown="the bundled sample")
    session_key: str = _flag("SessionId", "column of the session id", "column")
    item_key: str = _flag("ItemId", "column of the item id", "column")
    time_key: str = _flag("Time", "column of the event time", "column")


@dataclass(frozen=True)
class ValidConfig:
    """How the number of epochs is chosen without the test file; no validation unless one of the first three is given."""

    valid_path: Optional[str] = _flag(None, "events to validate with after each epoch, same format", "file", shown="none")
    valid_fraction: Optional[float] = _flag(None, "share of the training sessions, those that end last, to validate with "
                                            "instead", "share", kind=real, above=0.0, below=1.0, shown="none")
    valid_days: Optional[float] = _flag(None, "validate with the training sessions that end in the last so many times "
                                        "86,400 s of the file", "days", kind=real, above=0.0, shown="none")
    valid_metric: str = _flag("recall", "what is best: Recall or MRR, at the first --cut_off", choices=("recall", "mrr"))
    patience: int = _flag(0, "stop after so many epochs without a better one (0 = never)", "epochs", kind=whole, low=0)
    refit: int = _flag(0, "1 trains again, from the start, on training and validation sessions together, for as many epochs "
                       "as were best", choices=(0, 1), kind=whole)

    @property
    def is_on(self):
        """Whether there is a validation."""
        return any(getattr(self, name) is not None for name in VALIDATION_SOURCES)


VALIDATION_SOURCES = ("valid_path", "valid_fraction", "valid_days")


@dataclass(frozen=True)
class EvalConfig:
    """What is measured."""

    test: Optional[int] = _flag(AUTO, "epoch of the checkpoint to evaluate (0-based)", "epoch", kind=whole, low=0,
                                shown="the best by validation, without it the newest")
    cut_off: Tuple[int, ...] = _flag((20,), "length of the recommendation list; several: 5,10,20", "items",
                                     kind=int_list, low=1)
    tie: str = _flag("conservative", "place of the target among equal scores: last, middle or first",
                     choices=("conservative", "median", "standard"))
    unknown: str = _flag("drop", "items the model does not know: drop the event, or count the target as a miss",
                         choices=("drop", "miss"))
    eval_batch_size: int = _flag(512, "sessions evaluated side by side", "lanes", kind=whole, low=1, high=MANY)
    metrics: Tuple[str, ...] = _flag(("recall", "mrr"), "what is printed; coverage and popularity look at the lists "
                                     "themselves and cost another pass", kind=name_list,
                                     choices=("recall", "mrr", "ndcg", "coverage", "popularity"))
    eval_target: str = _flag("all", "every next event of a session, or its last event only", choices=("all", "last"))
    split: Tuple[str, ...] = _flag(("none",), "also print Recall and MRR by part: of targets seen earlier in their session "
                                   "or new, of places in the session", kind=name_list,
                                   choices=("none", "repeat", "position"))
    ranks_out: Optional[str] = _flag(None, "table of the rank of every target (.parquet or .csv), for gru4rec.compare",
                                     "file", kind=ranks_path, shown="none")
    compare_rules: int = _flag(1, "1 saves sequential rules with the model, and prints their line after its own",
                               choices=(0, 1), kind=whole)


@dataclass(frozen=True)
class RunConfig:
    """Where and how the command runs; none of it changes a number."""

    preset: Optional[str] = _flag(None, "flags by name, of which those given win; list shows them", "name", shown="none")
    train: int = _flag(1, "1 trains, 0 evaluates a saved model", choices=(0, 1), kind=whole)
    checkpoint_dir: str = _flag("checkpoint", "directory of checkpoints and metrics.jsonl", "directory")
    device: str = _flag("auto", "auto tries npu, gpu, cpu and says why it fell back",
                        choices=("auto", "npu", "gpu", "cpu"))
    engine: str = _flag("auto", "loop: many steps per session call, only the rows of the batch updated; plain: one step "
                        "and TensorFlow's own Adam, the oracle", choices=("auto", "loop", "plain"),
                        shown="loop, plain on npu")
    steps_per_run: Optional[int] = _flag(AUTO, "steps per session call of the loop engine", "steps", kind=whole, low=1,
                                         high=MANY, shown="250")
    xla: str = _flag("auto", "compile the loop (needs TensorFlow 2.6)", choices=("auto", "on", "off"),
                     shown="on where it can be had")
    log_every: int = _flag(1000, "steps between two log lines", "steps", kind=whole, low=1)


_GROUPS = (("model", ModelConfig), ("training", TrainConfig), ("data", DataConfig), ("validation", ValidConfig),
           ("evaluation", EvalConfig), ("run", RunConfig))


@dataclass(frozen=True)
class Config:
    """The resolved options of one command."""

    model: ModelConfig = ModelConfig()
    training: TrainConfig = TrainConfig()
    data: DataConfig = DataConfig()
    validation: ValidConfig = ValidConfig()
    evaluation: EvalConfig = EvalConfig()
    run: RunConfig = RunConfig()
    explicit: Tuple[str, ...] = ()  # names of the flags the user gave

    def to_dict(self):
        """Plain dict for JSON; inverse of `from_dict`."""
        return {group: dataclasses.asdict(getattr(self, group)) for group, _ in _GROUPS}

    def to_json(self):
        return json.dumps(self.to_dict(), indent=2, sort_keys=True)


def _fields(groups=_GROUPS, leave_out=()):
    for group, cls in groups:
        for item in dataclasses.fields(cls):
            if item.name not in leave_out:
                yield group, cls, item


_FIELDS = {item.name: item for _, _, item in _fields()}


class _Parser(argparse.ArgumentParser):
    """argparse that raises our one-line error instead of printing usage."""

    def error(self, message):
        raise ConfigError("%s (see --help)" % message)


def build_parser(prog="python -m gru4rec.main", groups=_GROUPS, leave_out=(),
                 description="Train (--train 1) or evaluate (--train 0) a GRU4Rec session model."):
    """argparse parser with one group per dataclass; absent flags do not appear in its namespace.

    Args:
      groups: pairs (title, dataclass of `_flag`s). leave_out: names of flags that mean nothing to the command.
    Returns: argparse.ArgumentParser whose `error` raises ConfigError.
    """
    parser = _Parser(prog=prog, argument_default=argparse.SUPPRESS, allow_abbrev=False, description=description)
    titles = {}
    for group, cls, item in _fields(groups, leave_out):
        if group not in titles:
            titles[group] = parser.add_argument_group(group, cls.__doc__.splitlines()[0])
        meta = item.metadata
        shown = meta["shown"] or _show(item.default)
        text = "%s [%sdefault: %s]" % (meta["help"], meta["unit"] + "; " if meta["unit"] else "", shown)
        if meta["choices"]:
            text = "{%s} %s" % ("|".join(str(c) for c in meta["choices"]), text)
        titles[group].add_argument("--" + item.name, metavar=item.name.upper(), type=str, help=text.replace("%", "%%"))
    return parser


def _show(value):
    return ",".join(str(v) for v in value) if isinstance(value, tuple) else str(value)


def _convert(item, given):
    """Flag text (or its value) -> checked value; ConfigError names the flag, what was given and what is allowed."""
    meta, name = item.metadata, "--" + item.name
    try:
        value = meta["kind"](given)
    except (ValueError, OverflowError):
        raise ConfigError("%s %r is not %s" % (name, given, _KINDS[meta["kind"]])) from None
    if meta["choices"] and not set(value if isinstance(value, tuple) else (value,)) <= set(meta["choices"]):
        raise ConfigError("%s %r is unknown; use one of: %s" % (name, given, ", ".join(map(str, meta["choices"]))))
    for number in value if isinstance(value, tuple) else (value,):
        _check_range(name, given, number, meta)
    return value


def _check_range(name, given, number, meta):
    if not isinstance(number, (int, float)):
        return
    tests = (("low", lambda b: number >= b, "at least"), ("high", lambda b: number <= b, "at most"),
             ("above", lambda b: number > b, "more than"), ("below", lambda b: number < b, "less than"))
    for key, holds, words in tests:
        if meta[key] is not None and not (holds(meta[key]) and abs(number) != float("inf")):
            raise ConfigError("%s %s is out of range; it must be %s %s" % (name, given, words, meta[key]))


def parse(argv, prog="python -m gru4rec.main"):
    """Command line -> Config.

    Args:
      argv: list of str without the program name.
    Returns: Config, resolved (`size`, `layer` and `final_act` are filled in) and checked.
    Raises: ConfigError with one line naming the flag, its value and what to give instead.
    """
    flags = vars(build_parser(prog).parse_args(argv))
    if flags.get("preset") == "list":
        print(presets.table())
        raise SystemExit(0)
    return from_flags(flags)


def parse_groups(argv, groups, **parser):
    """Command line of another command -> one checked dataclass for each of `groups`; `parser` as for `build_parser`.

    Raises: ConfigError, as `parse`.
    """
    flags = vars(build_parser(groups=groups, **parser).parse_args(argv))
    given = {item.name: _convert(item, flags[item.name]) for _, _, item in _fields(groups) if item.name in flags}
    return [cls(**{f.name: given[f.name] for f in dataclasses.fields(cls) if f.name in given}) for _, cls in groups]


def from_flags(flags):
    """Flag texts (or values) by name -> Config; what `parse` does after argparse."""
    given = {}
    for _, _, item in _fields():
        if item.name in flags:
            given[item.name] = _convert(item, flags[item.name])
    explicit = tuple(sorted(given))
    if given.get("preset"):
        for name, value in presets.load(given["preset"]).items():
            given.setdefault(name, _convert(_FIELDS[name], value))
    return _assemble(given, explicit)


def from_dict(saved):
    """Inverse of `Config.to_dict`; unknown or missing keys are ConfigErrors."""
    if not isinstance(saved, dict):
        raise ConfigError("configuration is not a JSON object")
    given = {}
    for group, _, item in _fields():
        part = saved.get(group)
        if not isinstance(part, dict) or item.name not in part:
            raise ConfigError("configuration lacks %s.%s" % (group, item.name))
        if part[item.name] is not None:
            given[item.name] = _convert(item, part[item.name])
        elif item.default is not None:
            raise ConfigError("configuration has no value for %s.%s" % (group, item.name))
    return _assemble(given, ())


def _assemble(given, explicit):
    parts = {group: cls(**{f.name: given[f.name] for f in dataclasses.fields(cls) if f.name in given})
             for group, cls in _GROUPS}
    parts["model"] = resolve_model(parts["model"], given)
    if parts["run"].train or "loss" in given:  # at evaluation the loss not given is the saved model's, not the default
        _check_pair(parts["model"])
    if parts["run"].train:
        _check_family(parts["model"], parts["training"], explicit)
        _check_validation(parts["validation"], explicit)
    return Config(explicit=explicit, **parts)


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
                          % (layer, _show(size), len(size)))
    dropout = model.dropout
    if len(dropout) == 1:
        dropout = dropout * len(size)
    elif len(dropout) != len(size):
        raise ConfigError("--dropout %s has %d rates, --size %s has %d layers; give one rate, or one per layer"
                          % (_show(dropout), len(dropout), _show(size), len(size)))
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
            found.append((item.name, _show(getattr(asked.model, item.name)), _show(theirs)))
    return found


def flags_markdown():
    """The README's table of flags, one row per option."""
    lines = ["| flag | default | unit | meaning |", "|---|---|---|---|"]
    for _, _, item in _fields():
        meta = item.metadata
        text = meta["help"] + (" (%s)" % ", ".join(str(c) for c in meta["choices"]) if meta["choices"] else "")
        lines.append("| `--%s` | %s | %s | %s |" % (item.name, meta["shown"] or _show(item.default), meta["unit"], text))
    return "\n".join(lines)

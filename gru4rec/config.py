"""Every option of the model once, what follows from them, and which of them contradict each other."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Optional, Tuple

from gru4rec import presets
from gru4rec.device import flags as device_flags
from gru4rec.device.flags import AcceleratorConfig, PortConfig
from gru4rec.errors import ConfigError
from gru4rec.flags import (
    build_parser,
    convert,
    fields_of,
    flag,
    int_list,
    name_list,
    ranks_path,
    real,
    real_list,
    save_interval,
    show,
    whole,
)

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


@dataclass(frozen=True)
class ModelConfig:
    """What the network is. Saved with the weights; evaluation takes it from there."""

    layer: int = flag(1, "GRU layers", "layers", kind=whole, low=1, high=1000)
    size: Tuple[int, ...] = flag((100,), "hidden units; a list such as 100,50 gives one size per layer", "units",
                                 kind=int_list, low=1, high=MANY)
    cell: str = flag("gru", "TensorFlow 1's GRUCell, or the variant of the authors' code, whose carried state is the one "
                     "after dropout", choices=("gru", "official"))
    embedding: str = flag("separate", "input rows: a table of their own, the rows of the output table, or none: one-hot "
                          "input, a row of the first layer's kernel for each item",
                          choices=("separate", "shared", "none"))
    embed_size: Optional[int] = flag(AUTO, "width of an input row", "units", kind=whole, low=1, high=MANY,
                                     shown="as wide as what reads it")
    hidden_act: str = flag("tanh", "activation of the candidate state", choices=("tanh", "relu", "elu"))
    final_act: Optional[str] = flag(AUTO, "activation of the scores in the loss",
                                    choices=("softmax", "tanh", "relu", "linear", "elu"),
                                    shown="softmax for the cross-entropies, tanh for bpr and top1, elu for bpr-max and "
                                    "top1-max")
    elu: float = flag(1.0, "alpha of the activation elu (0 makes it linear as a final_act)", kind=real, low=0.0, high=1e6)
    score: str = flag("dot", "score of an item: product of output and row, or cosine between them", choices=("dot", "cosine"))
    score_scale: float = flag(12.0, "what the cosine is multiplied by", "factor", kind=real, above=0.0, high=1e4)
    loss: str = flag("cross-entropy", "training loss; full-cross-entropy takes every item as a negative",
                     choices=tuple(FINAL_ACTS))
    dropout: Tuple[float, ...] = flag((0.5,), "share of each layer's outputs dropped in training (0 = off); a list gives "
                                      "one rate per layer", "rate", kind=real_list, low=0.0, below=1.0)
    embed_dropout: float = flag(0.0, "share of each input row dropped in training", "rate", kind=real, low=0.0, below=1.0)


@dataclass(frozen=True)
class TrainConfig:
    """How the weights are found."""

    preset: Optional[str] = flag(None, "flags by name, of which those given win; list shows them", "name", shown="none")
    epoch: int = flag(3, "passes over the training sessions", "epochs", kind=whole, low=1)
    optimizer: str = flag("adam", "rule of the updates; all touch only the rows of the step", choices=OPTIMIZERS)
    lr: float = flag(0.001, "initial learning rate", "per step", kind=real, above=0.0, high=1e30)
    momentum: float = flag(0.0, "share of the last move that is made again (not with adam); of rows, where touched",
                           "factor", kind=real, low=0.0, below=1.0)
    decay: float = flag(0.96, "learning rate factor each --decay_steps (staircase, floor 1e-5)", "factor", kind=real,
                        above=0.0, high=1.0)
    decay_steps: int = flag(1000, "steps between two decays", "steps", kind=whole, low=1)
    batch_size: int = flag(50, "sessions trained side by side (lanes)", "lanes", kind=whole, low=2, high=MANY)
    n_sample: int = flag(0, "negatives drawn in each step, shared by its lanes, beside those of the batch", "items",
                         kind=whole, low=0, high=MANY)
    sample_alpha: float = flag(0.5, "negatives are drawn with probability ~ support ** sample_alpha", "exponent", kind=real,
                               low=0.0, high=10.0)
    logq: float = flag(0.0, "share of the correction of sampled scores for how often their item is drawn (cross-entropy)",
                       "factor", kind=real, low=0.0, high=1e6)
    mask_hits: int = flag(0, "1 leaves out a negative that is the item of the lane's own target", choices=(0, 1), kind=whole)
    bpreg: float = flag(1.0, "weight of the score regulariser of bpr-max", "factor", kind=real, low=0.0, high=1e6)
    label_smoothing: float = flag(0.0, "share of the target's probability spread over all columns (cross-entropies)",
                                  "share", kind=real, low=0.0, below=1.0)
    grad_cap: float = flag(0.0, "largest norm of a gradient (0 = no cap)", "L2 norm", kind=real, low=0.0)
    grad_cap_mode: str = flag("tensor", "what the norm is taken of: each weight tensor, or all together",
                              choices=("tensor", "global"))
    session_order: str = flag("id", "order in which sessions are trained: by id, or by time of the first event",
                              choices=("id", "time"))
    seed: int = flag(0, "seed of initial weights, dropout and drawn negatives", kind=whole, low=0, high=2 ** 31 - 1)
    init_from: Optional[str] = flag(None, "checkpoint directory whose weights to start from; new items get fresh rows",
                                    "directory", shown="none")


@dataclass(frozen=True)
class DataConfig:
    """Where events come from."""

    train_path: Optional[str] = flag(None, "training events (.txt .tsv .csv .parquet, .gz too)", "file",
                                     shown="the bundled sample")
    test_path: Optional[str] = flag(None, "test events, same format", "file", shown="the bundled sample")
    session_key: str = flag("SessionId", "column of the session id", "column")
    item_key: str = flag("ItemId", "column of the item id", "column")
    time_key: str = flag("Time", "column of the event time", "column")


@dataclass(frozen=True)
class ValidConfig:
    """How the number of epochs is chosen without the test file; no validation unless one of the first three is given."""

    valid_path: Optional[str] = flag(None, "events to validate with after each epoch, same format", "file", shown="none")
    valid_fraction: Optional[float] = flag(None, "share of the training sessions, those that end last, to validate with "
                                           "instead", "share", kind=real, above=0.0, below=1.0, shown="none")
    valid_days: Optional[float] = flag(None, "validate with the training sessions that end in the last so many times "
                                       "86,400 s of the file", "days", kind=real, above=0.0, shown="none")
    valid_metric: str = flag("recall", "what is best: Recall or MRR, at the first --cut_off", choices=("recall", "mrr"))
    patience: int = flag(0, "stop after so many epochs without a better one (0 = never)", "epochs", kind=whole, low=0)
    refit: int = flag(0, "1 trains again, from the start, on training and validation sessions together, for as many epochs "
                      "as were best", choices=(0, 1), kind=whole)

    @property
    def is_on(self):
        """Whether there is a validation."""
        return any(getattr(self, name) is not None for name in VALIDATION_SOURCES)


VALIDATION_SOURCES = ("valid_path", "valid_fraction", "valid_days")


@dataclass(frozen=True)
class EvalConfig:
    """What is measured."""

    test: Optional[int] = flag(AUTO, "epoch of the checkpoint to evaluate (0-based)", "epoch", kind=whole, low=0,
                               shown="the best by validation, without it the newest")
    cut_off: Tuple[int, ...] = flag((20,), "length of the recommendation list; several: 5,10,20", "items",
                                    kind=int_list, low=1)
    tie: str = flag("conservative", "place of the target among equal scores: last, middle or first",
                    choices=("conservative", "median", "standard"))
    unknown: str = flag("drop", "items the model does not know: drop the event, or count the target as a miss",
                        choices=("drop", "miss"))
    eval_batch_size: int = flag(512, "sessions evaluated side by side", "lanes", kind=whole, low=1, high=MANY)
    metrics: Tuple[str, ...] = flag(("recall", "mrr"), "what is printed; coverage and popularity look at the lists "
                                    "themselves and cost another pass", kind=name_list,
                                    choices=("recall", "mrr", "ndcg", "coverage", "popularity"))
    eval_target: str = flag("all", "every next event of a session, or its last event only", choices=("all", "last"))
    split: Tuple[str, ...] = flag(("none",), "also print Recall and MRR by part: of targets seen earlier in their session "
                                  "or new, of places in the session", kind=name_list,
                                  choices=("none", "repeat", "position"))
    ranks_out: Optional[str] = flag(None, "table of the rank of every target (.parquet or .csv), for gru4rec.compare",
                                    "file", kind=ranks_path, shown="none")
    compare_rules: int = flag(1, "1 saves sequential rules with the model, and prints their line after its own",
                              choices=(0, 1), kind=whole)


@dataclass(frozen=True)
class RunConfig:
    """Where and how the command runs; none of it changes a number."""

    train: int = flag(1, "1 trains, 0 evaluates a saved model", choices=(0, 1), kind=whole)
    checkpoint_dir: str = flag("checkpoint", "directory of checkpoints and metrics.jsonl", "directory")
    resume: int = flag(0, "1 continues the run in --checkpoint_dir from its newest checkpoint; flags not given are as they "
                       "were", choices=(0, 1), kind=whole)
    save_every: Optional[str] = flag(AUTO, "also save within an epoch: each so many steps (500) or seconds (90s)",
                                     "steps or s", kind=save_interval, shown="at the end of each epoch")
    keep: int = flag(0, "newest checkpoints that stay, of epochs and of moments within one (0 = all epochs, two moments); "
                     "the best epoch by validation stays too", "checkpoints", kind=whole, low=0)
    device: str = flag("auto", "auto tries npu, gpu, cpu and says why it fell back",
                       choices=("auto", "npu", "gpu", "cpu"))
    engine: str = flag("auto", "loop: many steps per session call, only the rows of the batch updated; plain: one step "
                       "and TensorFlow's own Adam, the oracle", choices=("auto", "loop", "plain"),
                       shown="loop, plain on npu")
    steps_per_run: Optional[int] = flag(AUTO, "steps per session call: of the loop engine, or on an NPU of the device's "
                                        "own loop", "steps", kind=whole, low=1, high=MANY, shown="250, 1 on npu")
    xla: str = flag("auto", "compile the loop, and the ranking of a large evaluation (needs TensorFlow 2.6)",
                    choices=("auto", "on", "off"), shown="on where it can be had")
    log_every: int = flag(1000, "steps between two log lines", "steps", kind=whole, low=1)
    tensorboard: Optional[str] = flag(None, "directory of event files for TensorBoard: loss, learning rate, Recall, events/s",
                                      "directory", shown="none")


GROUPS = (("model", ModelConfig), ("training", TrainConfig), ("data", DataConfig), ("validation", ValidConfig),
           ("evaluation", EvalConfig), ("run", RunConfig), ("accelerator", AcceleratorConfig),
          ("port", PortConfig))
LATER = ("accelerator", "port")  # groups that checkpoints of earlier versions lack


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
        for name, value in presets.load(given["preset"]).items():
            if name not in _FIELDS:
                raise ConfigError("--preset %s holds the unknown flag %r; correct its file" % (given["preset"], name))
            given.setdefault(name, convert(_FIELDS[name], value))
    return _assemble(given, explicit)


def from_dict(saved):
    """Inverse of `Config.to_dict`; unknown or missing keys are ConfigErrors."""
    if not isinstance(saved, dict):
        raise ConfigError("configuration is not a JSON object")
    given = {}
    for group, _, item in fields_of(GROUPS):
        if group in LATER and group not in saved:
            continue
        part = saved.get(group)
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


def flags_markdown():
    """The README's table of flags, one row per option."""
    lines = ["| flag | default | unit | meaning |", "|---|---|---|---|"]
    for _, _, item in fields_of(GROUPS):
        meta = item.metadata
        text = meta["help"] + (" (%s)" % ", ".join(str(c) for c in meta["choices"]) if meta["choices"] else "")
        lines.append("| `--%s` | %s | %s | %s |" % (item.name, meta["shown"] or show(item.default), meta["unit"], text))
    return "\n".join(lines)

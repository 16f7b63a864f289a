"""Flags of training and evaluation: default, unit, help, allowed values.

Those of an accelerator are in config.accelerator, those of the older port in config.port. A flag
without which older checkpoints must still load is also named in config.LATER_FLAGS.
"""

from dataclasses import dataclass
from typing import Optional, Tuple

from gru4rec.command.flags import flag
from gru4rec.command.kinds import (
    int_list,
    lr_scale,
    name_list,
    ranks_path,
    real,
    real_list,
    save_interval,
    whole,
)

# Which activations of the scores each loss allows (docs/inside/design.md, "Losses"); the first is
# the default.
FINAL_ACTS = {
    "cross-entropy": ("softmax", "tanh"),
    "full-cross-entropy": ("softmax", "tanh"),
    "bpr": ("tanh", "linear", "relu"),
    "top1": ("tanh", "linear", "relu"),
    "bpr-max": ("elu", "linear", "tanh"),
    "top1-max": ("elu", "linear", "tanh"),
}
LR_SCALES = ("none", "linear", "sqrt")
OPTIMIZERS = ("adam", "adagrad", "rmsprop", "sgd")

# Most units, lanes or steps per call: a typing error beyond it must not take the machine's memory.
MANY = 10 ** 6
AUTO = None  # default of a flag whose value follows from other flags or from the device


@dataclass(frozen=True)
class ModelConfig:
    """The network. Training saves these flags with the weights; an evaluation reads them there."""

    layer: int = flag(1, "number of GRU layers", "layers", kind=whole, low=1, high=1000)
    size: Tuple[int, ...] = flag(
        (100,), "hidden units of a layer; a list such as 100,50 gives one size per layer", "units",
        kind=int_list, low=1, high=MANY)
    cell: str = flag(
        "gru", "gru: TensorFlow 1's GRUCell; official: the cell of the authors' code, which "
        "applies dropout to the state before it carries the state to the next step",
        choices=("gru", "official"))
    embedding: str = flag(
        "separate", "where the input row of an item comes from. separate: a table for input only; "
        "shared: the output table; none: one-hot input, so each item has a row of the first "
        "layer's kernel",
        choices=("separate", "shared", "none"))
    embed_size: Optional[int] = flag(
        AUTO, "width of an input row", "units", kind=whole, low=1, high=MANY,
        shown="the width that --embedding and --size need")
    hidden_act: str = flag("tanh", "activation of the candidate state",
                           choices=("tanh", "relu", "elu"))
    final_act: Optional[str] = flag(
        AUTO, "activation of the scores in the loss",
        choices=("softmax", "tanh", "relu", "linear", "elu"),
        shown="softmax for the cross-entropies, tanh for bpr and top1, elu for bpr-max and "
              "top1-max")
    elu: float = flag(1.0, "alpha of the activation elu; 0 makes --final_act elu linear", kind=real,
                      low=0.0, high=1e6)
    score: str = flag("dot", "score of an item. dot: product of the network's output and the "
                      "item's row; cosine: cosine between them", choices=("dot", "cosine"))
    score_scale: float = flag(12.0, "factor by which --score cosine multiplies the cosine",
                              "factor", kind=real, above=0.0, high=1e4)
    loss: str = flag("cross-entropy", "training loss; full-cross-entropy takes every item as a "
                     "negative", choices=tuple(FINAL_ACTS))
    dropout: Tuple[float, ...] = flag(
        (0.5,), "dropout probability of each layer's output in training (0 = off); a list gives "
        "one per layer", "probability", kind=real_list, low=0.0, below=1.0)
    embed_dropout: float = flag(0.0, "dropout probability of an input row in training (0 = off)",
                                "probability", kind=real, low=0.0, below=1.0)


@dataclass(frozen=True)
class TrainConfig:
    """How the weights are trained."""

    preset: Optional[str] = flag(
        None, "name of a set of flags; a flag that you also give overrides the preset; the name "
        "list prints all presets", "name", shown="none")
    epoch: int = flag(3, "passes over the training sessions", "epochs", kind=whole, low=1)
    optimizer: str = flag("adam", "update rule; all of them update only the rows that a step uses",
                          choices=OPTIMIZERS)
    lr: float = flag(0.001, "initial learning rate", "per step", kind=real, above=0.0, high=1e30)
    lr_scale: str = flag(
        "none", "factor of --lr if several processes train together: none (1), linear (their "
        "number), sqrt (its square root) or a number", kind=lr_scale)
    momentum: float = flag(
        0.0, "fraction of the previous update added to this one (not with adam); for a row of a "
        "table, only in steps that use the row", "fraction", kind=real, low=0.0, below=1.0)
    decay: float = flag(
        0.96, "factor of the learning rate after each --decay_steps; the learning rate never falls "
        "below 1e-5", "factor", kind=real, above=0.0, high=1.0)
    decay_steps: int = flag(1000, "steps between two decays of the learning rate", "steps",
                            kind=whole, low=1)
    batch_size: int = flag(50, "sessions trained in parallel (lanes)", "lanes", kind=whole, low=2,
                           high=MANY)
    n_sample: int = flag(
        0, "negatives drawn in each step, in addition to those of the batch; all lanes share them",
        "items", kind=whole, low=0, high=MANY)
    sample_alpha: float = flag(
        0.5, "an item is drawn with a probability proportional to (its events) ** sample_alpha",
        "exponent", kind=real, low=0.0, high=10.0)
    logq: float = flag(
        0.0, "strength of the logQ correction, which corrects scores in training for how often the "
        "item is a negative (--loss cross-entropy; 0 = off, 1 = in full)", "factor", kind=real,
        low=0.0, high=1e6)
    global_negatives: int = flag(
        0, "with several processes: 1 takes the targets of all processes as negatives, 0 only "
        "those of the same process", choices=(0, 1), kind=whole)
    mask_hits: int = flag(0, "1 leaves out a negative that is the same item as the lane's target",
                          choices=(0, 1), kind=whole)
    bpreg: float = flag(1.0, "weight of the score regularisation of bpr-max", "factor", kind=real,
                        low=0.0, high=1e6)
    label_smoothing: float = flag(
        0.0, "share of the target's probability that is spread over all scored items "
        "(cross-entropies)", "share", kind=real, low=0.0, below=1.0)
    grad_cap: float = flag(
        0.0, "largest allowed norm of a gradient; a larger gradient is scaled down to this norm "
        "(0 = no limit)", "L2 norm", kind=real, low=0.0)
    grad_cap_mode: str = flag(
        "tensor", "what --grad_cap limits. tensor: the norm of each weight tensor's gradient; "
        "global: the norm of all gradients together", choices=("tensor", "global"))
    session_order: str = flag(
        "id", "order of the sessions in training: by id, or by the time of their first event",
        choices=("id", "time"))
    seed: int = flag(0, "seed of initial weights, dropout and drawn negatives", kind=whole, low=0,
                     high=2 ** 31 - 1)
    init_from: Optional[str] = flag(
        None, "checkpoint directory whose weights the training starts from; items that this model "
        "does not know get new rows", "directory", shown="none")

    @property
    def base_lr(self):
        """The learning rate of the first step.

        Several processes have replaced --lr_scale by a number when their run begins.
        """
        return self.lr * (1.0 if self.lr_scale in LR_SCALES else float(self.lr_scale))


@dataclass(frozen=True)
class DataConfig:
    """Where the events come from."""

    train_path: Optional[str] = flag(None, "training events (.txt .tsv .csv .parquet, .gz too)",
                                     "file", shown="the bundled sample")
    test_path: Optional[str] = flag(None, "test events, in the same formats", "file",
                                    shown="the bundled sample")
    session_key: str = flag("SessionId", "column of the session id", "column")
    item_key: str = flag("ItemId", "column of the item id", "column")
    time_key: str = flag("Time", "column of the event time", "column")


@dataclass(frozen=True)
class ValidConfig:
    """How many epochs, chosen without test data; off unless one of the first 3 flags is given."""

    valid_path: Optional[str] = flag(
        None, "events to validate on after each epoch, in the same formats", "file", shown="none")
    valid_fraction: Optional[float] = flag(
        None, "validate on this share of the training sessions, those that end last; they are not "
        "used for training", "share", kind=real, above=0.0, below=1.0, shown="none")
    valid_days: Optional[float] = flag(
        None, "validate on the training sessions that end in this many last days (of 86,400 s) of "
        "the file; they are not used for training", "days", kind=real, above=0.0, shown="none")
    valid_metric: str = flag("recall", "metric that decides which epoch is best, at the first "
                             "--cut_off", choices=("recall", "mrr"))
    patience: int = flag(0, "stop after this many epochs without a better one (0 = never)",
                         "epochs", kind=whole, low=0)
    refit: int = flag(
        0, "1 trains once more from the start, on training and validation sessions together, for "
        "the best number of epochs", choices=(0, 1), kind=whole)

    @property
    def is_on(self):
        """Whether there is a validation."""
        return any(getattr(self, name) is not None for name in VALIDATION_SOURCES)


VALIDATION_SOURCES = ("valid_path", "valid_fraction", "valid_days")


@dataclass(frozen=True)
class EvalConfig:
    """What is measured."""

    test: Optional[int] = flag(AUTO, "epoch of the checkpoint to evaluate (0-based)", "epoch",
                               kind=whole, low=0,
                               shown="the best by validation, or the newest if there was none")
    cut_off: Tuple[int, ...] = flag((20,), "length of the recommendation list; give several as "
                                    "5,10,20", "items", kind=int_list, low=1)
    tie: str = flag("conservative", "rank of the target among items of the same score. "
                    "conservative: last; median: middle; standard: first",
                    choices=("conservative", "median", "standard"))
    unknown: str = flag("drop", "what to do with an event whose item the model does not know. "
                        "drop: remove it; miss: count it as a miss if it is a target",
                        choices=("drop", "miss"))
    eval_batch_size: int = flag(512, "sessions evaluated in parallel", "lanes", kind=whole, low=1,
                                high=MANY)
    metrics: Tuple[str, ...] = flag(
        ("recall", "mrr"), "metrics to print; coverage and popularity need the recommendation "
        "lists, which take another pass over the scores", kind=name_list,
        choices=("recall", "mrr", "ndcg", "coverage", "popularity"))
    eval_target: str = flag("all", "which events are targets. all: every event of a session after "
                            "the first; last: only the last event", choices=("all", "last"))
    split: Tuple[str, ...] = flag(
        ("none",), "also print Recall and MRR for groups of targets. repeat: items seen earlier in "
        "the session, and new items; position: by place in the session", kind=name_list,
        choices=("none", "repeat", "position"))
    ranks_out: Optional[str] = flag(
        None, "file to write the rank of every target to (.parquet or .csv), for gru4rec.compare",
        "file", kind=ranks_path, shown="none")
    compare_rules: int = flag(
        1, "1 saves sequential rules (a baseline without learned weights) with the weights; an "
        "evaluation then prints their line after the model's line", choices=(0, 1), kind=whole)


@dataclass(frozen=True)
class RunConfig:
    """Where and how the command runs; these flags do not change the results."""

    train: int = flag(1, "1 trains, 0 evaluates a saved model", choices=(0, 1), kind=whole)
    checkpoint_dir: str = flag("checkpoint", "directory of checkpoints and metrics.jsonl",
                               "directory")
    resume: int = flag(
        0, "1 continues the run in --checkpoint_dir from its newest checkpoint; flags that are not "
        "given stay as they were", choices=(0, 1), kind=whole)
    save_every: Optional[str] = flag(
        AUTO, "also save within an epoch, each time after this many steps (500) or seconds (90s)",
        "steps or s", kind=save_interval, shown="at the end of each epoch")
    keep: int = flag(
        0, "number of newest checkpoints to keep: this many from ends of epochs, and as many from "
        "within an epoch (0 = all from ends, two from within); the best epoch by validation is "
        "always kept",
        "checkpoints", kind=whole, low=0)
    cluster_timeout: float = flag(
        300.0, "with TF_CONFIG: how long processes that train together wait for each other", "s",
        kind=real, above=0.0, high=1e6)
    device: str = flag("auto", "where to compute; auto takes the first of npu, gpu, cpu that can "
                       "be used, and says why", choices=("auto", "npu", "gpu", "cpu"))
    engine: str = flag(
        "auto", "loop: many steps in one session call, which update only the rows of the batch; "
        "plain: one step in each call, with TensorFlow's own Adam, to check loop against",
        choices=("auto", "loop", "plain"), shown="loop, plain on npu")
    steps_per_run: Optional[int] = flag(
        AUTO, "steps in one session call, with the engine loop or, on an NPU, with the device's "
        "own loop", "steps", kind=whole, low=1, high=MANY, shown="250, 1 on npu")
    xla: str = flag(
        "auto", "compile the loop, and the ranking in a large evaluation, with XLA (TensorFlow "
        "2.6 or later)", choices=("auto", "on", "off"), shown="on where it can be used")
    log_every: int = flag(1000, "steps between two log lines", "steps", kind=whole, low=1)
    tensorboard: Optional[str] = flag(
        None, "directory for event files of TensorBoard: loss, learning rate, Recall, events/s",
        "directory", shown="none")

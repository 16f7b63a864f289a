"""Every option of the model once: its default, unit, help and allowed values, in one frozen
dataclass a group.
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

# Which score activations give each loss a meaning (docs/inside/design.md, "Losses"); the
# first is the default.
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

# units, lanes, steps a call: a typing error beyond that must not take the machine's memory
MANY = 10 ** 6
AUTO = None  # a flag that is resolved from other flags or from the device


@dataclass(frozen=True)
class ModelConfig:
    """What the network is. Saved with the weights; evaluation takes it from there."""

    layer: int = flag(1, "GRU layers", "layers", kind=whole, low=1, high=1000)
    size: Tuple[int, ...] = flag((100,),
                                 "hidden units; a list such as 100,50 gives one size per layer",
                                 "units",
                                 kind=int_list, low=1, high=MANY)
    cell: str = flag("gru",
                     "TensorFlow 1's GRUCell, or the variant of the authors' code, whose carried "
                     "state is the one "
                     "after dropout", choices=("gru", "official"))
    embedding: str = flag("separate",
                          "input rows: a table of their own, the rows of the output table, or "
                          "none: one-hot "
                          "input, a row of the first layer's kernel for each item",
                          choices=("separate", "shared", "none"))
    embed_size: Optional[int] = flag(AUTO, "width of an input row", "units", kind=whole, low=1,
                                     high=MANY,
                                     shown="as wide as what reads it")
    hidden_act: str = flag("tanh", "activation of the candidate state",
                           choices=("tanh", "relu", "elu"))
    final_act: Optional[str] = flag(AUTO, "activation of the scores in the loss",
                                    choices=("softmax", "tanh", "relu", "linear", "elu"),
                                    shown="softmax for the cross-entropies, tanh for bpr and top1, "
                                          "elu for bpr-max and "
                                    "top1-max")
    elu: float = flag(1.0, "alpha of the activation elu (0 makes it linear as a final_act)",
                      kind=real, low=0.0, high=1e6)
    score: str = flag("dot", "score of an item: product of output and row, or cosine between them",
                      choices=("dot", "cosine"))
    score_scale: float = flag(12.0, "what the cosine is multiplied by", "factor", kind=real,
                              above=0.0, high=1e4)
    loss: str = flag("cross-entropy",
                     "training loss; full-cross-entropy takes every item as a negative",
                     choices=tuple(FINAL_ACTS))
    dropout: Tuple[float, ...] = flag((0.5,),
                                      "share of each layer's outputs dropped in training (0 = "
                                      "off); a list gives "
                                      "one rate per layer", "rate", kind=real_list, low=0.0,
                                      below=1.0)
    embed_dropout: float = flag(0.0, "share of each input row dropped in training", "rate",
                                kind=real, low=0.0, below=1.0)


@dataclass(frozen=True)
class TrainConfig:
    """How the weights are found."""

    preset: Optional[str] = flag(None, "flags by name, of which those given win; list shows them",
                                 "name", shown="none")
    epoch: int = flag(3, "passes over the training sessions", "epochs", kind=whole, low=1)
    optimizer: str = flag("adam", "rule of the updates; all touch only the rows of the step",
                          choices=OPTIMIZERS)
    lr: float = flag(0.001, "initial learning rate", "per step", kind=real, above=0.0, high=1e30)
    lr_scale: str = flag("none",
                         "factor of --lr where several processes train together: none (1), linear "
                         "(their number) or "
                         "sqrt (its root)", kind=lr_scale)
    momentum: float = flag(0.0,
                           "share of the last move that is made again (not with adam); of rows, "
                           "where touched",
                           "factor", kind=real, low=0.0, below=1.0)
    decay: float = flag(0.96, "learning rate factor each --decay_steps (staircase, floor 1e-5)",
                        "factor", kind=real,
                        above=0.0, high=1.0)
    decay_steps: int = flag(1000, "steps between two decays", "steps", kind=whole, low=1)
    batch_size: int = flag(50, "sessions trained side by side (lanes)", "lanes", kind=whole, low=2,
                           high=MANY)
    n_sample: int = flag(0,
                         "negatives drawn in each step, shared by its lanes, beside those of the "
                         "batch", "items",
                         kind=whole, low=0, high=MANY)
    sample_alpha: float = flag(0.5,
                               "negatives are drawn with probability ~ support ** sample_alpha",
                               "exponent", kind=real,
                               low=0.0, high=10.0)
    logq: float = flag(0.0,
                       "share of the correction of sampled scores for how often their item is "
                       "drawn (cross-entropy)",
                       "factor", kind=real, low=0.0, high=1e6)
    global_negatives: int = flag(0,
                                 "1: each of several processes takes the targets of all as "
                                 "negatives, not its own alone",
                                 choices=(0, 1), kind=whole)
    mask_hits: int = flag(0, "1 leaves out a negative that is the item of the lane's own target",
                          choices=(0, 1), kind=whole)
    bpreg: float = flag(1.0, "weight of the score regulariser of bpr-max", "factor", kind=real,
                        low=0.0, high=1e6)
    label_smoothing: float = flag(0.0,
                                  "share of the target's probability spread over all columns "
                                  "(cross-entropies)",
                                  "share", kind=real, low=0.0, below=1.0)
    grad_cap: float = flag(0.0, "largest norm of a gradient (0 = no cap)", "L2 norm", kind=real,
                           low=0.0)
    grad_cap_mode: str = flag("tensor",
                              "what the norm is taken of: each weight tensor, or all together",
                              choices=("tensor", "global"))
    session_order: str = flag("id",
                              "order in which sessions are trained: by id, or by time of the first "
                              "event",
                              choices=("id", "time"))
    seed: int = flag(0, "seed of initial weights, dropout and drawn negatives", kind=whole, low=0,
                     high=2 ** 31 - 1)
    init_from: Optional[str] = flag(None,
                                    "checkpoint directory whose weights to start from; new items "
                                    "get fresh rows",
                                    "directory", shown="none")

    @property
    def base_lr(self):
        """The learning rate of the first step; several processes have made --lr_scale a number when
        their run begins.
        """
        return self.lr * (1.0 if self.lr_scale in LR_SCALES else float(self.lr_scale))


@dataclass(frozen=True)
class DataConfig:
    """Where events come from."""

    train_path: Optional[str] = flag(None, "training events (.txt .tsv .csv .parquet, .gz too)",
                                     "file",
                                     shown="the bundled sample")
    test_path: Optional[str] = flag(None, "test events, same format", "file",
                                    shown="the bundled sample")
    session_key: str = flag("SessionId", "column of the session id", "column")
    item_key: str = flag("ItemId", "column of the item id", "column")
    time_key: str = flag("Time", "column of the event time", "column")


@dataclass(frozen=True)
class ValidConfig:
    """How the number of epochs is chosen without the test file; no validation unless one of the
    first three is given.
    """

    valid_path: Optional[str] = flag(None, "events to validate with after each epoch, same format",
                                     "file", shown="none")
    valid_fraction: Optional[float] = flag(None,
                                           "share of the training sessions, those that end last, "
                                           "to validate with "
                                           "instead", "share", kind=real, above=0.0, below=1.0,
                                           shown="none")
    valid_days: Optional[float] = flag(None,
                                       "validate with the training sessions that end in the last "
                                       "so many times "
                                       "86,400 s of the file", "days", kind=real, above=0.0,
                                       shown="none")
    valid_metric: str = flag("recall", "what is best: Recall or MRR, at the first --cut_off",
                             choices=("recall", "mrr"))
    patience: int = flag(0, "stop after so many epochs without a better one (0 = never)", "epochs",
                         kind=whole, low=0)
    refit: int = flag(0,
                      "1 trains again, from the start, on training and validation sessions "
                      "together, for as many epochs "
                      "as were best", choices=(0, 1), kind=whole)

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
                               shown="the best by validation, without it the newest")
    cut_off: Tuple[int, ...] = flag((20,), "length of the recommendation list; several: 5,10,20",
                                    "items",
                                    kind=int_list, low=1)
    tie: str = flag("conservative", "place of the target among equal scores: last, middle or first",
                    choices=("conservative", "median", "standard"))
    unknown: str = flag("drop",
                        "items the model does not know: drop the event, or count the target as a "
                        "miss",
                        choices=("drop", "miss"))
    eval_batch_size: int = flag(512, "sessions evaluated side by side", "lanes", kind=whole, low=1,
                                high=MANY)
    metrics: Tuple[str, ...] = flag(("recall", "mrr"),
                                    "what is printed; coverage and popularity look at the lists "
                                    "themselves and cost another pass", kind=name_list,
                                    choices=("recall", "mrr", "ndcg", "coverage", "popularity"))
    eval_target: str = flag("all", "every next event of a session, or its last event only",
                            choices=("all", "last"))
    split: Tuple[str, ...] = flag(("none",),
                                  "also print Recall and MRR by part: of targets seen earlier in "
                                  "their session "
                                  "or new, of places in the session", kind=name_list,
                                  choices=("none", "repeat", "position"))
    ranks_out: Optional[str] = flag(None,
                                    "table of the rank of every target (.parquet or .csv), for "
                                    "gru4rec.compare",
                                    "file", kind=ranks_path, shown="none")
    compare_rules: int = flag(1,
                              "1 saves sequential rules with the model, and prints their line "
                              "after its own",
                              choices=(0, 1), kind=whole)


@dataclass(frozen=True)
class RunConfig:
    """Where and how the command runs; none of it changes a number."""

    train: int = flag(1, "1 trains, 0 evaluates a saved model", choices=(0, 1), kind=whole)
    checkpoint_dir: str = flag("checkpoint", "directory of checkpoints and metrics.jsonl",
                               "directory")
    resume: int = flag(0,
                       "1 continues the run in --checkpoint_dir from its newest checkpoint; flags "
                       "not given are as they "
                       "were", choices=(0, 1), kind=whole)
    save_every: Optional[str] = flag(AUTO,
                                     "also save within an epoch: each so many steps (500) or "
                                     "seconds (90s)",
                                     "steps or s", kind=save_interval,
                                     shown="at the end of each epoch")
    keep: int = flag(0,
                     "newest checkpoints that stay, of epochs and of moments within one (0 = all "
                     "epochs, two moments); "
                     "the best epoch by validation stays too", "checkpoints", kind=whole, low=0)
    cluster_timeout: float = flag(300.0,
                                  "with TF_CONFIG: how long processes that train together wait for "
                                  "each other",
                                  "s", kind=real, above=0.0, high=1e6)
    device: str = flag("auto", "auto tries npu, gpu, cpu and says why it fell back",
                       choices=("auto", "npu", "gpu", "cpu"))
    engine: str = flag("auto",
                       "loop: many steps per session call, only the rows of the batch updated; "
                       "plain: one step "
                       "and TensorFlow's own Adam, the oracle", choices=("auto", "loop", "plain"),
                       shown="loop, plain on npu")
    steps_per_run: Optional[int] = flag(AUTO,
                                        "steps per session call: of the loop engine, or on an NPU "
                                        "of the device's "
                                        "own loop", "steps", kind=whole, low=1, high=MANY,
                                        shown="250, 1 on npu")
    xla: str = flag("auto",
                    "compile the loop, and the ranking of a large evaluation (needs TensorFlow 2.6)",
                    choices=("auto", "on", "off"), shown="on where it can be had")
    log_every: int = flag(1000, "steps between two log lines", "steps", kind=whole, low=1)
    tensorboard: Optional[str] = flag(None,
                                      "directory of event files for TensorBoard: loss, learning "
                                      "rate, Recall, events/s",
                                      "directory", shown="none")

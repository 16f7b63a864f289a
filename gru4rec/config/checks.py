"""Flags that follow from others, and flags of training that contradict each other.

What an accelerator refuses is in config.accelerator and config.npu_options; what a device, an
engine or a saved run refuses is said there.
"""

import dataclasses

from gru4rec.command.flags import show
from gru4rec.config.groups import AUTO, FINAL_ACTS, VALIDATION_SOURCES
from gru4rec.errors import ConfigError


def resolve_model(model, given=()):
    """Fill in the flags that depend on others: size, layer, dropout, final_act, embed_size.

    Args:
      model: ModelConfig as the command line left it.
      given: names of the flags the user gave, to tell a contradiction from a default.
    Returns: ModelConfig.
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
        raise ConfigError("--dropout %s has %d values, --size %s has %d layers; give one value, or "
                          "one per layer" % (show(dropout), len(dropout), show(size), len(size)))
    return dataclasses.replace(model, size=size, layer=len(size), dropout=dropout,
                               final_act=model.final_act or FINAL_ACTS[model.loss][0],
                               embed_size=_embed_size(model, size))


def _embed_size(model, size):
    """Width of an input row; only a separate table may have another than its reader needs."""
    if model.embedding == "separate":
        return model.embed_size or size[0]
    if model.embedding == "shared":
        width = size[-1]
    else:
        width = 3 * size[0]  # a row of the kernels of r, u and c side by side
    if model.embed_size not in (AUTO, width):
        raise ConfigError("--embed_size %d contradicts --embedding %s, whose input rows have %d "
                          "columns; leave it out, or use --embedding separate"
                          % (model.embed_size, model.embedding, width))
    return width


def check_pair(model):
    """Refuse an activation of the scores that the loss does not allow."""
    if model.final_act not in FINAL_ACTS[model.loss]:
        raise ConfigError("--final_act %s has no meaning with --loss %s; use one of: %s"
                          % (model.final_act, model.loss,
                             ", ".join(sorted(FINAL_ACTS[model.loss]))))


def check_family(model, training, explicit):
    """Refuse flags that have no meaning together; every message names both.

    Args:
      model: ModelConfig, resolved. training: TrainConfig. explicit: names of the flags given.
    """
    cross_entropy = model.loss in ("cross-entropy", "full-cross-entropy")
    elu = "elu" in (model.final_act, model.hidden_act)
    full = model.loss == "full-cross-entropy"
    refused = (
        (training.momentum and training.optimizer == "adam", "--momentum %s" % training.momentum,
         "--optimizer adam", "adam has a momentum of its own; use another optimizer"),
        (training.logq and model.loss != "cross-entropy", "--logq %s" % training.logq,
         "--loss %s" % model.loss, "it corrects sampled probabilities; use --loss cross-entropy"),
        (training.label_smoothing and not cross_entropy,
         "--label_smoothing %s" % training.label_smoothing, "--loss %s" % model.loss,
         "use one of the cross-entropies"),
        (full and training.n_sample, "--n_sample %d" % training.n_sample, "--loss %s" % model.loss,
         "every item is a negative already; leave it out"),
        (full and training.mask_hits, "--mask_hits 1", "--loss %s" % model.loss,
         "an item occurs only once there; leave it out"),
        ("bpreg" in explicit and model.loss != "bpr-max", "--bpreg %s" % training.bpreg,
         "--loss %s" % model.loss, "it belongs to --loss bpr-max"),
        ("elu" in explicit and not elu, "--elu %s" % model.elu,
         "--final_act %s and --hidden_act %s" % (model.final_act, model.hidden_act),
         "neither is elu; leave it out"),
        ("score_scale" in explicit and model.score == "dot", "--score_scale %s" % model.score_scale,
         "--score dot", "it belongs to --score cosine"),
        ("sample_alpha" in explicit and not training.n_sample,
         "--sample_alpha %s" % training.sample_alpha, "--n_sample 0",
         "no negatives are drawn; give --n_sample or leave it out"),
        ("grad_cap_mode" in explicit and not training.grad_cap,
         "--grad_cap_mode %s" % training.grad_cap_mode, "--grad_cap 0",
         "there is no cap; give --grad_cap or leave it out"),
        (model.embed_dropout and model.embedding == "none",
         "--embed_dropout %s" % model.embed_dropout, "--embedding none",
         "there is no input row to drop from; leave it out"),
    )
    for wrong, one, other, remedy in refused:
        if wrong:
            raise ConfigError("%s has no meaning with %s: %s" % (one, other, remedy))


def check_validation(validation, explicit):
    """Refuse two sources of validation sessions, and flags of a validation without any source.

    Args: validation: ValidConfig. explicit: names of the flags given.
    """
    sources = ["--%s %s" % (name, getattr(validation, name)) for name in VALIDATION_SOURCES
             if getattr(validation, name) is not None]
    if len(sources) > 1:
        raise ConfigError("%s contradicts %s: each says what to validate with; give one of them"
                          % (sources[0], sources[1]))
    needing = [name for name, is_set in (("patience", validation.patience),
                                         ("refit", validation.refit),
                                         ("valid_metric", "valid_metric" in explicit)) if is_set]
    if needing and not sources:
        raise ConfigError("--%s %s needs a validation; give one of --%s, or leave it out"
                          % (needing[0], getattr(validation, needing[0]),
                             ", --".join(VALIDATION_SOURCES)))

"""What to train with instead, from what a configuration lacks: one line for the log.

Nothing is decided here.
"""

from gru4rec.command.flags import show

PRESET = "--preset fast"
IN_BATCH = ("cross-entropy", "bpr", "top1")  # the losses of the original port
FEW_EPOCHS = 10  # fewer are worth trying more of; every published preset has as many


def parity_notice(config):
    """What training as the original port does costs, and the flag that mends it.

    Args: config: config.Config of the training.
    Returns: str; None if a preset was asked for by name ("original" too), or negatives are drawn,
      or they are corrected.
    """
    training = config.training
    if (training.preset or training.n_sample or training.logq
            or config.model.loss not in IN_BATCH):
        return None
    return ("no --preset: trained for parity with the original port; its negatives from the batch "
            "alone push popular items down (bundled sample: MRR@20 0.17 instead of 0.31), which "
            "%s mends (docs/evidence/popularity.md)" % PRESET)


def below_rules(config, epoch):
    """The flag that is likely to lift a model above sequential rules.

    Args:
      config: config.Config the model was trained with.
      epoch: int, 0-based, epoch of the model that was evaluated.
    Returns: str, such as `train with --preset fast`; the first of what is missing.
    """
    training = config.training
    no_preset = training.preset in (None, "original")
    if config.model.loss == "cross-entropy" and not training.logq:
        return ("train with --logq 1%s: negatives drawn by popularity push popular items down "
                "(docs/evidence/popularity.md)" % (" or %s" % PRESET if no_preset else ""))
    if no_preset:
        return "train with %s" % PRESET
    best_is_earlier = config.validation.is_on and epoch + 1 < training.epoch
    if epoch + 1 < FEW_EPOCHS and not best_is_earlier:
        return ("train for more epochs than %d, chosen by a validation: "
                "--epoch 20 --valid_fraction 0.1 --patience 2" % (epoch + 1))
    return ("train with a --size larger than %s, or look for other flags with scripts/search.py"
            % show(config.model.size))


def shortfall(model, rules):
    """Which metrics of a model are below those of sequential rules, in the digits printed.

    Args: both (cut-off, Recall, MRR).
    Returns: str, such as `MRR@20 (0.1746, rules 0.2221)`; "" if none is below.
    """
    rows = zip(("Recall", "MRR"), model[1:], rules[1:])
    return " and ".join("%s@%d (%.4f, rules %.4f)" % (name, model[0], ours, theirs)
                        for name, ours, theirs in rows if round(ours, 4) < round(theirs, 4))

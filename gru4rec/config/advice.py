"""Lines for the log that say which flag is likely to give a better model.

They change nothing: the user decides.
"""

from gru4rec.command.flags import show

PRESET = "--preset fast"
IN_BATCH = ("cross-entropy", "bpr", "top1")  # the losses of the original port
FEW_EPOCHS = 10  # every published preset has at least as many


def parity_notice(config):
    """Why a training with the flags of the original port recommends badly, and what to do.

    Args: config: config.Config of the training.
    Returns: str; None if the user named a preset ("original" too), if negatives are drawn, or if
      scores are corrected (--logq).
    """
    training = config.training
    if (training.preset or training.n_sample or training.logq
            or config.model.loss not in IN_BATCH):
        return None
    return ("no --preset: trained for parity with the original port; its negatives from the batch "
            "alone push popular items down (bundled sample: MRR@20 0.17 instead of 0.31), which "
            "%s mends (docs/evidence/popularity.md)" % PRESET)


def below_rules(config, epoch):
    """The flag that is likely to make a model better than sequential rules.

    Args:
      config: config.Config that the model was trained with.
      epoch: int, 0-based, epoch of the model that was evaluated.
    Returns: str, such as `train with --preset fast`; the first advice that applies.
    """
    training = config.training
    no_preset = training.preset in (None, "original")
    if config.model.loss == "cross-entropy" and not training.logq:
        flags = "--logq 1"
        if no_preset:
            flags += " or %s" % PRESET
        return ("train with %s: negatives drawn by popularity push popular items down "
                "(docs/evidence/popularity.md)" % flags)
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

    Args: model, rules: (cut-off, Recall, MRR) each.
    Returns: str, such as `MRR@20 (0.1746, rules 0.2221)`; "" if none is below.
    """
    rows = zip(("Recall", "MRR"), model[1:], rules[1:])
    return " and ".join("%s@%d (%.4f, rules %.4f)" % (name, model[0], of_model, of_rules)
                        for name, of_model, of_rules in rows
                        if round(of_model, 4) < round(of_rules, 4))

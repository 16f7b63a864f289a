"""What the program advises to train with: from what a configuration lacks, and only then."""

import pytest

from gru4rec import config
from gru4rec.config import advice, presets


def made(*flags):
    return config.parse([str(flag) for flag in flags])


@pytest.mark.parametrize("flags", [
    [], ["--loss", "bpr"], ["--loss", "top1"], ["--size", 32, "--epoch", 10],
    ["--valid_fraction", 0.1]])
def test_training_as_the_original_is_said_in_one_line_that_names_the_flag(flags):
    notice = advice.parity_notice(made(*flags))
    assert "--preset fast" in notice and "\n" not in notice and "popular items down" in notice


@pytest.mark.parametrize("flags", [
    ["--logq", 1], ["--n_sample", 50], ["--preset", "original"], ["--preset", "fast"],
    ["--loss", "full-cross-entropy"], ["--loss", "bpr-max"], ["--loss", "top1-max"]])
def test_whoever_chose_otherwise_is_told_nothing(flags):
    assert advice.parity_notice(made(*flags)) is None


LOGQ, PRESET, LARGER = "--logq 1", "--preset fast", "--size"
EPOCHS = "--epoch 20 --valid_fraction 0.1"
ADVICE = [
    ([], 2, [LOGQ, PRESET]),
    (["--epoch", 10], 9, [LOGQ, PRESET]),
    (["--n_sample", 512], 2, [LOGQ, PRESET]),
    (["--preset", "original"], 2, [LOGQ, PRESET]),
    (["--preset", "fast", "--logq", 0], 3, [LOGQ]),
    (["--logq", 1], 2, [PRESET]),
    (["--loss", "bpr"], 2, [PRESET]),
    (["--loss", "bpr-max"], 2, [PRESET]),
    (["--loss", "full-cross-entropy"], 2, [PRESET]),
    (["--preset", "fast"], 3, [EPOCHS]),
    (["--preset", "rsc15", "--valid_fraction", 0.1, "--epoch", 5], 4, [EPOCHS]),
    (["--preset", "rsc15", "--valid_fraction", 0.1], 6, [LARGER]),  # the best was not the last
    (["--preset", "rsc15"], 9, [LARGER]),
    (["--preset", "coveo", "--size", "64,32"], 9, [LARGER])]


@pytest.mark.parametrize("flags, epoch, named", ADVICE)
def test_the_flag_that_is_missing_is_named_and_no_other(flags, epoch, named):
    text = advice.below_rules(made(*flags), epoch)
    for flag in (LOGQ, PRESET, EPOCHS, LARGER):
        assert (flag in text) == (flag in named), text
    assert "\n" not in text and text.startswith("train ")


def test_what_is_advised_can_be_given():
    for flags, epoch, _ in ADVICE:
        text = advice.below_rules(made(*flags), epoch)
        if EPOCHS in text:
            made(*(flags + text.split("validation: ")[1].split()))
        if LOGQ in text:
            assert made(*(flags + ["--logq", 1])).training.logq == 1.0
        if PRESET in text:
            assert made("--preset", "fast").training.preset in presets.names()
    assert "64,32" in advice.below_rules(made("--preset", "coveo", "--size", "64,32"), 9)


@pytest.mark.parametrize("model, below", [
    ((20, 0.8, 0.3), ""),
    ((20, 0.58, 0.2), "MRR@20 (0.2000, rules 0.2221)"),
    ((5, 0.5, 0.3), "Recall@5 (0.5000, rules 0.5772)"),
    ((20, 0.5, 0.2), "Recall@20 (0.5000, rules 0.5772) and MRR@20 (0.2000, rules 0.2221)"),
    ((20, 0.57719, 0.22209), "")])  # the same in four digits
def test_either_metric_below_is_named_with_both_values(model, below):
    assert advice.shortfall(model, (model[0], 0.5772, 0.2221)) == below

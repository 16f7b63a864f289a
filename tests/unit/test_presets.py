"""Presets: every file parses, given flags win, and what contradicts is refused with both flags in
the message.
"""

import dataclasses

import pytest

from gru4rec import config
from gru4rec.config import presets
from gru4rec.errors import ConfigError

PUBLISHED = ["coveo", "diginetica", "rees46", "retailrocket", "rsc15", "yoochoose"]


def parse(*flags):
    return config.parse([str(flag) for flag in flags])


@pytest.mark.parametrize("name", presets.names())
def test_every_preset_is_a_valid_configuration(name):
    made = parse("--preset", name)
    assert config.from_dict(made.to_dict()).model == made.model
    assert made.explicit == ("preset",)  # what a preset says never contradicts a checkpoint


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_presets_share_what_the_study_shares(name):
    made = parse("--preset", name)
    model, training = made.model, made.training
    assert (model.embedding, model.cell, training.optimizer,
            training.epoch) == ("shared", "official", "adagrad", 10)
    assert (training.session_order, training.decay, training.n_sample) == ("time", 1.0, 2048)


def test_published_numbers():
    rees, coveo = parse("--preset", "rees46"), parse("--preset", "coveo")
    assert (rees.model.size, rees.training.batch_size, rees.model.embed_dropout, rees.training.lr,
            rees.training.logq) == (
        (512,), 240, 0.45, 0.065, 1.0)
    assert (coveo.model.loss, coveo.training.bpreg, coveo.model.elu, coveo.model.final_act,
            coveo.training.momentum) == (
        "bpr-max", 1.85, 1.0, "elu", 0.4)


def test_flags_that_are_given_win():
    made = parse("--preset", "rsc15", "--size", 32, "--lr", 0.1)
    assert made.model.size == (32,) and made.training.lr == 0.1 and made.training.momentum == 0.2
    assert made.explicit == ("lr", "preset", "size")


@pytest.mark.parametrize("preset, flags, left_out", [
    ("fast", ["--loss", "bpr"], {"logq": 0.0}), ("fast", ["--loss", "top1"], {"logq": 0.0}),
    ("fast", ["--loss", "full-cross-entropy"], {"logq": 0.0, "n_sample": 0}),
    ("best-rsc15_64", ["--loss", "bpr-max"], {"logq": 0.0, "label_smoothing": 0.0}),
    ("best-rsc15_64", ["--loss", "full-cross-entropy"],
     {"logq": 0.0, "n_sample": 0, "label_smoothing": 0.2}),
    ("best-rsc15_64", ["--embedding", "none"], {"embed_dropout": 0.0}),
    ("rsc15", ["--optimizer", "adam"], {"momentum": 0.0}),
    ("fast", ["--embed_size", "50"], {"embedding": "separate"}),
    ("fast", ["--embed_size", "100"], {"embedding": "shared"}),
    ("fast", ["--embed_size", "7", "--size", "7"], {"embedding": "shared"}),
    ("fast", ["--size", "64,32", "--layer", "2"], {"logq": 1.0, "embedding": "shared"}),
    ("fast", ["--score", "dot"], {}), ("fast", ["--n_sample", "0"], {"logq": 1.0})])
def test_what_has_no_meaning_beside_a_given_flag_is_left_out(caplog, preset, flags, left_out):
    with caplog.at_level("INFO"):
        found = parse("--preset", preset, *flags)
    values = dict(dataclasses.asdict(found.model), **dataclasses.asdict(found.training))
    assert {name: values[name] for name in left_out} == left_out
    of_preset, defaults = presets.load(preset), parse()
    for name in left_out:
        default = getattr(defaults.training, name, getattr(defaults.model, name, None))
        said = "its --%s has no meaning with %s, which is given" % (name, " ".join(flags[:2]))
        is_out = name in of_preset and left_out[name] == default
        assert (said in caplog.text) == is_out, caplog.text


def test_original_is_the_defaults():
    made = parse("--preset", "original")
    assert made.model == parse().model
    assert dataclasses.replace(made.training, preset=None) == parse().training


def test_an_unknown_preset_names_those_there_are():
    with pytest.raises(ConfigError, match="rsc14.*coveo.*yoochoose"):
        parse("--preset", "rsc14")


def test_list_prints_every_preset_and_ends(capsys):
    with pytest.raises(SystemExit) as caught:
        parse("--preset", "list")
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert all(name + ": " in out for name in presets.names()) and "--bpreg 1.85" in out


@pytest.mark.parametrize("flags, named", [
    (["--momentum", "0.1"], ["--momentum 0.1", "--optimizer adam"]),
    (["--logq", "1", "--loss", "bpr"], ["--logq 1.0", "--loss bpr"]),
    (["--logq", "1", "--loss", "full-cross-entropy"], ["--logq 1.0", "--loss full-cross-entropy"]),
    (["--label_smoothing", "0.1", "--loss", "top1-max"],
     ["--label_smoothing 0.1", "--loss top1-max"]),
    (["--n_sample", "5", "--loss", "full-cross-entropy"],
     ["--n_sample 5", "--loss full-cross-entropy"]),
    (["--mask_hits", "1", "--loss", "full-cross-entropy"],
     ["--mask_hits 1", "--loss full-cross-entropy"]),
    (["--bpreg", "0.5"], ["--bpreg 0.5", "--loss cross-entropy"]),
    (["--elu", "0.5"], ["--elu 0.5", "--final_act softmax", "--hidden_act tanh"]),
    (["--sample_alpha", "0.5"], ["--sample_alpha 0.5", "--n_sample 0"]),
    (["--grad_cap_mode", "global"], ["--grad_cap_mode global", "--grad_cap 0"]),
    (["--embed_dropout", "0.1", "--embedding", "none"],
     ["--embed_dropout 0.1", "--embedding none"]),
    (["--embed_size", "7", "--embedding", "shared"], ["--embed_size 7", "--embedding shared"]),
    (["--embed_size", "7", "--embedding", "none"], ["--embed_size 7", "--embedding none"]),
    (["--final_act", "relu", "--loss", "bpr-max"], ["--final_act relu", "--loss bpr-max"]),
    (["--final_act", "elu", "--loss", "bpr"], ["--final_act elu", "--loss bpr"]),
    (["--dropout", "0.1,0.2", "--size", "10"], ["--dropout 0.1,0.2", "--size 10"]),
    (["--preset", "rsc15", "--optimizer", "adam", "--momentum", "0.2"],
     ["--momentum 0.2", "--optimizer adam"]),
    (["--preset", "fast", "--loss", "bpr", "--logq", "0.5"], ["--logq 0.5", "--loss bpr"])])
def test_contradictions_name_both_flags(flags, named):
    with pytest.raises(ConfigError) as caught:
        parse(*flags)
    for text in named:
        assert text in str(caught.value)


def test_what_depends_on_other_flags_is_filled_in():
    model = parse("--size", "30,20", "--embedding", "shared").model
    assert (model.embed_size, model.dropout) == (20, (0.5, 0.5))
    assert parse("--size", "30,20", "--embedding", "none").model.embed_size == 90
    assert parse("--size", "30,20").model.embed_size == 30
    assert parse("--embed_size", "7").model.embed_size == 7
    assert parse("--loss", "bpr-max").model.final_act == "elu"

"""Flags: defaults, ranges, pairs that contradict each other, JSON there and back."""

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gru4rec import config
from gru4rec.command.flags import fields_of
from gru4rec.errors import ConfigError

MANY = settings(max_examples=300, deadline=None)

# As the issue and the original state them; None is "resolved later".
DEFAULTS = {
    "model": dict(layer=1, size=(100,), hidden_act="tanh", final_act="softmax",
                  loss="cross-entropy", dropout=(0.5,),
                  cell="gru", embedding="separate", embed_size=100, elu=1.0, embed_dropout=0.0),
    "training": dict(epoch=3, lr=0.001, decay=0.96, decay_steps=1000, batch_size=50, grad_cap=0.0,
                     session_order="id",
                     optimizer="adam", momentum=0.0, n_sample=0, sample_alpha=0.5, logq=0.0,
                     mask_hits=0, bpreg=1.0,
                     label_smoothing=0.0, grad_cap_mode="tensor"),
    "data": dict(train_path=None, test_path=None, session_key="SessionId", item_key="ItemId",
                 time_key="Time"),
    "validation": dict(valid_path=None, valid_fraction=None, valid_days=None, valid_metric="recall",
                       patience=0, refit=0),
    "evaluation": dict(test=None, cut_off=(20,), tie="conservative", unknown="drop",
                       metrics=("recall", "mrr"),
                       eval_target="all", split=("none",), ranks_out=None, compare_rules=1),
    "run": dict(train=1, checkpoint_dir="checkpoint", device="auto", log_every=1000,
                steps_per_run=None, xla="auto"),
}
FINAL_ACTS = ("softmax", "tanh", "relu", "linear")
MEANINGFUL = {("cross-entropy", "softmax"), ("cross-entropy", "tanh")} | {
    (loss, act) for loss in ("bpr", "top1") for act in ("linear", "relu", "tanh")}


def parse(*flags):
    return config.parse([str(flag) for flag in flags])


def refused(*flags):
    with pytest.raises(ConfigError) as caught:
        parse(*flags)
    message = str(caught.value)
    assert message and "\n" not in message
    return message


@pytest.mark.parametrize("group, name, default",
                         [(g, n, v) for g, d in DEFAULTS.items() for n, v in d.items()])
def test_defaults(group, name, default):
    value = getattr(getattr(parse(), group), name)
    assert value == default and type(value) is type(default)


def test_no_flag_is_explicit_unless_given():
    assert parse().explicit == ()
    assert parse("--lr", 0.1, "--size", 30).explicit == ("lr", "size")


def test_help_names_every_flag_with_its_default():
    text = " ".join(config.COMMAND.parser().format_help().split())
    for names in DEFAULTS.values():
        for name in names:
            assert "--%s " % name in text
    assert "[probability; default: 0.5]" in text and "[the newest" not in text
    assert "or the newest if there was none]" in text
    for _, _, item in fields_of(config.GROUPS):
        assert item.metadata["help"]


@pytest.mark.parametrize("flag, good, bad", [
    ("layer", ["1", "3"], ["0", "-1", "1.5", "two", "", "1000000000000"]),
    ("size", ["1", "100", "100,50,25"], ["0", "-5", "100,0", "100,", ",", "", "a", "1.5"]),
    ("hidden_act", ["tanh", "relu"], ["sigmoid", "", "TANH"]),
    ("final_act", ["softmax", "tanh"], ["sigmoid", "", "elu", "linear"]),
    ("loss", ["cross-entropy", "bpr", "top1"], ["hinge", "", "crossentropy"]),
    ("dropout", ["0", "0.99"], ["1", "-0.1", "nan", "inf", "half", "0.1,1", "0.1,", "0.1,0.2"]),
    ("embed_dropout", ["0", "0.99"], ["1", "-0.1", "nan", "0.1,0.2"]),
    ("cell", ["gru", "official"], ["lstm", ""]),
    ("embedding", ["separate", "shared", "none"], ["one-hot"]),
    ("embed_size", ["1", "64"], ["0", "-1", "1.5", "10000000000"]),
    ("optimizer", ["adam", "adagrad", "rmsprop", "sgd"], ["adadelta", "Adam"]),
    ("n_sample", ["0", "2048"], ["-1", "0.5", "10000000000"]),
    ("mask_hits", ["0", "1"], ["2", "yes"]),
    ("label_smoothing", ["0", "0.99"], ["1", "-0.1", "nan"]),
    ("logq", ["0", "1", "0.5"], ["-1", "nan", "inf"]),
    ("epoch", ["1"], ["0", "-3", "1e3"]),
    ("lr", ["1e-9", "1", "1e3"], ["0", "-1", "nan", "inf", "-inf"]),
    ("decay", ["0.1", "1"], ["0", "1.1", "nan", "-1"]),
    ("decay_steps", ["1"], ["0", "-1", "0.5"]),
    ("batch_size", ["2", "4096"], ["1", "0", "-50", "5.0"]),
    ("eval_batch_size", ["1"], ["0"]),
    ("grad_cap", ["0", "3.5"], ["-1", "nan", "inf"]),
    ("session_order", ["id", "time"], ["random"]),
    ("seed", ["0", "2147483647"], ["-1", "2147483648"]),
    ("test", ["0", "12"], ["-1", "last"]),
    ("valid_fraction", ["0.1", "0.999"], ["0", "1", "-0.1", "nan", "10%", ""]),
    ("valid_days", ["1", "0.5"], ["0", "-1", "nan", "inf"]),
    ("valid_path", ["v.tsv"], [""]),
    ("patience", ["0"], ["-1", "0.5"]),
    ("refit", ["0"], ["2", "yes"]),
    ("cut_off", ["20", "5,10,20"], ["0", "5,0", "", "20;5"]),
    ("tie", ["conservative", "median", "standard"], ["strict"]),
    ("unknown", ["drop", "miss"], ["keep"]),
    ("metrics", ["recall", "mrr,ndcg,coverage,popularity"],
     ["auc", "recall,auc", "", "recall,", "mrr,mrr"]),
    ("eval_target", ["all", "last"], ["first"]),
    ("split", ["none", "repeat", "repeat,position"], ["time", ""]),
    ("ranks_out", ["a.parquet", "b/c.CSV"], ["a.txt", "", "parquet"]),
    ("compare_rules", ["0", "1"], ["2", "yes"]),
    ("train", ["0", "1"], ["2", "-1", "True", "yes"]),
    ("device", ["auto", "npu", "gpu", "cpu"], ["tpu"]),
    ("steps_per_run", ["1", "1000"], ["0", "-1"]),
    ("xla", ["auto", "on", "off"], ["1"]),
    ("engine", ["auto", "loop", "plain"], ["fast"]),
    ("log_every", ["1"], ["0"])])
def test_ranges(flag, good, bad):
    for text in good:
        parse("--" + flag, text)
    for text in bad:
        message = refused("--%s=%s" % (flag, text))
        assert "--" + flag in message and text in message


def test_unknown_flags_and_abbreviations_are_refused():
    assert "--sizes" in refused("--sizes", 100)
    assert "--drop" in refused("--drop", 0.2)  # not an abbreviation of --dropout
    assert "--lr" in refused("--lr")


@pytest.mark.parametrize("loss", ["cross-entropy", "bpr", "top1"])
@pytest.mark.parametrize("final_act", FINAL_ACTS)
def test_pairs_of_loss_and_final_act(loss, final_act):
    flags = ["--loss", loss, "--final_act", final_act]
    if (loss, final_act) in MEANINGFUL:
        model = parse(*flags).model
        assert (model.loss, model.final_act) == (loss, final_act)
        return
    message = refused(*flags)
    assert "--loss %s" % loss in message and "--final_act %s" % final_act in message
    for act in FINAL_ACTS:  # and what would do
        assert ((loss, act) in MEANINGFUL) == (act in message.split("use one of:")[1])


@pytest.mark.parametrize("loss, final_act",
                         [("cross-entropy", "softmax"), ("bpr", "tanh"), ("top1", "tanh")])
def test_final_act_follows_the_loss(loss, final_act):
    assert parse("--loss", loss).model.final_act == final_act


@pytest.mark.parametrize("flags, size", [
    ([], (100,)), (["--size", "30"], (30,)), (["--size", "100,50"], (100, 50)),
    (["--layer", 2], (100, 100)),
    (["--layer", 3, "--size", 7], (7, 7, 7)), (["--layer", 2, "--size", "100,50"], (100, 50)),
    (["--layer", 1, "--size", 8], (8,))])
def test_size_and_layer(flags, size):
    model = parse(*flags).model
    assert (model.size, model.layer) == (size, len(size))


@pytest.mark.parametrize("layer", [1, 3])
def test_layer_that_contradicts_a_list_of_sizes(layer):
    message = refused("--layer", layer, "--size", "100,50")
    assert "--layer %d" % layer in message and "--size 100,50" in message


# --- validation -----------------------------------------------------------------------------------

SOURCES = [("--valid_path", "v.tsv"), ("--valid_fraction", 0.1), ("--valid_days", 2.0)]


@pytest.mark.parametrize("one, other", [(0, 1), (0, 2), (1, 2)])
def test_two_sources_of_validation_contradict_each_other(one, other):
    message = refused(*(SOURCES[other] + SOURCES[one]))
    for flag, value in (SOURCES[one], SOURCES[other]):
        assert "%s %s" % (flag, value) in message


@pytest.mark.parametrize("flag, value",
                         [("--patience", 3), ("--refit", 1), ("--valid_metric", "mrr")])
def test_what_needs_a_validation_is_refused_without_one(flag, value):
    message = refused(flag, value)
    assert "%s %s" % (flag, value) in message and all(source in message for source, _ in SOURCES)
    for source in SOURCES:
        assert parse(flag, value, *source).validation.is_on
    # an evaluation is given the flags of the training
    assert not parse("--train", 0, flag, value).validation.is_on


# --- JSON -----------------------------------------------------------------------------------------

SOME = [(), ("--layer", 2),
        ("--size", "9,8", "--loss", "bpr", "--final_act", "relu", "--lr", "0.3"),
        ("--cut_off", "1,2", "--test", 3, "--train", 0, "--steps_per_run", 7, "--train_path",
         "a b.tsv")]


@pytest.mark.parametrize("flags", SOME)
def test_from_dict_is_the_inverse_of_to_dict(flags):
    made = parse(*flags)
    for saved in (made.to_dict(), json.loads(json.dumps(made.to_dict()))):
        assert config.from_dict(saved) == dataclasses.replace(made, explicit=())


@pytest.mark.parametrize("group, name, value", [
    ("model", "layer", 1.5), ("model", "layer", None), ("model", "layer", [1]),
    ("model", "layer", {}),
    ("model", "layer", True), ("model", "layer", 10 ** 12), ("model", "layer", 1e400),
    ("model", "size", []), ("model", "size", [None]), ("model", "size", [[1]]),
    ("model", "size", {}),
    ("model", "size", [1.5]), ("model", "size", None), ("model", "loss", None),
    ("model", "loss", ["bpr"]),
    ("model", "loss", 3), ("model", "final_act", "relu"), ("model", "dropout", "x"),
    ("model", "cell", 1), ("training", "momentum", "x"), ("model", "embed_size", 7.5),
    ("model", "dropout", []),
    ("training", "lr", float("nan")), ("training", "lr", None), ("training", "lr", True),
    ("training", "seed", "zero"),
    ("training", "lr", 10 ** 400), ("evaluation", "cut_off", []), ("data", "item_key", 5),
    ("data", "item_key", None),
    ("data", "train_path", ["x"])])
def test_damaged_json_names_the_field(group, name, value):
    saved = parse().to_dict()
    saved[group][name] = value
    with pytest.raises(ConfigError) as caught:
        config.from_dict(saved)
    assert name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("group, cls", config.GROUPS)
def test_a_missing_field_or_group_is_named(group, cls):
    for item in dataclasses.fields(cls):
        saved = parse().to_dict()
        del saved[group][item.name]
        if item.name in config.LATER_FLAGS:
            assert config.from_dict(saved).to_dict() == parse().to_dict()
            continue
        with pytest.raises(ConfigError, match="%s.%s" % (group, item.name)):
            config.from_dict(saved)
    if group not in config.LATER:
        del saved[group]
        with pytest.raises(ConfigError, match=group):
            config.from_dict(saved)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(-3, 3) | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["bpr", "tanh", "1", "100,50", "loop"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=5)
PLACES = [(group, item.name) for group, _, item in fields_of(config.GROUPS)]


def accepts_or_names(saved):
    """from_dict gives a Config that survives a round trip, or ConfigError; anything else fails the
    test.
    """
    try:
        made = config.from_dict(saved)
    except ConfigError as error:
        assert "\n" not in str(error)
        return
    assert config.from_dict(made.to_dict()) == made
    assert made.model.layer == len(made.model.size) >= 1
    assert (made.model.loss, made.model.final_act) in MEANINGFUL


@given(json_values)
@MANY
@pytest.mark.once
def test_junk_json_is_a_config_error(junk):
    accepts_or_names(junk)


@given(st.dictionaries(st.sampled_from(PLACES), json_values, min_size=1, max_size=3))
@MANY
@pytest.mark.once
def test_junk_in_any_field_is_a_config_error(changes):
    saved = parse().to_dict()
    for (group, name), value in changes.items():
        saved[group][name] = value
    accepts_or_names(saved)


@given(st.dictionaries(st.sampled_from([name for _, name in PLACES]), st.text(max_size=6),
                       max_size=3))
@MANY
def test_junk_flags_are_a_config_error(flags):
    try:
        config.from_flags(flags)
    except ConfigError:
        pass


# --- a command against a saved model --------------------------------------------------------------

def conflicts(asked,
              saved=("--size", "100,50", "--loss", "bpr", "--final_act", "relu", "--hidden_act",
                     "relu")):
    saved = config.from_dict(parse(*saved).to_dict())
    return config.contradictions(parse("--train", 0, *asked), saved)


def test_flags_that_were_not_given_contradict_nothing():
    assert conflicts([]) == []


@pytest.mark.parametrize("asked", [
    ["--size", "100,50"], ["--layer", 2], ["--layer", 2, "--size", "100,50"], ["--loss", "bpr"],
    ["--final_act", "relu"], ["--hidden_act", "relu"], ["--lr", 5], ["--batch_size", 7],
    ["--dropout", 0.1],
    ["--loss", "bpr", "--final_act", "relu"]])
def test_flags_that_agree(asked):
    assert conflicts(asked) == []


@pytest.mark.parametrize("asked, expected", [
    (["--size", "50"], [("size", "50", "100,50")]),
    (["--size", "100"], [("size", "100", "100,50")]),
    (["--layer", 3], [("layer", "3", "2")]),
    (["--loss", "top1"], [("loss", "top1", "bpr")]),
    (["--final_act", "tanh"], [("final_act", "tanh", "relu")]),
    (["--hidden_act", "tanh"], [("hidden_act", "tanh", "relu")])])
def test_explicit_flags_that_contradict(asked, expected):
    assert conflicts(asked) == expected


def test_one_size_agrees_with_a_model_that_repeats_it():
    assert conflicts(["--size", 30], saved=["--size", 30, "--layer", 3]) == []
    assert conflicts(["--size", 30, "--layer", 2], saved=["--size", 30, "--layer", 3]) != []


def test_a_pair_that_makes_no_sense_is_refused_at_evaluation_too():
    message = refused("--train", 0, "--loss", "bpr", "--final_act", "softmax")
    assert "--loss" in message and "--final_act" in message

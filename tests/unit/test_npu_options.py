"""Session options of the NPU and the flags that set them: types, values, contradictions, files. No
TensorFlow.
"""

import json
import os

import pytest

from gru4rec import config, main
from gru4rec.config import accelerator, npu_options
from gru4rec.errors import ConfigError

GOOD_TEXT = {  # what the form of a key's text asks for
    "dump_step": ["0", "0|5|10-20"], "graph_memory_max_size": ["1024"],
    "variable_memory_max_size": ["1024"],
    "profiling_options": ['{"output":"/tmp"}']}
BAD_TEXT = {
    "dump_step": ["", "a", "1,2", "1-", "|1", "|".join("1" for _ in range(101))],
    "graph_memory_max_size": ["26GB", "-1"], "variable_memory_max_size": ["1.5"],
    "profiling_options": ["training_trace"]}
PARTNERS = {  # what a key needs beside it
    "modify_mixlist": {"precision_mode": "allow_mix_precision"}, "enable_dump": {"dump_path": "/d"},
    "enable_dump_debug": {"dump_path": "/d"}, "variable_placement": {"mix_compile_mode": True},
    "aoe_mode": {"work_path": "/w"}, "input_shape": {"dynamic_dims": "1;2", "dynamic_node_type": 0},
    "dynamic_dims": {"input_shape": "x:-1", "dynamic_node_type": 0},
    "dynamic_node_type": {"input_shape": "x:-1", "dynamic_dims": "1"}}


def refused(call, args, *words):
    """The call's one-line error, which holds all words."""
    with pytest.raises(ConfigError) as caught:
        call(*args)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    return message


def good_values(key):
    option = npu_options.TABLE[key]
    if option.values is not None:
        return list(option.values)
    if option.field == "b":
        return [True, False]
    if option.field == "i":
        return [option.low, option.low + 7]
    return GOOD_TEXT.get(key, ["anything"])


@pytest.mark.parametrize("key", sorted(npu_options.TABLE))
def test_every_key_takes_its_values_and_refuses_others(key):
    option = npu_options.TABLE[key]
    job = "infer" if key in ("input_shape", "dynamic_dims", "dynamic_node_type") else "train"
    for value in good_values(key):
        if key in ("use_off_line", "graph_run_mode") and value != npu_options.defaults(job)[key]:
            refused(npu_options.check, [{key: value}, job], key, "contradicts")
            continue
        given = dict(PARTNERS.get(key, {}), **{key: value})
        assert npu_options.resolve(given, job)[key] == value
    wrong_type = {"b": [1, "True", None], "i": [True, "1", 1.0],
                  "s": [True, 1, b"text"]}[option.field]
    wrong_value = BAD_TEXT.get(key, [])
    if option.values is not None:
        wrong_value = wrong_value + [{"i": 99, "s": "no such value"}[option.field]]
    if option.low is not None:
        wrong_value = wrong_value + [option.low - 1, 2 ** 40]
    if option.field == "s":
        wrong_value = wrong_value + [""]
    for value in wrong_type + wrong_value:
        refused(npu_options.check, [dict(PARTNERS.get(key, {}), **{key: value}), job], key)


@pytest.mark.parametrize("key", sorted(npu_options.TABLE))
def test_every_key_is_parsed_by_its_type_and_no_other(key):
    field = npu_options.TABLE[key].field
    text, value = {"b": ("true", True), "i": ("3", 3), "s": ("some,text=x", "some,text=x")}[field]
    assert npu_options.parse("%s=%s" % (key, text)) == (key, value)
    assert npu_options.parse("%s:%s=%s" % (key, field, text)) == (key, value)
    for other in set("bis") - {field}:
        refused(npu_options.parse, ["%s:%s=1" % (key, other)], key, "reads %s" % field)
    if field != "s":
        refused(npu_options.parse, ["%s=maybe" % key], key, "'maybe'")


@pytest.mark.parametrize("text, words", [
    ("hccl_timeot=3", ["did you mean hccl_timeout"]), ("new_key=3", ["new_key:i="]),
    ("novalue", ["key=value"]),
    ("=3", ["key=value"]), ("a b=3", ["key=value"]), ("new_key:x=3", ["b, i, s"]),
    ("new_key:i=3.5", ["whole number"])])
def test_a_key_outside_the_table_needs_its_type(text, words):
    refused(npu_options.parse, [text], *words)


def test_a_key_with_its_type_is_written_to_that_field():
    given = dict(npu_options.parse(text) for text in ("new_i:i=3", "new_b:b=false", "new_s:s=a=b"))
    assert given == {"new_i:i": 3, "new_b:b": False, "new_s:s": "a=b"}
    npu_options.check(given, "train")
    refused(npu_options.check, [{"new_i:i": "3"}, "train"], "new_i:i")
    refused(npu_options.check, [{"precision_mode:s": "x"}, "train"], "is unknown")


CONTRADICTIONS = [
    (dict(precision_mode="force_fp16", precision_mode_v2="fp16"), "precision_mode force_fp16",
     "precision_mode_v2 fp16"),
    (dict(enable_dump=True, enable_dump_debug=True, dump_path="/d"), "enable_dump",
     "enable_dump_debug"),
    (dict(enable_dump=True), "enable_dump", "no dump_path"),
    (dict(enable_dump_debug=True), "enable_dump_debug", "no dump_path"),
    (dict(mix_compile_mode=True, iterations_per_loop=2), "iterations_per_loop 2",
     "mix_compile_mode"),
    (dict(enable_data_pre_proc=False, iterations_per_loop=2), "iterations_per_loop 2",
     "enable_data_pre_proc False"),
    (dict(modify_mixlist="/x.json"), "modify_mixlist", "not mixed"),
    (dict(modify_mixlist="/x.json", precision_mode_v2="origin"), "modify_mixlist", "not mixed"),
    (dict(variable_placement="Host"), "variable_placement Host", "mix_compile_mode"),
    (dict(input_shape="x:1"), "input_shape", "dynamic_dims"),
    (dict(input_shape="x:-1", dynamic_dims="1", dynamic_node_type=0), "input_shape",
     "graph_run_mode 1"),
    (dict(aoe_mode="2"), "aoe_mode 2", "work_path"),
]


@pytest.mark.parametrize("given, one, other", CONTRADICTIONS)
def test_contradictions_name_both(given, one, other):
    refused(npu_options.resolve, [given, "train"], one, other)


def test_the_other_name_of_precision_replaces_the_default():
    assert npu_options.resolve({}, "train")["precision_mode"] == "must_keep_origin_dtype"
    resolved = npu_options.resolve({"precision_mode_v2": "origin"}, "infer")
    assert "precision_mode" not in resolved and resolved["graph_run_mode"] == 0


def test_the_loop_on_the_device_comes_with_what_it_needs():
    assert "iterations_per_loop" not in npu_options.resolve({}, "train", 1)
    resolved = npu_options.resolve({}, "train", 50)
    assert resolved["iterations_per_loop"] == 50 and resolved["enable_data_pre_proc"] is True
    refused(npu_options.resolve, [{"mix_compile_mode": True}, "train", 50], "mix_compile_mode")


# --- flags


def parsed(*argv):
    return config.parse(list(argv))


def asked(*argv):
    found = parsed(*argv)
    return config.npu_session_options(found.run, found.accelerator)


def test_nothing_is_asked_for_by_default():
    assert asked() == {}


def test_flags_become_options(tmp_path):
    here, absolute = os.curdir, os.path.abspath(os.curdir)
    assert asked("--precision_mode", "allow_mix_precision", "--modify_mixlist", "ops.json",
                 "--op_cache", "force",
                 "--deterministic", "1") == {
        "precision_mode": "allow_mix_precision", "modify_mixlist": os.path.abspath("ops.json"),
        "op_compiler_cache_mode": "force", "deterministic": 1}
    assert asked("--over_dump", "True", "--over_dump_path", here) == {
        "enable_dump_debug": True, "dump_debug_mode": "all", "dump_path": absolute}
    assert asked("--data_dump_flag=True", "--data_dump_path", here, "--data_dump_step", "10") == {
        "enable_dump": True, "dump_mode": "all", "dump_path": absolute, "dump_step": "10"}
    profiling = asked("--profiling", "1", "--profiling_dump_path", here)
    assert profiling["profiling_mode"] is True
    assert json.loads(profiling["profiling_options"])["output"] == absolute


def test_npu_opt_may_be_given_again_and_is_saved():
    found = parsed("--npu_opt", "hccl_timeout=600", "--npu_opt", "local_list:s=0,1")
    assert found.accelerator.npu_opt == ("hccl_timeout=600", "local_list:s=0,1")
    assert config.npu_session_options(found.run,
                                      found.accelerator) == {"hccl_timeout": 600,
                                                             "local_list:s": "0,1"}
    again = config.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.accelerator == found.accelerator


@pytest.mark.parametrize("argv, words", [
    (["--precision_mode", "fp16"], ["--precision_mode", "force_fp16"]),
    (["--precision_mode", "force_fp16", "--precision_mode_v2", "fp16"], ["precision_mode_v2 fp16"]),
    (["--precision_mode", "force_fp16", "--npu_opt", "precision_mode=force_fp32"],
     ["'force_fp16' already"]),
    (["--npu_opt", "hccl_timeout=1", "--npu_opt", "hccl_timeout=2"], ["hccl_timeout", "already"]),
    (["--npu_opt", "iterations_per_loop=5"], ["--steps_per_run"]),
    (["--npu_opt", "graph_run_mode=0"], ["the job"]),
    (["--npu_opt", "mix_compile_mode=1", "--device", "npu", "--steps_per_run", "5"],
     ["iterations_per_loop 5"]),
    (["--over_dump", "yes"], ["--over_dump 'yes' is not True or False"]),
    (["--over_dump", "True"], ["--over_dump_path"]),
    (["--over_dump_path", "x"], ["without --over_dump True"]),
    (["--data_dump_flag", "True"], ["--data_dump_path"]),
    (["--data_dump_step", "1"], ["without --data_dump_flag True"]),
    (["--over_dump", "1", "--over_dump_path", "x", "--data_dump_flag", "1", "--data_dump_path",
      "x"], ["--data_dump_flag"]),
    (["--profiling", "True"], ["--profiling_dump_path"]),
    (["--modify_mixlist", "x.json"], ["not mixed"]),
    (["--deterministic", "2"], ["--deterministic"]),
    (["--npu_nums", "0"], ["--npu_nums"]),
    (["--loss_scale", "0"], ["--loss_scale '0' is not off, dynamic or a number"]),
    (["--loss_scale", "nan"], ["--loss_scale"]), (["--loss_scale", "inf"], ["--loss_scale"]),
    (["--loss_scale", ""], ["--loss_scale"])])
def test_wrong_flags_are_one_line(argv, words):
    refused(parsed, argv, *words)


@pytest.mark.parametrize("text, value",
                         [("off", "off"), ("dynamic", "dynamic"), ("1024", 1024.0), ("0.5", 0.5)])
def test_loss_scale_is_off_dynamic_or_a_number(text, value):
    assert parsed("--loss_scale", text).accelerator.loss_scale == value


def test_checkpoints_without_these_options_are_read():
    saved = parsed().to_dict()
    del saved["accelerator"]
    assert config.from_dict(saved).accelerator == accelerator.AcceleratorConfig()


def mixlist(path, content):
    path.write_text(content)
    return parsed("--precision_mode", "allow_mix_precision", "--modify_mixlist",
                  str(path)).accelerator


def test_the_list_of_operators_has_its_form(tmp_path):
    path = tmp_path / "ops.json"
    accelerator.check_files(mixlist(path,
                                    '{"black-list": {"to-add": ["Log", "Add"]}, "white-list": '
                                    '{"to-remove": ["Mul"]}}'))
    for content, words in [("{", ["JSON"]), ("[]", ["object"]), ("{}", ["object"]),
                           ('{"blacklist": {"to-add": ["Log"]}}', ["'blacklist'"]),
                           ('{"black-list": ["Log"]}', ["to-add"]),
                           ('{"black-list": {"add": ["Log"]}}', ["to-add"]),
                           ('{"black-list": {"to-add": "Log"}}', ["lists"]),
                           ('{"black-list": {"to-add": [1]}}', ["lists"])]:
        refused(accelerator.check_files, [mixlist(path, content)], "--modify_mixlist", *words)
    os.remove(str(path))
    absent = parsed("--precision_mode", "allow_mix_precision", "--modify_mixlist",
                    str(path)).accelerator
    refused(accelerator.check_files, [absent], "No such file")


@pytest.mark.parametrize("switch, path_flag",
                         [("over_dump", "over_dump_path"), ("data_dump_flag", "data_dump_path"),
                                               ("profiling", "profiling_dump_path")])
def test_a_directory_to_write_to_exists(switch, path_flag, tmp_path):
    def check(path):
        accelerator.check_files(parsed("--" + switch, "True", "--" + path_flag,
                                       str(path)).accelerator)

    check(tmp_path)
    refused(check, [tmp_path / "absent"], "--" + path_flag, "mkdir -p")


@pytest.mark.user
@pytest.mark.machine
@pytest.mark.parametrize("switch, path_flag",
                         [("over_dump", "over_dump_path"), ("data_dump_flag", "data_dump_path"),
                                               ("profiling", "profiling_dump_path")])
def test_a_directory_to_write_to_can_be_written(switch, path_flag, tmp_path):
    def check(path):
        accelerator.check_files(parsed("--" + switch, "True", "--" + path_flag,
                                       str(path)).accelerator)

    read_only = tmp_path / "read_only"
    read_only.mkdir(mode=0o500)
    refused(check, [read_only], "cannot be written")


def test_a_dump_path_of_the_generic_flag_is_checked_too(tmp_path):
    found = parsed("--npu_opt", "enable_dump=1", "--npu_opt",
                   "dump_path=%s" % (tmp_path / "absent"))
    refused(accelerator.check_files, [found.accelerator], "dump_path", "mkdir -p")


def test_the_command_refuses_before_anything_is_read(tmp_path, capsys):
    assert main.main(["--over_dump", "True", "--over_dump_path", str(tmp_path / "absent"),
                      "--checkpoint_dir",
                      str(tmp_path / "out")]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "mkdir -p" in err
    assert os.listdir(str(tmp_path)) == []

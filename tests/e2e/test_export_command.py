"""The commands export and offline: results equal to `--train 0`, what is refused, and the scripts
for an NPU.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import gru4rec
from gru4rec import main
from gru4rec.data import schedule, synthetic
from gru4rec.data.reading.loader import load_events
from gru4rec.data.sessions import index_test
from gru4rec.export import __main__ as export
from gru4rec.export import directory, exported, source
from gru4rec.offline import __main__ as offline
from gru4rec.offline import runtimes
from tests import fake_acl, tolerance
from tests.parity import exports

pytestmark = [pytest.mark.tf, pytest.mark.once]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Directory with next_day.tsv and in runs/a a model of two layers that was trained on another
    file.
    """
    place = tmp_path_factory.mktemp("export")
    before = os.getcwd()
    os.chdir(str(place))
    try:
        for name, seed in (("clicks.tsv", 1), ("next_day.tsv", 2)):
            synthetic.markov_sessions(300, 60,
                                      seed).rename(columns={"ItemId": "Article"}).to_csv(name,
                                                                                         sep="\t",
                                                                                         index=False)
        with open("next_day.tsv", "a") as out:
            out.write("1\t-7\t1\n3\t-7\t99999999999\n")  # an unknown item, first and last
        assert main.main(["--train_path", "clicks.tsv", "--test_path", "next_day.tsv",
                          "--checkpoint_dir", "runs/a",
                          "--item_key", "Article", "--epoch", "1", "--size", "12,8", "--xla",
                          "off"]) == 0
    finally:
        os.chdir(before)
    return place


@pytest.fixture
def here(trained, monkeypatch):
    monkeypatch.chdir(str(trained))
    return trained


@pytest.fixture
def run(here, capfd):
    """function (command, *flags) -> (exit status, stdout, stderr), in the directory of the model.
    """
    def call(command, *flags):
        capfd.readouterr()
        status = command.main([str(flag) for flag in flags])
        return (status,) + tuple(capfd.readouterr())
    return call


@pytest.fixture(scope="module")
def frozen(trained):
    """Name of a directory of frozen graphs, by the real command of the README."""
    done = subprocess.run([sys.executable, "-m", "gru4rec.export", "--checkpoint_dir", "runs/a",
                           "--format", "frozen_pb",
                           "--out", "frozen"], cwd=str(trained), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE,
                          universal_newlines=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "frozen_pb: 60 items, epoch 0, step %d -> frozen\n" % manifest(trained)["source"]["step"] +
        "step: input int32 [50], rnn_state float32 [50, 12], rnn_state_1 float32 [50, 8] -> logits "
        "float32 [50, 60], "
        "new_state float32 [50, 12], new_state_1 float32 [50, 8]\n"
        "prefix: ids int32 [50, 20], lengths int32 [50] -> top_ids int32 [50, 20], top_scores "
        "float32 [50, 20]\n")
    return "frozen"


def manifest(place, name="frozen"):
    with open(str(place / name / "manifest.json")) as file:
        return json.load(file)


def evaluated(run, *flags):
    """Lines of --train 0, without those of the rules."""
    status, out, err = run(main, "--train", 0, "--checkpoint_dir", "runs/a", "--compare_rules", 0,
                           *flags)
    assert status == 0, err
    return out


def replayed(run, *flags):
    status, out, err = run(offline, "--model_dir", "frozen", *flags)
    assert status == 0, err
    return out


def test_commands_of_the_readme(here, frozen):
    done = subprocess.run([sys.executable, "-m", "gru4rec.offline", "--model_dir", "frozen",
                           "--test_path", "next_day.tsv"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"events: \d+ sessions: \d+ [^\n]+\nRecall@20: \d\.\d{4}\tMRR@20: "
                        r"\d\.\d{4}\n", done.stdout)


@pytest.mark.parametrize("graph", ["step", "prefix"])
@pytest.mark.parametrize("flags", [
    ["--cut_off", "5,20"],
    ["--unknown", "miss", "--eval_target", "last", "--metrics", "ndcg,recall"],
    ["--unknown", "miss", "--split", "repeat,position"]])
def test_a_replay_prints_what_the_evaluation_prints(run, frozen, graph, flags):
    tolerance.assert_same_evaluation(replayed(run, "--graph", graph, *flags),
                                     evaluated(run, *flags))


def test_the_step_knows_ties_and_writes_ranks(run, here, frozen):
    tolerance.assert_same_evaluation(replayed(run, "--tie", "median", "--ranks_out", "ours.csv"),
                                   evaluated(run, "--tie", "median", "--ranks_out", "theirs.csv"))
    tolerance.assert_same_ranks(pd.read_csv("ours.csv"), pd.read_csv("theirs.csv"))


def test_long_prefixes_are_cut_and_counted(run, here):
    assert run(export, "--checkpoint_dir", "runs/a", "--format", "frozen_pb", "--out", "short",
               "--max_length", 2,
               "--batch_size", 7, "--k", 6)[0] == 0
    status, out, err = run(offline, "--model_dir", "short", "--graph", "prefix", "--cut_off", 6)
    assert status == 0 and re.search(r"\d+ of \d+ prefixes are longer than the graph takes", err)
    assert out != evaluated(run, "--cut_off", 6) and out.startswith("events: ")
    status, out, err = run(offline, "--model_dir", "short", "--graph", "prefix", "--cut_off", 5.5)
    assert status == 2
    status, out, err = run(offline, "--model_dir", "short", "--graph", "prefix", "--cut_off", 7)
    assert (status, out) == (2, "") and "--cut_off 7" in err and "--k 7" in err
    replay = run(offline, "--model_dir", "short", "--graph", "step", "--cut_off", 6)[1]
    tolerance.assert_same_evaluation(replay, evaluated(run, "--cut_off", 6))


def test_the_manifest_says_what_is_there(trained, frozen):
    found = manifest(trained)
    assert found["format"] == "frozen_pb" and found["num_items"] == 60
    assert found["source"]["checkpoint"] == "gru-model-0"
    assert {"gru4rec", "tensorflow", "numpy", "python"} <= set(found["versions"])
    for name in found["sha256"]:
        assert (trained / "frozen" / name).is_file()
    assert found["graphs"]["step"]["inputs"][2] == dict(name="rnn_state_1", role="state",
                                                        dtype="float32", shape=[50, 8],
                                                        layer=1)


def test_an_earlier_export_is_replaced_only_on_request_and_nothing_else_ever(run, here):
    (here / "precious").mkdir()
    (here / "precious" / "file").write_text("x")
    flags = ["--checkpoint_dir", "runs/a", "--format", "frozen_pb", "--k", 3, "--out"]
    assert run(export, *flags, "again")[0] == 0
    status, out, err = run(export, *flags, "again")
    assert (status, out) == (2, "") and err.startswith("error: --out again exists; ")
    assert "--overwrite 1" in err
    before = (here / "again" / "step" / "step.pb").stat().st_ino
    assert run(export, *flags, "again", "--overwrite", 1)[0] == 0
    assert (here / "again" / "step" / "step.pb").stat().st_ino != before
    status, _, err = run(export, *flags, "precious", "--overwrite", 1)
    assert status == 2 and "holds no export" in err and os.listdir("precious") == ["file"]
    assert not [name for name in os.listdir(".") if name.startswith(".tmp")]


def test_a_full_disk_leaves_the_earlier_export(run, here, frozen, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")
    before = manifest(here)
    monkeypatch.setattr(directory, "write_manifest", full)
    status, out, err = run(export, "--checkpoint_dir", "runs/a", "--format", "frozen_pb", "--out",
                           "frozen", "--overwrite", 1)
    assert (status, out) == (2, "") and err.count("\n") == 1 and "No space left" in err
    assert manifest(here) == before
    assert not [name for name in os.listdir(".") if name.startswith(".tmp")]


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_the_earlier_export(run, here, frozen, monkeypatch, number, status):
    before = manifest(here)
    monkeypatch.setattr(directory, "write_manifest", lambda *_: os.kill(os.getpid(), number))
    flags = ["--checkpoint_dir", "runs/a", "--format", "frozen_pb", "--out", "frozen",
             "--overwrite", 1]
    found, out, err = run(export, *flags)
    assert (found, out) == (status, "") and err.startswith("error: interrupted")
    assert err.count("\n") == 1
    assert manifest(here) == before
    assert not [name for name in os.listdir(".") if name.startswith(".tmp")]


@pytest.mark.parametrize("flags, words", [
    ([], "--format is missing"), (["--format", "frozen_pb"], "--out is missing"),
    (["--format", "pb", "--out", "x"], "--format 'pb' is unknown"),
    (["--format", "frozen_pb", "--out", "x", "--checkpoint_dir", "none"],
     "none holds no checkpoint"),
    (["--format", "frozen_pb", "--out", "none/x"], "make it first"),
    (["--format", "frozen_pb", "--out", "x", "--test", "9"], "no checkpoint of epoch 9"),
    (["--format", "frozen_pb", "--out", "x", "--batch_size", "8,8"], "names a size twice"),
    (["--format", "frozen_pb", "--out", "x", "--soc_version", "a$(b)"], "--soc_version"),
    (["--format", "onnx", "--out", "x", "--max_length", "3"],
     "--max_length belongs to --format frozen_pb"),
    (["--format", "saved_model", "--out", "x", "--batch_size", "3"],
     "--batch_size belongs to --format frozen_pb")])
def test_what_export_refuses_is_one_line_and_nothing_written(run, here, flags, words):
    if "--checkpoint_dir" not in flags:
        flags = flags + ["--checkpoint_dir", "runs/a"]
    status, out, err = run(export, *flags)
    assert (status, out) == (2, "") and err.count("\n") == 1 and words in err, err
    assert not (here / "x").exists()


@pytest.mark.parametrize("flags, words", [
    ([], "--model_dir is missing"), (["--model_dir", "none"], "none holds no export"),
    (["--model_dir", "frozen", "--metrics", "coverage"], "--metrics coverage"),
    (["--model_dir", "frozen", "--graph", "prefix", "--tie", "median"], "--tie median"),
    (["--model_dir", "frozen", "--graph", "prefix", "--ranks_out", "a.csv"], "--ranks_out"),
    (["--model_dir", "frozen", "--graph", "prefix", "--cut_off", "21"], "--cut_off 21"),
    (["--model_dir", "frozen", "--runtime", "acl"], "step.om is not there; make it with sh frozen"),
    (["--model_dir", "frozen", "--test_path", "none.tsv"], "none.tsv")])
def test_what_offline_refuses_is_one_line(run, frozen, flags, words):
    status, out, err = run(offline, *flags)
    assert (status, out) == (2, "") and words in err, err
    assert err.startswith("error: ") and err.count("\n") == 1


@pytest.mark.parametrize("name, content", [
    ("manifest.json", b"{"), ("manifest.json", b"[]"),
    ("manifest.json", b'{"version": 1, "format": "frozen_pb"}'),
    ("step/step.pb", b"no graph"), ("vocabulary.json", b"[1, 2]"), ("vocabulary.json", None)])
def test_a_damaged_export_is_one_line(run, here, frozen, name, content):
    shutil.rmtree("broken", ignore_errors=True)
    shutil.copytree("frozen", "broken")
    if content is None:
        os.remove(os.path.join("broken", name))
    else:
        (here / "broken" / name).write_bytes(content)
    status, out, err = run(offline, "--model_dir", "broken")
    assert (status, out) == (2, "") and err.count("\n") == 1 and "is damaged" in err, err
    assert name.split("/")[-1] in err, err


# What a program without this package does; prints the outputs of the prefix and the vocabulary.
CLEAN = {
    "saved_model": """
import tensorflow.compat.v1 as tf
from tensorflow.compat.v1 import saved_model
with tf.Session(graph=tf.Graph()) as session:
    loaded = saved_model.load(session, ["serve"], "served/1")
    for name in ("prefix", "serving_default"):
        signature = loaded.signature_def[name]
        out = session.run({key: info.name for key, info in signature.outputs.items()},
                          {signature.inputs[key].name: value for key, value in asked.items()})
    vocabulary = json.load(open("served/1/assets/vocabulary.json"))
""",
    "saved_model-2": """
import tensorflow as tf
loaded = tf.saved_model.load("served/1", tags=["serve"])
feed = {key: tf.constant(value, tf.int32) for key, value in asked.items()}
out = loaded.signatures["prefix"](**feed)
out = {key: value.numpy() for key, value in out.items()}
asset, = loaded.asset_paths
vocabulary = json.load(open(asset.asset_path.numpy().decode()))
""",
    "onnx": """
import onnxruntime
session = onnxruntime.InferenceSession("model/prefix.onnx", providers=["CPUExecutionProvider"])
names = [t.name for t in session.get_outputs()]
feed = {key: np.array(value, np.int32) for key, value in asked.items()}
out = dict(zip(names, session.run(names, feed)))
vocabulary = json.load(open("model/vocabulary.json"))
"""}
CLEAN_FRAME = """
import json, sys
import numpy as np
sys.modules["gru4rec"] = None
asked = json.load(sys.stdin)
%s
out = {key: np.asarray(value).tolist() for key, value in out.items()}
print(json.dumps({"vocabulary": vocabulary, "out": out}))
"""
OUT = {"saved_model": "served", "onnx": "model"}  # as in the README


def needs_onnx(kind):
    if kind == "onnx":
        pytest.importorskip("onnx", reason="onnx is not installed (extra onnx)")
        pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed (extra onnx)")


@pytest.fixture(params=sorted(OUT))
def served(request, run, here):
    """Format of an export of the model, which lies in OUT[format]."""
    needs_onnx(request.param)
    if not os.path.exists(OUT[request.param]):
        status, out, err = run(export, "--checkpoint_dir", "runs/a", "--format", request.param,
                               "--out", OUT[request.param])
        assert status == 0 and "prefix: ids int32 [any, any], lengths int32 [any] -> " in out, err
    return request.param


@pytest.mark.parametrize("graph", ["step", "prefix"])
def test_the_other_formats_replay_as_the_evaluation(run, served, graph):
    for flags in (["--unknown", "miss", "--cut_off", "5,20"], ["--eval_target", "last"]):
        status, out, err = run(offline, "--model_dir", OUT[served], "--graph", graph, *flags)
        assert status == 0, err
        tolerance.assert_same_evaluation(out, evaluated(run, *flags))


@pytest.mark.parametrize("kind", ["frozen_pb"] + sorted(OUT))
def test_scores_of_the_whole_test_file_are_those_of_the_reference(run, here, kind):
    needs_onnx(kind)
    assert run(export, "--checkpoint_dir", "runs/a", "--format", kind, "--out", "whole",
               "--overwrite", 1)[0] == 0
    found, trained_model = exported.read("whole"), source.read("runs/a")
    reference, runner = exports.Reference(trained_model), runtimes.open_graph(found,
                                                                              found.graphs["step"])
    sessions = index_test(load_events("next_day.tsv", "SessionId", "Article", "Time"),
                          found.vocabulary, "miss")[0]
    epoch, _ = schedule.build_longest_first(sessions.items, sessions.offsets, 50,
                                            sessions.leading_skip)
    ids, *names = [t.name for t in runner.signature.inputs]
    ours = [np.zeros((50, hidden), np.float32) for hidden in (12, 8)]
    theirs = [state.astype(np.float64) for state in ours]
    for x, reset in zip(epoch.x, epoch.reset[:, :, None]):
        values = runner.run(dict(zip(names, [np.where(reset, np.float32(0), state)
                                             for state in ours]), **{ids: x}))
        ours = [values["new_state"], values["new_state_1"]]
        theirs = reference.step(x, [np.where(reset, 0.0, state) for state in theirs])
        scores = reference.scores(theirs)
        np.testing.assert_allclose(values["scores" if "scores" in values else "logits"],
                                   scores if "scores" in values else exports.softmax(scores),
                                   rtol=1e-5, atol=1e-5)
    runner.close()
    assert epoch.num_steps > 20


@pytest.mark.parametrize("loader", sorted(CLEAN))
def test_a_program_without_this_package_gets_the_same(run, here, loader):
    kind = loader.split("-")[0]
    needs_onnx(kind)
    from gru4rec.tf_compat import IS_TF2
    if kind == "saved_model" and (loader == "saved_model-2") is not IS_TF2:
        pytest.skip("the loader of the other TensorFlow")
    assert run(export, "--checkpoint_dir", "runs/a", "--format", kind, "--out", OUT[kind],
               "--overwrite", 1)[0] == 0
    ids, lengths = exports.prefix_inputs(9, 11, num_items=60)
    done = subprocess.run([sys.executable, "-c", CLEAN_FRAME % CLEAN[loader]],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          input=json.dumps({"ids": ids.tolist(), "lengths": lengths.tolist()}),
                          universal_newlines=True,
                          env={key: value for key,
                               value in os.environ.items() if key != "PYTHONPATH"})
    assert done.returncode == 0, done.stderr
    found, trained_model = json.loads(done.stdout), source.read("runs/a")
    assert found["vocabulary"] == trained_model.vocabulary.ids.tolist()
    lists = [np.array(found["out"][name], dtype) for name,
             dtype in (("top_ids", np.int32), ("top_scores", np.float32))]
    exports.assert_best(*lists, expected=exports.Reference(trained_model).prefix(ids, lengths),
                        k=20)


def test_step_top_is_the_step_without_the_scores_of_all_items(run, here):
    assert run(export, "--checkpoint_dir", "runs/a", "--format", "saved_model", "--out", "top",
               "--k", 4)[0] == 0
    found = exported.read("top")
    ids, states = exports.step_inputs(found.config.model)
    values = {}
    for name in ("step", "step_top"):
        runner = runtimes.open_graph(found, found.graphs[name])
        values[name] = runner.run(dict(zip([t.name for t in runner.signature.inputs],
                                           [ids] + states)))
        runner.close()
    assert values["step"].pop("scores").shape == (len(ids), 60)
    for name, value in values["step"].items():
        # one step, in another graph
        tolerance.assert_ulps(values["step_top"].pop(name), value, 8, name)
    assert not values["step_top"]


@pytest.mark.parametrize("module, command, flags", [
    ("onnx", export, ["--checkpoint_dir", "runs/a", "--format", "onnx", "--out", "x"]),
    ("onnxruntime", offline, ["--model_dir", "model"])])
def test_without_onnx_one_line_says_what_to_install(run, here, monkeypatch, module, command, flags):
    if command is offline:
        needs_onnx("onnx")
        if not os.path.exists("model"):
            assert run(export, "--checkpoint_dir", "runs/a", "--format", "onnx", "--out",
                       "model")[0] == 0
    monkeypatch.setitem(sys.modules, module, None)
    status, out, err = run(command, *flags)
    assert (status, out) == (2, "") and "pip install %s" % module in err
    assert not (here / "x").exists()


SHELLS = [name for name in ("dash", "bash", "sh") if shutil.which(name)]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("graph", ["step", "prefix"])
def test_atc_gets_the_whole_command(here, frozen, tmp_path, shell, graph):
    fake_acl.install_atc(str(tmp_path))
    environment = dict(os.environ, PATH=str(tmp_path) + os.pathsep + os.environ["PATH"],
                       SOC_VERSION="Ascend310P3")
    script = os.path.join("frozen", graph, "atc.sh")
    done = subprocess.run([shell, script, "--precision_mode_v2=origin"], env=environment,
                          stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr
    om = "frozen/%s/%s.om" % (graph, graph)
    with open(om) as file:
        flags = json.load(file)
    os.remove(om)
    assert flags.pop("pb") == os.path.abspath("frozen/%s/%s.pb" % (graph, graph))
    expected = dict(framework="3", model=graph + ".pb", output=graph, soc_version="Ascend310P3",
                    log="error",
                    precision_mode_v2="origin")
    if graph == "step":
        expected.update(input_shape="input:50;rnn_state:50,12;rnn_state_1:50,8", kept=["logits"],
                        out_nodes="logits:0;new_state:0;new_state_1:0", keep_dtype="keep_dtype.txt")
    else:
        expected.update(input_shape="ids:50,20;lengths:50", out_nodes="top_ids:0;top_scores:0")
    assert flags == expected
    done = subprocess.run([shutil.which(shell), script], env=dict(environment, PATH=""),
                          stderr=subprocess.PIPE)
    assert done.returncode == 2 and b"set_env.sh" in done.stderr


@pytest.fixture
def compiled(here, frozen, tmp_path):
    """function (directory, *graphs): the .om of graphs of an export, by their atc.sh and the fake
    atc.
    """
    fake_acl.install_atc(str(tmp_path))

    def compile_(name, *graphs):
        for graph in graphs:
            subprocess.check_call(["sh", os.path.join(name, graph, "atc.sh")], env=dict(
                os.environ, PATH=str(tmp_path) + os.pathsep + os.environ["PATH"]))
    return compile_


@pytest.mark.parametrize("graph, batch_size, halves", [
    ("step", "16", []), ("step", "4,2,16", ["new_state_1"]), ("prefix", "4,2,16", ["top_scores"])])
def test_om_files_replay_through_pyacl(run, compiled, monkeypatch, graph, batch_size, halves):
    assert run(export, "--checkpoint_dir", "runs/a", "--format", "frozen_pb", "--out", "om",
               "--batch_size", batch_size,
               "--overwrite", 1)[0] == 0
    compiled("om", graph)
    acl = fake_acl.module(halves)
    monkeypatch.setitem(sys.modules, "acl", acl)
    status, out, err = run(offline, "--model_dir", "om", "--runtime", "acl", "--graph", graph)
    assert status == 0, err
    assert acl.leaks == [] and acl.calls[0] == "init" and acl.calls[-1] == "finalize"
    assert ("mdl.set_dynamic_batch_size" in acl.calls) == ("," in batch_size)
    expected = evaluated(run)
    if halves == ["new_state_1"]:  # the state is rounded at every click
        assert out.splitlines()[0] == expected.splitlines()[0]
        assert values_of(out) == pytest.approx(values_of(expected), abs=0.01)
    else:
        tolerance.assert_same_evaluation(out, expected)


def values_of(text):
    return [float(x) for x in re.findall(r"@20: (\d\.\d+)", text)]


def test_what_can_go_wrong_on_the_device_is_one_line_and_gives_everything_back(run, compiled,
                                                                               monkeypatch):
    monkeypatch.setitem(sys.modules, "acl", None)
    compiled("frozen", "step", "prefix")
    flags = ["--model_dir", "frozen", "--runtime", "acl"]
    status, out, err = run(offline, *flags)
    assert (status, out) == (2, "") and "pyACL cannot be imported" in err and "set_env.sh" in err
    for call in ("init", "rt.set_device", "rt.create_context", "rt.malloc", "mdl.load_from_file",
                 "mdl.get_desc",
                 "mdl.add_dataset_buffer", "rt.memcpy", "mdl.execute"):
        acl = fake_acl.module(fail=[call])
        monkeypatch.setitem(sys.modules, "acl", acl)
        status, out, err = run(offline, *flags)
        assert (status, out) == (2, "") and "acl.%s" % call in err and "status 7" in err
        assert call == "init" or acl.calls[-1] == "finalize"
    shutil.copy("frozen/prefix/prefix.om", "frozen/step/step.om")
    monkeypatch.setitem(sys.modules, "acl", fake_acl.module())
    status, out, err = run(offline, *flags)
    assert (status, out) == (2, "") and "get_input_index_by_name" in err
    os.remove("frozen/step/step.om")


def test_an_om_of_other_shapes_is_refused(run, compiled, monkeypatch):
    assert run(export, "--checkpoint_dir", "runs/a", "--format", "frozen_pb", "--out", "two",
               "--batch_size", 2)[0] == 0
    compiled("two", "step")
    shutil.copy("two/step/step.om", "frozen/step/step.om")
    monkeypatch.setitem(sys.modules, "acl", fake_acl.module())
    status, out, err = run(offline, "--model_dir", "frozen", "--runtime", "acl")
    os.remove("frozen/step/step.om")
    assert (status, out) == (2, "") and "is not of this export" in err and "atc.sh" in err


@pytest.mark.realdata
@pytest.mark.slow
def test_real_clicks_replay_as_they_are_evaluated(run, realdata):
    source_path, path = os.path.join(realdata, "rsc15_64", "test.tsv.gz"), "real.tsv"
    if not os.path.exists(source_path):
        pytest.skip("no real data at %s (set GRU4REC_REALDATA)" % source_path)
    # trained and replayed
    pd.read_csv(source_path, sep="\t", dtype=str, nrows=20000).to_csv(path, sep="\t", index=False)
    assert run(main, "--train_path", path, "--test_path", path, "--epoch", 1, "--size", 16,
               "--checkpoint_dir", "runs/real",
               "--compare_rules", 0, "--batch_size", 200, "--xla", "off")[0] == 0
    assert run(export, "--checkpoint_dir", "runs/real", "--format", "frozen_pb", "--out", "real",
               "--batch_size", 200)[0] == 0
    lines = [run(command, *flags)[1] for command, flags in (
        (main, ["--train", 0, "--checkpoint_dir", "runs/real", "--compare_rules", 0]),
        (offline, ["--model_dir", "real"]))]
    assert lines[0].splitlines()[0] == lines[1].splitlines()[0]
    assert values_of(lines[0]) == pytest.approx(values_of(lines[1]), abs=1e-4)
    assert len(values_of(lines[0])) == 2


@pytest.mark.parametrize("kind", ["frozen_pb"] + sorted(OUT))
def test_lists_of_every_prefix_are_those_of_the_python_api(run, here, kind):
    needs_onnx(kind)
    sizes = ["--batch_size", 16, "--max_length", 60] if kind == "frozen_pb" else []
    flags = ["--checkpoint_dir", "runs/a", "--format", kind, "--out", "api", "--overwrite", 1,
             "--k", 10]
    assert run(export, *flags + sizes)[0] == 0
    found, model = exported.read("api"), gru4rec.load("runs/a")
    runner = runtimes.open_graph(found, found.graphs["prefix"])
    index = {item: i for i, item in enumerate(found.vocabulary.ids.tolist())}
    events = pd.read_csv("next_day.tsv", sep="\t").sort_values(["SessionId", "Time"], kind="stable")
    events = events[events["Article"].isin(index)]
    sessions = [items.tolist() for _, items in events.groupby("SessionId")["Article"]]
    prefixes = [items[:n] for items in sessions for n in range(1, len(items) + 1)]
    prefixes = prefixes[:16 * min(40, len(prefixes) // 16)]
    assert len(prefixes) > 500
    for at in range(0, len(prefixes), 16):
        part = prefixes[at:at + 16]
        ids = np.full((16, 60 if sizes else max(map(len, part))), -1, np.int32)
        for row, items in zip(ids, part):
            row[:len(items)] = [index[item] for item in items]
        values = runner.run({"ids": ids,
                             "lengths": np.array([len(items) for items in part], np.int32)})
        for (ours, scores), top, theirs in zip(model.recommend_batch(part, k=10), values["top_ids"],
                                               values["top_scores"]):
            np.testing.assert_allclose(theirs, scores, rtol=1e-5, atol=1e-5)
            # a tie may part at the end
            assert len(set(ours.tolist()) & set(found.vocabulary.ids[top].tolist())) >= 9


@pytest.mark.parametrize("graph", ["step", "prefix"])
def test_a_signal_ends_a_replay_between_two_calls(run, frozen, monkeypatch, graph):
    calls, real = [], runtimes.open_graph

    def open_graph(*args):
        runner = real(*args)
        inner = runner.run

        def run_once(values):
            calls.append(values)
            os.kill(os.getpid(), signal.SIGTERM)
            return inner(values)
        monkeypatch.setattr(runner, "run", run_once, raising=False)
        return runner

    monkeypatch.setattr(runtimes, "open_graph", open_graph)
    assert run(offline, "--model_dir", frozen, "--graph", graph)[0] == 143 and len(calls) == 1

"""Whatever is wrong with flags, files or checkpoints: exit status 2, one line that names it,
nothing written.
"""

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from gru4rec import tf_compat
from gru4rec.data import synthetic
from gru4rec.tf_compat import tf
from tests import helpers

pytestmark = [pytest.mark.tf, pytest.mark.once]

HEAD = "SessionId\tItemId\tTime\n"
SMALL = ["--size", 8, "--batch_size", 10, "--epoch", 2, "--xla", "off"]


def chain(path, seed=1, num_sessions=60):
    synthetic.markov_sessions(num_sessions, 30, seed).to_csv(str(path), sep="\t", index=False)


def everything(directory):
    """Path -> bytes of all files below a directory; directories too, so that an empty one would
    show.
    """
    found = {}
    for parent, directories, files in os.walk(str(directory)):
        found.update((os.path.join(parent, name), None) for name in directories)
        for name in files:
            with open(os.path.join(parent, name), "rb") as file:
                found[os.path.join(parent, name)] = file.read()
    return found


@pytest.fixture
def refused(inline, tmp_path):
    """function (*flags) -> the one line of the error, after all that must hold for any bad input
    was checked.
    """
    def run(*flags):
        before = everything(tmp_path)
        status, out, err = inline(*flags)
        assert status == 2 and out == "", err
        errors = [line for line in err.splitlines() if line.startswith("error: ")]
        assert helpers.foreign_lines(err) == [], err
        assert len(errors) == 1 and errors[0].startswith("error: "), err
        assert err.endswith(errors[0] + "\n"), err
        assert everything(tmp_path) == before
        return errors[0]

    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Directory with train.tsv, test.tsv and a small model of two epochs in checkpoint/."""
    directory = tmp_path_factory.mktemp("trained")
    chain(directory / "train.tsv"), chain(directory / "test.tsv", 2)
    flags = ["--train_path", "train.tsv", "--test_path", "test.tsv"] + SMALL
    subprocess.run([sys.executable, "-m", "gru4rec.main"] + [str(f) for f in flags],
                   cwd=str(directory), check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return directory


@pytest.fixture
def model(trained, tmp_path):
    """tmp_path with a copy of `trained` in it."""
    for name in os.listdir(str(trained)):
        copy = shutil.copytree if os.path.isdir(str(trained / name)) else shutil.copy
        copy(str(trained / name), str(tmp_path / name))
    return tmp_path


FILES = {  # content -> words of the message
    "empty": (b"", ["empty"]),
    "header only": (HEAD.encode(), ["no event"]),
    "column missing": (b"SessionId\tTime\n1\t1\n", ["'ItemId' is missing", "'SessionId', 'Time'"]),
    "bad time": ((HEAD + "1\t1\t5\n1\t2\tnoon\n").encode(), ["line 3", "'noon'"]),
    "infinite time": ((HEAD + "1\t1\tinf\n").encode(), ["line 2", "'inf'"]),
    "missing value": ((HEAD + "1\t\t5\n").encode(), ["line 2", "'ItemId'"]),
    "nul": ((HEAD + "1\t1\x00\t5\n").encode(), ["line 2", "NUL"]),
    "more fields": ((HEAD + "1\t1\t5\t7\n").encode(), ["line 2", "4 fields"]),
    "html": (b"<!DOCTYPE html><html>\n", ["HTML"]),
    "binary": (b"\x89PNG\r\n\x1a\n\xff\xfe", ["UTF-8"]),
    "no session of two": ((HEAD + "1\t1\t5\n2\t1\t6\n").encode(), ["two events"]),
}


@pytest.mark.parametrize("case", sorted(FILES))
def test_a_bad_training_file(refused, tmp_path, case):
    content, words = FILES[case]
    (tmp_path / "bad.tsv").write_bytes(content)
    line = refused("--train_path", "bad.tsv")
    assert line.startswith("error: bad.tsv: ")
    for word in words:
        assert word in line


def test_a_broken_gzip_file(refused, tmp_path):
    (tmp_path / "bad.tsv.gz").write_bytes(gzip.compress((HEAD + "1\t1\t5\n" * 999).encode())[:-20])
    assert "gzip" in refused("--train_path", "bad.tsv.gz")


def test_a_file_that_is_none(refused, tmp_path):
    (tmp_path / "directory").mkdir()
    assert "none.tsv" in refused("--train_path", "none.tsv")
    assert "directory" in refused("--train_path", "directory")
    chain(tmp_path / "a.tsv")
    assert "a.tsv/x" in refused("--train_path", "a.tsv/x")


@pytest.mark.parametrize("case", ["bad time", "html", "empty", "column missing"])
def test_a_bad_test_file(refused, model, case):
    content, words = FILES[case]
    (model / "bad.tsv").write_bytes(content)
    line = refused("--train", 0, "--test_path", "bad.tsv")
    for word in ["bad.tsv: "] + words:
        assert word in line


def test_a_test_file_with_nothing_to_rank(refused, model):
    (model / "other.tsv").write_text(HEAD + "1\t-5\t1\n1\t-6\t2\n")
    assert "none of its 2 items is known" in refused("--train", 0, "--test_path", "other.tsv")
    (model / "short.tsv").write_text(HEAD + "1\t1\t1\n2\t2\t2\n")
    assert "two events" in refused("--train", 0, "--test_path", "short.tsv")


@pytest.mark.parametrize("flags, words", [
    (["--nonsense", "1"], ["--nonsense"]), (["--los", "bpr"], ["--los"]), (["stray"], ["stray"]),
    (["--lr"], ["--lr"]),
    (["--device", "tpu"], ["--device 'tpu'", "auto, npu, gpu, cpu"]),
    (["--train", "2"], ["--train '2'"]),
    (["--loss", "hinge"], ["--loss 'hinge'", "bpr"]),
    (["--tie", "best"], ["--tie"]), (["--unknown", ""], ["--unknown"]),
    (["--epoch", "-1"], ["--epoch -1", "at least 1"]), (["--epoch", "1.5"], ["--epoch '1.5'"]),
    (["--epoch", "9" * 5000], ["--epoch"]),
    (["--epoch", "99999999"], ["--epoch 99999999", "at most"]),
    (["--batch_size", "1"], ["--batch_size 1"]),
    (["--batch_size", "1" + "0" * 12], ["--batch_size", "at most"]),
    (["--eval_batch_size", "1" + "0" * 12], ["--eval_batch_size", "at most"]),
    (["--size", "0"], ["--size 0"]),
    (["--size", "1" + "0" * 12], ["--size", "at most"]), (["--size", "100,"], ["--size '100,'"]),
    (["--steps_per_run", "1" + "0" * 12], ["--steps_per_run", "at most"]),
    (["--layer", "1" + "0" * 12], ["--layer"]),
    (["--lr", "nan"], ["--lr nan"]), (["--lr", "-inf"], ["--lr"]), (["--lr", "0"], ["--lr 0"]),
    (["--lr", "1e300"], ["--lr 1e300"]),
    (["--dropout", "1"], ["--dropout 1"]), (["--grad_cap", "inf"], ["--grad_cap inf"]),
    (["--seed", "-1"], ["--seed -1"]),
    (["--cut_off", "0"], ["--cut_off 0"]), (["--cut_off", "5,,20"], ["--cut_off '5,,20'"]),
    (["--size", "100,50", "--layer", "3"], ["--size 100,50", "--layer 3"]),
    (["--final_act", "softmax", "--loss", "top1"], ["--final_act softmax", "--loss top1"]),
    (["--session_key", "Time"], ["must differ"]),
    # An unset variable of the shell must not mean the bundled sample.
    (["--train_path", ""], ["--train_path ''"]), (["--test_path", ""], ["--test_path ''"]),
    (["--checkpoint_dir", ""], ["--checkpoint_dir ''"]), (["--item_key", ""], ["--item_key ''"]),
])
def test_a_bad_flag(refused, tmp_path, flags, words):
    chain(tmp_path / "a.tsv")
    line = refused(*(["--train_path", "a.tsv"] + flags))
    for word in words:
        assert word in line
    assert len(line) < 400 or "9" * 400 in line


@pytest.mark.parametrize("name", ["npu", "gpu"])
def test_a_device_that_cannot_be_had(refused, tmp_path, name):
    if name == "gpu" and tf.config.experimental.list_physical_devices("GPU"):
        pytest.skip("this machine has a GPU, the test is about machines without")
    if name == "npu" and any(node.startswith("davinci") for node in os.listdir("/dev")):
        pytest.skip("this machine has an NPU, the test is about machines without")
    chain(tmp_path / "a.tsv")
    line = refused("--train_path", "a.tsv", "--device", name)
    assert "device %s" % name in line
    if name == "npu":
        assert ("npu_device" if tf_compat.IS_TF2 else "npu_bridge") in line


@pytest.mark.parametrize("name", ["a.tsv", "a.tsv/below"])
def test_a_checkpoint_dir_that_is_a_file(refused, tmp_path, name):
    chain(tmp_path / "a.tsv")
    assert "--checkpoint_dir %s" % name in refused("--train_path", "a.tsv", "--checkpoint_dir",
                                                   name, *SMALL)
    assert "holds no checkpoint" in refused("--train", 0, "--checkpoint_dir", name)


def test_a_checkpoint_that_does_not_exist(refused, model):
    assert "holds no checkpoint" in refused("--train", 0, "--checkpoint_dir", "elsewhere")
    assert "--test takes one of: 0, 1" in refused("--train", 0, "--test", 2)
    os.mkdir(str(model / "empty"))
    assert "holds no checkpoint" in refused("--train", 0, "--checkpoint_dir", "empty")


@pytest.mark.parametrize("name",
                         ["gru-model-1.index", "gru-model-1.data-00000-of-00001",
                          "gru-model-1.json",
                                  "vocabulary.npz"])
def test_a_damaged_checkpoint(refused, model, inline, name):
    path = model / "checkpoint" / name
    whole = path.read_bytes()
    for content in (whole[:-1], b"", whole[:50] + bytes([whole[50] ^ 1]) + whole[51:],
                    whole + b" x"):
        path.write_bytes(content)
        line = refused("--train", 0, "--test", 1)
        assert name in line and "damaged" in line
    path.unlink()
    if name != "gru-model-1.json":
        assert name in refused("--train", 0, "--test", 1)
    if name == "vocabulary.npz":
        assert name in refused("--train", 0)
    else:  # the earlier epoch is as good as before
        status, out, err = inline("--train", 0)
        assert status == 0 and (name == "gru-model-1.json" or name + " is damaged" in err)
        assert out == inline("--train", 0, "--test", 0)[1]


@pytest.mark.parametrize("flags, words", [
    (["--size", 9], ["--size 9", "--size 8"]), (["--layer", 2], ["--layer 2", "--layer 1"]),
    (["--loss", "bpr"], ["--loss bpr", "--loss cross-entropy"]),
    (["--hidden_act", "relu"], ["relu", "tanh"]),
    (["--final_act", "linear"], ["--final_act linear", "--final_act softmax"])])
def test_a_flag_that_contradicts_the_checkpoint(refused, model, flags, words):
    line = refused("--train", 0, *flags)
    for word in words + ["contradicts", "gru-model-1"]:
        assert word in line


def test_a_loss_that_is_not_finite_is_status_3_and_keeps_what_was_saved(inline, model, monkeypatch):
    """One weight is NaN from the start, so the loss is NaN wherever it is computed."""
    from gru4rec.model import state
    real = state.initial

    def initial(*args):
        arrays = real(*args)
        arrays["gru_layer_0/candidate/bias"][0] = float("nan")
        return arrays

    monkeypatch.setattr(state, "initial", initial)
    status, _, err = inline("--train_path", "train.tsv", "--checkpoint_dir", "new", *SMALL)
    last = err.splitlines()[-1]
    assert status == 3 and last.startswith("error: the loss is nan at step 1 (epoch 0), ")
    assert last.endswith(" is not finite either; checkpoints saved before are intact, train again "
                         "with a lower --lr or with --grad_cap")
    assert "Warning" not in err and "Traceback" not in err
    names = os.listdir(str(model / "new"))
    assert not [name for name in names if name.startswith((".tmp", "gru-model"))]


def test_evaluation_of_a_model_whose_directory_takes_no_row(inline, model):
    """A read-only place (here, for root's sake, a directory where the file should be) costs a
    warning, no more.
    """
    expected = inline("--train", 0)[1]
    os.remove(str(model / "checkpoint" / "metrics.jsonl"))
    os.mkdir(str(model / "checkpoint" / "metrics.jsonl"))
    status, out, err = inline("--train", 0)
    assert (status, out) == (0, expected)
    assert "W gru4rec.main: " in err and "metrics.jsonl cannot be written" in err


def test_a_disk_that_fills_up_while_training(inline, model, monkeypatch):
    """The tensors of the second epoch find no room; the first stays whole, nothing temporary is
    left.
    """
    from gru4rec import checkpoint
    from gru4rec.checkpoint import bundle_writer
    real, calls = bundle_writer.write, []

    def write(prefix, arrays):
        calls.append(prefix)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        real(prefix, arrays)

    monkeypatch.setattr(bundle_writer, "write", write)
    status, _, err = inline("--train_path", "train.tsv", "--checkpoint_dir", "new", *SMALL)
    assert status == 2 and "gru-model-1 cannot be written: [Errno 28]" in err.splitlines()[-1]
    assert sorted(os.listdir(str(model / "new"))) == ["checkpoint",
                                                      "gru-model-0.data-00000-of-00001",
                                                      "gru-model-0.index", "gru-model-0.json",
                                                      "metrics.jsonl",
                                                      "rules.npz", "vocabulary.npz"]
    assert checkpoint.load(str(model / "new")).epoch == 0


def test_memory_that_tensorflow_lacks_is_one_line(refused, tmp_path, monkeypatch):
    from gru4rec import engine

    def create(*_):
        raise tf.errors.ResourceExhaustedError(None, None,
                                               "Graph execution error:\nOOM when allocating "
                                               "[9,9]\nmore")

    monkeypatch.setattr(engine, "create", create)
    chain(tmp_path / "a.tsv")
    line = refused("--train_path", "a.tsv")
    assert "out of memory (OOM when allocating [9,9])" in line and "--batch_size" in line


# --- what only a process of its own shows ---------------------------------------------------------

def start(cwd, *flags, **streams):
    streams = dict(dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE), **streams)
    return subprocess.Popen([sys.executable, "-m", "gru4rec.main"] + [str(flag) for flag in flags],
                            cwd=str(cwd),
                            universal_newlines=True, **streams)


def test_a_file_that_is_missing_needs_no_tensorflow(tmp_path):
    """Status and line of the real command; found before TensorFlow is imported, which this one
    cannot be.
    """
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('imported')")
    process = start(tmp_path, "--train_path", "none.tsv")
    out, err = process.communicate()
    assert (process.returncode, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: none.tsv: ")
    assert os.listdir(str(tmp_path)) == ["tensorflow.py"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this machine")
def test_results_that_find_no_room_are_status_2(model):
    with open("/dev/full", "w") as full:
        process = start(model, "--train", 0, stdout=full)
        _, err = process.communicate()
    assert process.returncode == 2
    assert err.splitlines()[-1].startswith("error: stdout cannot be written: No space left")
    assert "Traceback" not in err


def test_a_reader_that_leaves_is_one_line(model):
    process = start(model, "--train", 0)
    process.stdout.close()
    err = process.stderr.read()
    assert process.wait() == 2
    assert err.splitlines()[-1].startswith("error: stdout cannot be written: Broken pipe")
    assert "Traceback" not in err


@pytest.mark.parametrize("number, status", [
    (signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.release)])
def test_a_signal_is_one_line_and_finished_epochs_stay(model, number, status):
    process = start(model, "--train_path", "train.tsv", "--checkpoint_dir", "new", "--size", 8,
                    "--batch_size", 2,
                    "--epoch", 9999, "--log_every", 1, "--xla", "off",
                    preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    for line in process.stdout:
        if line.startswith("Epoch 1"):
            break
    process.send_signal(number)
    process.stdout.read()
    err = process.stderr.read()
    assert process.wait() == status
    assert err.splitlines()[-1].startswith("error: interrupted") and "Traceback" not in err
    names = os.listdir(str(model / "new"))
    assert not [name for name in names if name.startswith(".tmp")]
    with open(str(model / "new" / "metrics.jsonl")) as rows:
        assert {json.loads(row)["kind"] for row in rows} == {"train", "epoch"}
    process = start(model, "--train", 0, "--checkpoint_dir", "new", "--test_path", "test.tsv")
    out, _ = process.communicate()
    assert process.returncode == 0 and "Recall@20" in out

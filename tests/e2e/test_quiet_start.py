"""stderr of a command has our lines and TensorFlow's errors; a user's settings win."""

import os
import signal
import subprocess
import sys

import pytest

from gru4rec import tf_compat
from tests import helpers

# What another TensorFlow, processor or build writes while it is imported.
HARMLESS = """\
WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1795924692.853801   14440 port.cc:153] oneDNN custom operations are on. You may see.
E0000 00:00:1758131045.203198 3722035 cuda_dnn.cc:8579] Unable to register cuDNN factory: \
Attempting to register factory for plugin cuDNN when one has already been registered
"""
ERRORS = """\
E0000 00:00:1758131045.203198 3722035 cuda_driver.cc:152] failed call to cuInit: no device
2026-11-29 04:36:14.621157: F tensorflow/core/platform/env.cc:90] Check failed: 1 == 2
E0000 00:00:1758131045.203198 3722035 x.cc:9] Unable to register cuDNN factory: out of memory
I0000 00:00:1795924692.853801   14440 port.cc:153] something else about oneDNN
"""
SAY = "import os, signal\nsay = lambda text: os.write(2, text.encode())\n"
COMMAND = "from gru4rec.command import process; process.setup_logging()\n"
IMPORT = ("import os; before = os.fstat(2)\n"
          "from gru4rec import tf_compat\n"
          "assert os.fstat(2) == before\n"
          "os.write(2, b'after')\n")


@pytest.fixture
def importing(tmp_path):
    """function (what a made-up TensorFlow does while imported, ...) -> (exit status, stderr)."""
    package = tmp_path / "tensorflow"
    (package / "compat" / "v1").mkdir(parents=True)
    for part in ("__init__.py", "compat/__init__.py"):
        (package / part).write_text("")

    def run(does, script=COMMAND + IMPORT, **environment):
        text = SAY + "__version__ = '2.21.0'\n" + does
        (package / "compat" / "v1" / "__init__.py").write_text(text)
        env = {k: v for k, v in os.environ.items() if not k.startswith("TF_")}
        env.update(environment, PYTHONPATH=os.pathsep.join([str(tmp_path), env["PYTHONPATH"]]))
        done = subprocess.run([sys.executable, "-c", script], env=env, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, universal_newlines=True, timeout=100)
        return done.returncode, done.stderr

    return run


def test_known_lines_are_dropped_and_all_others_come_in_order(importing):
    text = "first\n" + HARMLESS + ERRORS + HARMLESS
    assert importing("say(%r); say('no end of line')" % text) == (
        0, "first\n" + ERRORS + "no end of line" + "after")


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGSEGV, signal.SIGKILL, signal.SIGTERM])
def test_no_line_is_lost_when_the_process_dies(importing, number):
    does = "say(%r); os.kill(os.getpid(), %d)" % (HARMLESS + ERRORS + "half", number)
    assert importing(does) == (-number, ERRORS + "half")


def test_a_traceback_comes_after_what_was_said(importing):
    status, err = importing("say(%r); raise RuntimeError('broken')" % ERRORS)
    assert status == 1 and err.startswith(ERRORS + "Traceback")
    assert err.endswith("RuntimeError: broken\n")


def test_level_0_and_a_program_of_its_own_see_everything(importing):
    does = "say(%r)" % (HARMLESS + ERRORS)
    assert importing(does, TF_CPP_MIN_LOG_LEVEL="0") == (0, HARMLESS + ERRORS + "after")
    assert importing(does, script=IMPORT) == (0, HARMLESS + ERRORS + "after")


def test_a_users_settings_win_and_onednn_is_left_alone(importing):
    does = ("names = 'TF_CPP_MIN_LOG_LEVEL', 'TF_ENABLE_ONEDNN_OPTS'\n"
            "say('%s %s\\n' % tuple(map(os.environ.get, names)))")
    assert importing(does) == (0, "2 None\nafter")
    assert importing(does, TF_CPP_MIN_LOG_LEVEL="1", TF_ENABLE_ONEDNN_OPTS="1") == (0, "1 1\nafter")


@pytest.mark.parametrize("where", ["closed", "file", "unread"])
def test_stderr_may_be_closed_a_file_or_a_pipe_that_nobody_reads(importing, tmp_path, where):
    change = {"closed": "os.close(2)",
              "file": "os.dup2(os.open(%r, os.O_CREAT | os.O_WRONLY), 2)" % str(tmp_path / "log"),
              "unread": "r, w = os.pipe(); os.dup2(w, 2); os.close(r); os.close(w)"}[where]
    script = ("import os; %s\n" % change + COMMAND
              + "from gru4rec import tf_compat; os.write(1, tf_compat.TF_VERSION and b'done')\n")
    does = "import contextlib\nwith contextlib.suppress(OSError): say(%r)" % (HARMLESS + ERRORS)
    assert importing(does, script) == (0, "")
    if where == "file":
        assert (tmp_path / "log").read_text() == ERRORS


def command(tmp_path, *words, **environment):
    """(exit status, stderr) of a command in a directory, for a user who set no level."""
    env = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run([sys.executable, "-m"] + list(words), cwd=str(tmp_path),
                          env=dict(env, **environment), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True)
    return done.returncode, done.stderr


@pytest.fixture
def events(tmp_path):
    (tmp_path / "train.tsv").write_text("SessionId\tItemId\tTime\n" + "".join(
        "%d\t%d\t%d\n" % (at // 5, at * 7 % 11, at) for at in range(60)))
    return ["--train_path", "train.tsv", "--test_path", "train.tsv", "--batch_size", "4",
            "--epoch", "1"]


def test_the_first_screen_of_training_evaluation_and_device_is_ours(tmp_path, events):
    train = ["gru4rec.main", "--train", "1"] + events
    runs = [train, ["gru4rec.main", "--train", "0"], ["gru4rec.device", "--device", "cpu"]]
    if tf_compat.has_xla():  # the first run has compiled its loop
        runs.append(train + ["--xla", "off", "--checkpoint_dir", "off"])
    for words in runs:
        status, err = command(tmp_path, *words)
        assert status == 0 and helpers.foreign_lines(err) == [], err


@pytest.mark.skipif(not tf_compat.has_xla(), reason="TensorFlow 2.6 or later ends so")
def test_a_real_error_of_tensorflow_is_shown(tmp_path, events):
    words = ["gru4rec.main", "--train", "1"] + events
    status, err = command(tmp_path, *words, XLA_FLAGS="--no_such_flag")
    assert status != 0 and any("no_such_flag" in line for line in helpers.foreign_lines(err)), err

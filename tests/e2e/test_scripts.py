"""The run scripts under dash and bash: a copy of them, in a directory with a space, a stub in the
place of Python.
"""

import os
import shutil
import signal
import stat
import subprocess
import sys
import time

import pytest

from gru4rec import config

pytestmark = pytest.mark.once

TOOLS = ("sh", "bash", "cat", "cp", "date", "dirname", "grep", "mkdir", "mv", "rm", "sed", "sleep",
         "tail", "tee")
RUN_SCRIPTS = [("run_gpu.sh", "gpu"), ("run_npu_1p.sh", "npu_1p")]
BASE = "sys venv numpy pandas"
WITH_TF = "tensorflow pip " + BASE
NASTY = ["--lr", "a b", "*", '$HOME "q" \'s\'', "", "\\n", "--epoch=2"]

# Stands for Python. A file <stub>.has beside it lists the modules that it pretends to have.
STUB = r"""#!/bin/sh
has=" $(cat "$0.has" 2>/dev/null) "
case "$1 ${2:-}" in
"-c "*)
    case $2 in *version_info\[:2\]*) echo 3.9; exit 0 ;; esac
    first=$3 lost=
    shift 2
    for module; do
        case $has in *" $module "*) ;; *) lost="$lost$module " ;; esac
    done
    echo "$lost"
    case $lost in "") exit 0 ;; "$first "*) exit 3 ;; *) exit 4 ;; esac ;;
"-m venv")
    mkdir -p "$3/bin"
    cp "$0" "$3/bin/python"
    echo "sys venv pip" >"$3/bin/python.has" ;;
"-m pip")
    echo "$*" >>"$STUB_CALLS"
    case $* in *"pip>="*) exit 0 ;; esac
    if [ -n "${STUB_NO_NETWORK:-}" ]; then
        echo "WARNING: Retrying" >&2
        echo "ERROR: No matching distribution found for tensorflow" >&2
        exit 1
    fi
    echo "tensorflow sys venv pip numpy pandas tqdm pytest xdist hypothesis pyarrow" >"$0.has" ;;
*)
    call=$(echo "call $0"; printf '[%s]\n' "$@"; echo .)
    printf '%s\n' "${call%.}" >>"$STUB_CALLS" # at once: several may write
    env | grep -E "^($STUB_ENV)=" >>"$STUB_CALLS.env"
    echo "to stdout: $4"
    echo "to stderr: $4" >&2
    if [ -n "${STUB_WAIT:-}" ]; then
        trap 'echo "stopped by signal"; exit 130' INT
        echo ready >"$STUB_CALLS.ready"
        for i in 1 2 3 4 5 6 7 8 9; do sleep 1; done
    fi
    case $4 in 1) exit "${STUB_TRAIN:-0}" ;; *) exit "${STUB_EVAL:-0}" ;; esac ;;
esac
"""


class Sandbox:
    """A copy of the scripts, a PATH without any real Python, and an empty directory to run in."""

    def __init__(self, tmp_path, repo_root):
        self.root = tmp_path / "the checkout"
        self.cwd = tmp_path / "user's place"
        self.bin = tmp_path / "bin"
        self.calls_file = tmp_path / "calls"
        for directory in (self.root / "scripts", self.cwd, self.bin):
            directory.mkdir(parents=True)
        for name in ("run_gpu.sh", "run_npu_1p.sh", "run_npu_8p.sh", "scripts/lib.sh",
                     "scripts/port_flags.sh",
                     "scripts/test.sh"):
            shutil.copy(os.path.join(repo_root, name), str(self.root / name))
        for tool in TOOLS + ("env",):
            os.symlink(shutil.which(tool), str(self.bin / tool))
        self.env = {"PATH": str(self.bin), "HOME": str(tmp_path),
                    "STUB_CALLS": str(self.calls_file),
                    "STUB_ENV": "X", "ASCEND_SET_ENV": ""}

    def stub(self, name, has=None, text=STUB):
        """Executable in PATH; str, its path."""
        path = self.bin / name
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        if has is not None:
            (self.bin / (name + ".has")).write_text(has)
        return str(path)

    def run(self, shell, script, *args, **env):
        return subprocess.run([shell, str(self.root / script)] + list(args), cwd=str(self.cwd),
                              timeout=120,
                              env=dict(self.env, **env), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, universal_newlines=True)

    def calls(self):
        """Arguments of each program run, as [["call <python>", arg, ...], ...]."""
        if not self.calls_file.exists():
            return []
        text = self.calls_file.read_text()
        return [part.rstrip("\n").split("\n") for part in text.split("call ")[1:]]

    def seen(self):
        """Environment of the last call, of the variables named in STUB_ENV."""
        lines = (self.calls_file.parent / "calls.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def log(self, name):
        return (self.cwd / "output" / name).read_text()


@pytest.fixture
def sandbox(tmp_path, repo_root):
    return Sandbox(tmp_path, repo_root)


def needs_no_npu():
    if any(name.startswith("davinci") for name in os.listdir("/dev")):
        pytest.skip("this machine has an NPU, the test is about machines without")


# What a script trains with where nothing else is asked for.
OWN = {"run_gpu.sh": ["[--preset]", "[fast]"], "run_npu_1p.sh": ["[--epoch]", "[10]"]}


@pytest.mark.parametrize("script,name", RUN_SCRIPTS)
def test_trains_then_evaluates_with_the_users_arguments_unchanged_and_last(sandbox, shell, script,
                                                                           name):
    python = sandbox.stub("python3", WITH_TF)
    result = sandbox.run(shell, script, *NASTY)
    assert result.returncode == 0, result.stderr
    given = ["[%s]" % arg for arg in NASTY]
    start = [python.replace(str(sandbox.bin) + "/", ""), "[-m]", "[gru4rec.main]"]
    train, evaluate = sandbox.calls()
    assert train[0].endswith(start[0]) and evaluate[0].endswith(start[0])
    own = ["[--train]", "[1]"] + OWN[script] + ["[--device]", "[auto]"]
    assert train[1:] == start[1:] + own + given
    assert evaluate[1:] == start[1:] + ["[--train]", "[0]", "[--device]", "[auto]"] + given


@pytest.mark.parametrize("script,given,own,made", [
    ("run_gpu.sh", ["--preset", "original"], True, ("original", 3)),
    ("run_gpu.sh", ["--preset=rsc15", "--epoch", "2"], True, ("rsc15", 2)),
    ("run_gpu.sh", ["--keep", "1"], True, ("fast", 4)),
    ("run_gpu.sh", ["--loss", "bpr"], True, ("fast", 4)),
    ("run_gpu.sh", ["--resume", "0"], True, ("fast", 4)),
    ("run_gpu.sh", ["--resume", "1"], False, (None, 3)),
    ("run_gpu.sh", ["--lr", "1", "--resume=1"], False, (None, 3)),
    ("run_npu_1p.sh", ["--preset", "fast"], False, ("fast", 4)),
    ("run_npu_1p.sh", ["--preset=fast"], False, ("fast", 4)),
    ("run_npu_1p.sh", ["--epoch", "2"], True, (None, 2)),
    ("run_npu_1p.sh", ["--lr", "1"], True, (None, 10))])
def test_what_the_user_asks_for_wins(sandbox, shell, script, given, own, made):
    sandbox.stub("python3", WITH_TF)
    assert sandbox.run(shell, script, *given).returncode == 0
    train = sandbox.calls()[0][3:]
    words = (OWN[script] if own else []) + ["[--device]", "[auto]"] + ["[%s]" % w for w in given]
    assert train == ["[--train]", "[1]"] + words
    training = config.parse([word[1:-1] for word in train]).training
    assert (training.preset, training.epoch) == made


@pytest.mark.parametrize("script,name", RUN_SCRIPTS)
def test_streams_stay_apart_and_both_reach_the_log_even_twice(sandbox, shell, script, name):
    sandbox.stub("python3", WITH_TF)
    for _ in range(2):
        result = sandbox.run(shell, script)
        assert result.returncode == 0, result.stderr
        assert result.stdout.splitlines() == ["to stdout: 1", "to stdout: 0"]
        err = [line for line in result.stderr.splitlines() if line.startswith("to ")]
        assert err == ["to stderr: 1", "to stderr: 0"]
        for job, number in (("train", 1), ("eval", 0)):
            logged = sandbox.log("%s_%s.log" % (job, name)).splitlines()
            assert sorted(logged) == ["to stderr: %d" % number, "to stdout: %d" % number]
    logs = ["eval_%s.log", "eval_%s.log.old", "train_%s.log", "train_%s.log.old"]
    assert sorted(os.listdir(str(sandbox.cwd / "output"))) == [log % name for log in logs]
    assert os.listdir(str(sandbox.cwd)) == ["output"]


@pytest.mark.parametrize("script,name", RUN_SCRIPTS)
def test_exit_status_of_training_is_kept_and_stops_the_script(sandbox, shell, script, name):
    sandbox.stub("python3", WITH_TF)
    assert sandbox.run(shell, script, STUB_TRAIN="3").returncode == 3
    assert len(sandbox.calls()) == 1


@pytest.mark.parametrize("script,name", RUN_SCRIPTS)
def test_exit_status_of_evaluation_is_kept(sandbox, shell, script, name):
    sandbox.stub("python3", WITH_TF)
    assert sandbox.run(shell, script, STUB_EVAL="2").returncode == 2
    assert len(sandbox.calls()) == 2


def test_ctrl_c_reaches_python_and_its_last_words_and_status_are_kept(sandbox, shell):
    sandbox.stub("python3", WITH_TF)
    process = subprocess.Popen([shell, str(sandbox.root / "run_gpu.sh")], cwd=str(sandbox.cwd),
                               env=dict(sandbox.env, STUB_WAIT="1"), stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, universal_newlines=True,
                               start_new_session=True,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    ready = str(sandbox.calls_file) + ".ready"
    until = time.time() + 120
    while not os.path.exists(ready) and time.time() < until:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    stdout, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert stdout.splitlines() == ["to stdout: 1", "stopped by signal"]
    assert "stopped by signal" in sandbox.log("train_gpu.log")
    assert len(sandbox.calls()) == 1


def test_unwritable_log_directory_is_one_line(sandbox, shell):
    sandbox.stub("python3", WITH_TF)
    (sandbox.cwd / "output").write_text("a file")
    result = sandbox.run(shell, "run_gpu.sh")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1 and "GRU4REC_OUTPUT" in result.stderr
    assert sandbox.run(shell, "run_gpu.sh",
                       GRU4REC_OUTPUT=str(sandbox.cwd / "else where")).returncode == 0
    assert (sandbox.cwd / "else where" / "train_gpu.log").exists()


def test_checkout_is_importable_and_earlier_pythonpath_stays(sandbox, shell):
    sandbox.stub("python3", WITH_TF)
    sandbox.run(shell, "run_gpu.sh", PYTHONPATH="/mine", STUB_ENV="PYTHONPATH")
    assert sandbox.seen() == {"PYTHONPATH": "%s:/mine" % sandbox.root}


# --- which Python


def test_dead_shim_and_python_without_tensorflow_are_passed_over(sandbox, shell):
    sandbox.stub("python3",
                 text="#!/bin/sh\necho 'pyenv: python3: command not found' >&2\nexit 127\n")
    sandbox.stub("python", BASE)
    sandbox.stub("python3.7", WITH_TF)
    result = sandbox.run(shell, "run_gpu.sh")
    assert result.returncode == 0
    assert "pyenv" not in result.stderr
    assert [call[0] for call in sandbox.calls()] == [str(sandbox.bin / "python3.7")] * 2


def test_variable_python_comes_first(sandbox, shell):
    sandbox.stub("python3", WITH_TF)
    mine = sandbox.stub("mine", WITH_TF)
    assert sandbox.run(shell, "run_gpu.sh", PYTHON=mine).returncode == 0
    assert sandbox.calls()[0][0] == mine


def test_tensorflow_without_pandas_names_the_command_that_mends_it(sandbox, shell):
    sandbox.stub("python3", "tensorflow sys venv numpy")
    result = sandbox.run(shell, "run_gpu.sh")
    assert result.returncode == 2
    assert "python3 has tensorflow but lacks pandas" in result.stderr
    assert "python3 -m pip install pandas" in result.stderr
    assert result.stderr.count("\n") == 1 and sandbox.calls() == []


@pytest.mark.parametrize("script,name", RUN_SCRIPTS)
def test_without_tensorflow_the_venv_is_made_once(sandbox, shell, script, name):
    needs_no_npu()
    sandbox.stub("python3", BASE)
    venv_python = str(sandbox.root / ".venv" / "bin" / "python")
    for _ in range(2):
        result = sandbox.run(shell, script)
        assert result.returncode == 0, result.stderr
    assert [call[0] for call in sandbox.calls()] == [venv_python] * 4
    text = sandbox.calls_file.read_text()
    assert text.count("install -e .[cpu]") == 1
    assert not (sandbox.root / ".venv" / ".unfinished").exists()


@pytest.mark.parametrize("script,name", RUN_SCRIPTS)
def test_without_network_one_line_and_the_half_made_venv_is_mended_next_time(sandbox, shell, script,
                                                                             name):
    needs_no_npu()
    sandbox.stub("python3", BASE)
    result = sandbox.run(shell, script, STUB_NO_NETWORK="1")
    assert result.returncode == 2 and result.stdout == ""
    about_setup, error = result.stderr.splitlines()
    assert "setting up" in about_setup
    assert "no network" in error and "No matching distribution found for tensorflow" in error
    (sandbox.root / ".venv" / "rubbish").write_text("")
    # Even one that looks whole is not trusted before it is finished.
    (sandbox.root / ".venv" / "bin" / "python.has").write_text(WITH_TF)
    assert sandbox.run(shell, script).returncode == 0
    assert not (sandbox.root / ".venv" / "rubbish").exists()
    assert sandbox.calls_file.read_text().count("install -e .[cpu]") == 2


def test_foreign_venv_is_completed_and_nothing_in_it_is_lost(sandbox, shell):
    needs_no_npu()
    sandbox.stub("python3", BASE)
    (sandbox.root / ".venv").mkdir()
    (sandbox.root / ".venv" / "mine").write_text("kept")
    assert sandbox.run(shell, "run_gpu.sh", STUB_NO_NETWORK="1").returncode == 2
    assert sandbox.run(shell, "run_gpu.sh").returncode == 0
    assert (sandbox.root / ".venv" / "mine").read_text() == "kept"


@pytest.mark.parametrize("script,name", RUN_SCRIPTS)
def test_npu_host_without_tensorflow_gets_no_venv(sandbox, shell, script, name):
    sandbox.stub("python3", BASE)
    set_env = sandbox.root / "set_env.sh"
    set_env.write_text("")
    result = sandbox.run(shell, script, ASCEND_SET_ENV=str(set_env))
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1 and "device image" in result.stderr
    assert not (sandbox.root / ".venv").exists()


def test_no_python_at_all_is_one_line(sandbox, shell):
    needs_no_npu()
    result = sandbox.run(shell, "run_gpu.sh")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1 and "no Python 3.7 or newer" in result.stderr


def test_real_python_is_probed_without_importing_anything(sandbox, shell):
    modules = sandbox.root / "modules"
    for module in ("tensorflow", "numpy", "pandas"):
        (modules / module).mkdir(parents=True)
        (modules / module / "__init__.py").write_text("raise SystemExit('imported by the probe')\n")
    (sandbox.root / "gru4rec").mkdir()
    (sandbox.root / "gru4rec" / "__init__.py").write_text("")
    (sandbox.root / "gru4rec" / "main.py").write_text("import sys; print(sys.argv[1:]); "
                                                      "sys.exit(int(sys.argv[2]))\n")
    result = sandbox.run(shell, "run_gpu.sh", "x y", PYTHON=sys.executable, PYTHONPATH=str(modules))
    assert result.returncode == 1, result.stderr
    assert result.stdout == "['--train', '1', '--preset', 'fast', '--device', 'auto', 'x y']\n"


def test_a_directory_named_like_a_module_is_no_module(sandbox, shell):
    (sandbox.cwd / "only_a_directory").mkdir()
    lines = '. "$1/scripts/lib.sh"; can_import "$2" sys only_a_directory'
    result = subprocess.run([shell, "-c", lines, "x", str(sandbox.root), sys.executable],
                            cwd=str(sandbox.cwd),
                            env=sandbox.env, stdout=subprocess.PIPE, universal_newlines=True,
                            timeout=60)
    assert (result.returncode, result.stdout) == (4, "only_a_directory\n")


# --- which device


def test_gpu_script_does_not_train_on_an_npu(sandbox, shell):
    sandbox.stub("python3", WITH_TF + " npu_device")
    result = sandbox.run(shell, "run_gpu.sh")
    assert result.returncode == 0
    has_gpu = any(name.startswith("nvidia") and name[6:7].isdigit() for name in os.listdir("/dev"))
    assert [call[call.index("[--device]") + 1]
            for call in sandbox.calls()] == ["[gpu]" if has_gpu else "[cpu]"] * 2
    assert has_gpu or "no GPU" in result.stderr


@pytest.mark.parametrize("has,reason",
                         [("", "no TensorFlow adapter"), (" npu_bridge", "no device node")])
def test_npu_script_falls_back_loudly(sandbox, shell, has, reason):
    needs_no_npu()
    sandbox.stub("python3", WITH_TF + has)
    result = sandbox.run(shell, "run_npu_1p.sh")
    assert result.returncode == 0
    loud = [line for line in result.stderr.splitlines() if "NOT RUNNING ON AN NPU" in line]
    assert len(loud) == 1 and reason in loud[0]
    assert "NOT RUNNING" not in sandbox.run(shell, "run_npu_1p.sh", "--device", "cpu").stderr


def test_npu_script_is_quiet_where_the_npu_is_there(sandbox, shell):
    sandbox.stub("python3", WITH_TF + " npu_bridge")
    result = sandbox.run(shell, "run_npu_1p.sh", GRU4REC_SKIP_DAVINCI_CHECK="1")
    assert "WARNING" not in result.stderr


def test_npu_script_exports_defaults_and_keeps_what_is_set(sandbox, shell, tmp_path):
    sandbox.stub("python3", WITH_TF)
    names = "JOB_ID|ASCEND_DEVICE_ID|RANK_SIZE|RANK_ID|PYTHONPATH"
    sandbox.run(shell, "run_npu_1p.sh", STUB_ENV=names, ASCEND_DEVICE_ID="3",
                TFPLUGIN_INSTALL_PATH=str(tmp_path))
    assert sandbox.seen() == {"JOB_ID": "10087", "ASCEND_DEVICE_ID": "3", "RANK_SIZE": "1",
                              "RANK_ID": "0",
                              "PYTHONPATH": "%s:%s" % (sandbox.root, tmp_path)}


def test_npu_script_mixes_no_rank_size_into_a_table_less_setup(sandbox, shell):
    sandbox.stub("python3", WITH_TF)
    sandbox.run(shell, "run_npu_1p.sh", STUB_ENV="RANK_SIZE|RANK_ID|CM_WORKER_SIZE",
                CM_WORKER_SIZE="1")
    assert sandbox.seen() == {"CM_WORKER_SIZE": "1"}


def test_switches_of_the_older_scripts_get_their_directories(sandbox, shell):
    sandbox.stub("python3", WITH_TF)
    result = sandbox.run(shell, "run_npu_1p.sh", "--over_dump=True", "--profiling=True",
                         "--autotune=False",
                         "--profiling_dump_path=mine")
    assert result.returncode == 0 and "--autotune=False is left out" in result.stderr
    assert sandbox.calls()[0][9:] == ["[--profiling_dump_path=output/profiling_dump_path]",
                                      "[--over_dump_path=output/over_dump_path]",
                                      "[--over_dump=True]",
                                      "[--profiling=True]", "[--profiling_dump_path=mine]"]
    assert (sandbox.cwd / "output" / "over_dump_path").is_dir()


def test_data_path_is_the_older_ports_way_to_start(sandbox, shell):
    sandbox.stub("python3", WITH_TF)
    (sandbox.cwd / "my data").mkdir()
    result = sandbox.run(shell, "run_npu_1p.sh", "--lr=0.1", "--data_path=my data", "a b",
                         ASCEND_DEVICE_ID="3")
    assert result.returncode == 0, result.stderr
    train, evaluate, summary = sandbox.calls()
    given = ["[--path_to_train=my data]", "[--path_to_test=my data]", "[--log_format=modelzoo]",
             "[--lr=0.1]", "[a b]"]
    assert train[3:] == ["[--train]", "[1]", "[--epoch]", "[10]", "[--device]", "[auto]"] + given
    assert evaluate[3:] == ["[--train]", "[0]", "[--device]", "[auto]"] + given
    assert summary[1] == "[%s/scripts/modelzoo_summary.py]" % sandbox.root and summary[4:] == given
    assert summary[2] == "[output/3/train_3.log]" and "to stdout: 1" in sandbox.log("3/train_3.log")
    assert sandbox.run(shell, "run_npu_1p.sh", "--data_path=x", STUB_TRAIN="3").returncode == 2
    assert sandbox.run(shell, "run_npu_1p.sh", "--data_path=my data",
                       STUB_TRAIN="3").returncode == 3
    assert len(sandbox.calls()) == 4


# --- several devices


def test_one_process_for_each_device_then_one_evaluates(sandbox, shell):
    sandbox.stub("python3", WITH_TF)
    (sandbox.cwd / "data").mkdir()
    result = sandbox.run(shell, "run_npu_8p.sh", "--data_path=data", "a b", RANK_SIZE="3",
                         RANK_TABLE_FILE="t.json",
                         STUB_ENV="RANK_ID|ASCEND_DEVICE_ID|RANK_SIZE|JOB_ID|RANK_TABLE_FILE")
    assert result.returncode == 0, result.stderr
    calls = sandbox.calls()
    assert calls[0][1:] == ["[%s/scripts/make_rank_table.py]" % sandbox.root, "[--check]",
                            "[t.json]", "[--size]", "[3]"]
    given = ["[--log_format=modelzoo]", "[--path_to_train=data]", "[--path_to_test=data]", "[a b]"]
    train = ["[-m]", "[gru4rec.main]", "[--train]", "[1]", "[--epoch]", "[10]", "[--device]",
             "[npu]", "[--npu_nums]", "[3]"]
    assert [call[1:] for call in calls[1:4]] == [train + given] * 3
    logs = ",".join("output/%d/train_%d.log" % (device, device) for device in range(3))
    assert calls[4][1:3] == ["[%s/scripts/modelzoo_summary.py]" % sandbox.root, "[%s]" % logs]
    assert calls[5][1:] == ["[-m]", "[gru4rec.main]", "[--train]", "[0]", "[--device]",
                            "[npu]"] + given
    lines = (sandbox.calls_file.parent / "calls.env").read_text().splitlines()
    assert sorted(lines).count("RANK_SIZE=3") == 5
    assert {"RANK_ID=%d" % i for i in range(3)} <= set(lines)
    assert {"ASCEND_DEVICE_ID=%d" % i for i in range(3)} <= set(lines) and "JOB_ID=10087" in lines
    assert sandbox.seen()["RANK_SIZE"] == "1"
    for device in range(3):
        assert "to stdout: 1" in sandbox.log("%d/train_%d.log" % (device, device))
    sandbox.run(shell, "run_npu_8p.sh", "--preset=fast", RANK_SIZE="3", RANK_TABLE_FILE="t.json")
    assert sandbox.calls()[7][3:] == [
        "[--train]", "[1]", "[--device]", "[npu]", "[--npu_nums]", "[3]", "[--log_format=modelzoo]",
        "[--preset=fast]"]


def test_a_process_that_fails_stops_the_others(sandbox, shell):
    text = STUB.replace('case $4 in 1) exit', r"""
    case $RANK_ID in
    0) trap 'echo "stopped early"; exit 143' TERM
       : >"$STUB_CALLS.ready"
       while :; do sleep 0.2; done ;;
    1) until [ -e "$STUB_CALLS.ready" ]; do sleep 0.2; done
       exit 3 ;;
    esac
    case $4 in 1) exit""")
    sandbox.stub("python3", WITH_TF, text.replace('echo "to stdout: $4"', 'echo "to stdout: $4"\n'
                                                  '    case $1 in *make_rank_table.py) exit 0 ;; '
                                                  'esac'))
    result = sandbox.run(shell, "run_npu_8p.sh", RANK_SIZE="2", RANK_TABLE_FILE="t.json")
    assert result.returncode == 3 and "ended with status 3; the others are stopped" in result.stderr
    # no evaluation
    assert "stopped early" in sandbox.log("0/train_0.log") and len(sandbox.calls()) == 3


def test_without_a_rank_table_nothing_is_started(sandbox, shell):
    sandbox.stub("python3", WITH_TF)
    result = sandbox.run(shell, "run_npu_8p.sh")
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    assert "make_rank_table.py" in result.stderr
    sandbox.stub("python3", WITH_TF,
                 STUB.replace('echo "to stdout: $4"',
                              'case $1 in *make_rank_table.py) exit 2 ;; esac'))
    assert sandbox.run(shell, "run_npu_8p.sh", RANK_TABLE_FILE="t.json").returncode == 2
    assert sandbox.run(shell, "run_npu_8p.sh", RANK_TABLE_FILE="t",
                       CM_WORKER_SIZE="8").returncode == 2
    assert sandbox.calls() == [call for call in sandbox.calls() if "make_rank_table" in call[1]]


# --- set_env.sh

SET_ENV = r"""
echo "chatter of set_env.sh"
words=(bash "only $#")
declare -x FROM_SET_ENV="${words[1]} $UNSET_VARIABLE"
export LINES_OF_IT=$'one\ntwo "three" $HOME'
export PATH="$PATH:/from_set_env"
cd /
"""


@pytest.mark.parametrize("ending,status",
                         [("return 7", 7), ("exit 5", 5), ("set -e; false", 1), ("true", 0),
                                           ("set -u; echo $ANOTHER_UNSET", 1),
                          ("trap 'echo bye' EXIT", 0)])
def test_set_env_is_loaded_however_it_ends(sandbox, shell, ending, status):
    sandbox.stub("python3", WITH_TF)
    set_env = sandbox.root / "set env.sh"
    set_env.write_text(SET_ENV + ending + "\n")
    result = sandbox.run(shell, "run_npu_1p.sh", *NASTY, ASCEND_SET_ENV=str(set_env),
                         STUB_ENV="FROM_SET_ENV|LINES_OF_IT|PATH|PWD")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == ["to stdout: 1", "to stdout: 0"]
    seen = sandbox.seen()
    assert seen["FROM_SET_ENV"] == "only 0 " and seen["PATH"].endswith(":/from_set_env")
    assert seen["LINES_OF_IT"] == "one"  # its second line is no variable of its own for `grep`
    assert seen["PWD"] == str(sandbox.cwd)
    assert sandbox.calls()[0][-len(NASTY):] == ["[%s]" % arg for arg in NASTY]
    assert ("ended with status %d" % status in result.stderr) == (status != 0)
    assert result.stderr.count("chatter of set_env.sh") == 1


def test_named_set_env_that_is_absent_is_one_line(sandbox, shell):
    result = sandbox.run(shell, "run_npu_1p.sh", ASCEND_SET_ENV="/nowhere/set_env.sh")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1 and "/nowhere/set_env.sh" in result.stderr


# --- scripts/test.sh


def test_test_script_uses_a_complete_python_and_passes_arguments_on(sandbox, shell):
    sandbox.stub("python3", WITH_TF + " pytest xdist hypothesis pyarrow")
    result = sandbox.run(shell, "scripts/test.sh", "-k", "a or b", STUB_ENV="PWD")
    assert result.returncode == 0, result.stderr
    processes = ["[-n]", "[3]", "[--dist]", "[loadfile]"]
    assert [call[1:] for call in sandbox.calls()] == [["[-m]", "[pytest]"] + processes
                                                      + ["[-k]", "[a or b]"]]
    assert sandbox.seen() == {"PWD": str(sandbox.root)}


def test_test_script_makes_a_venv_of_its_own_and_keeps_the_status(sandbox, shell):
    needs_no_npu()
    sandbox.stub("python3", WITH_TF)
    for _ in range(2):
        assert sandbox.run(shell, "scripts/test.sh", "-k", "1", STUB_TRAIN="5",
                           STUB_EVAL="5").returncode == 5
    assert [call[0]
            for call
            in sandbox.calls()] == [str(sandbox.root / ".venv-test-3.9" / "bin" / "python")] * 2
    assert sandbox.calls_file.read_text().count("install -e .[cpu,test]") == 1


def test_test_script_takes_the_named_python_or_none(sandbox, shell):
    sandbox.stub("python3", WITH_TF + " pytest xdist hypothesis pyarrow")
    result = sandbox.run(shell, "scripts/test.sh", PYTHON="/nowhere/python3.7")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1 and "/nowhere/python3.7" in result.stderr


@pytest.mark.parametrize("script",
                         ["run_gpu.sh", "run_npu_1p.sh", "run_npu_8p.sh", "scripts/test.sh"])
def test_help_needs_no_python(sandbox, shell, script):
    result = sandbox.run(shell, script, "--help")
    assert result.returncode == 0 and "sh %s [" % script in result.stdout and result.stderr == ""

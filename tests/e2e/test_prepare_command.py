"""The preparation as a command: exit status, streams, signals, and what is left behind."""

import errno
import io
import json
import logging
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time

import pytest

pytest.importorskip("duckdb", reason="the extra `prepare` is not installed")

from gru4rec.files import locks  # noqa: E402
from gru4rec.prepare import cli, readers  # noqa: E402

pytestmark = pytest.mark.once


def command(cwd, *words, **more):
    return subprocess.run([sys.executable, "-m", "gru4rec.prepare"] + [str(word) for word in words],
                          cwd=str(cwd),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True,
                          timeout=120, **more)


@pytest.fixture
def clicks(tmp_path):
    """A small log in the form of yoochoose-clicks.dat, over five days."""
    rows = ["%d,2014-04-0%dT10:%02d:09.277Z,%d,0" % (s, 1 + s % 5, k, 7 + k) for s in range(60)
            for k in range(2 + s % 3)]
    path = tmp_path / "yoochoose-clicks.dat"
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture
def main(tmp_path, capsys, monkeypatch):
    """function (words) -> (exit status, stdout, stderr) of the command in this process, which
    starts in tmp_path.
    """
    monkeypatch.chdir(tmp_path)
    log = logging.getLogger("gru4rec")
    before = log.handlers[:], log.level, log.propagate

    def start(*words):
        status = cli.main([str(word) for word in words])
        return (status,) + tuple(capsys.readouterr())
    yield start
    log.handlers[:], log.level, log.propagate = before


def test_commands_of_the_readme(tmp_path, clicks, main):
    done = command(tmp_path, "rsc15", "yoochoose-clicks.dat", "--out", "data/rsc15")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[:3] == ["dataset: rsc15",
                                            "yoochoose-clicks.dat: 180 rows, 0 bad",
                                            "read: 180 events, 60 sessions, 4 items"]
    assert sorted(os.listdir(str(tmp_path / "data" / "rsc15"))) == [
        "rsc15_summary.json", "rsc15_test.txt", "rsc15_train_full.txt", "rsc15_train_full_4.txt",
        "rsc15_train_full_64.txt", "rsc15_train_tr.txt", "rsc15_train_valid.txt"]
    (tmp_path / "log.csv").write_text("user,article,when\n" + "".join(
        "u%d,%d,%d\n" % (u, a, 1400000000 + 43200 * u + 60 * a) for u in range(10)
        for a in range(3)))
    status, stdout, stderr = main("custom", "log.csv", "--out", "data/mine", "--user_key", "user",
                                  "--item_key", "article",
                                  "--time_key", "when")
    assert (status, stderr) == (0,
                                "I gru4rec.prepare.readers: times are taken as numbers in s, "
                                "because the median size is "
                                "1.4e+09\n")
    assert "sessions by gaps of more than 3600 s: 10" in stdout


def test_errors_are_one_line_and_status_2(tmp_path, clicks, main):
    for words, problem in ((["rsc15", "nowhere.dat", "--out", "o"], "nowhere.dat: cannot be read"),
                           (["rsc15", "--out", "o"], "required: RAW"),
                           (["rees46", clicks, "--out", "o"], "column 'user_id' is missing"),
                           (["rsc15", clicks, "--out", ""], "is not a directory name"),
                           (["rsc15", clicks, "--out", "/proc/self/o"], "cannot be written"),
                           (["rsc15", clicks, "--out", clicks], "cannot be written")):
        status, stdout, stderr = main(*words)
        assert (status, stdout, len(stderr.splitlines())) == (2, "", 1), stderr
        assert problem in stderr, stderr
    assert os.listdir(str(tmp_path)) == ["yoochoose-clicks.dat"]


def test_without_duckdb_one_line_says_how_to_install_it(tmp_path, clicks, main, monkeypatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)  # as if it were not installed
    status, _, stderr = main("rsc15", clicks, "--out", "o")
    assert status == 2 and len(stderr.splitlines()) == 1
    assert 'pip install "gru4rec[prepare]"' in stderr
    assert not (tmp_path / "o").exists()
    with pytest.raises(SystemExit) as end:
        main("--help")
    assert end.value.code == 0


@pytest.mark.user
@pytest.mark.machine
def test_a_read_only_place(tmp_path, clicks, main):
    place = tmp_path / "shut"
    place.mkdir()
    place.chmod(stat.S_IRUSR | stat.S_IXUSR)
    status, _, stderr = main("rsc15", clicks, "--out", place)
    assert status == 2 and "cannot be written" in stderr and len(stderr.splitlines()) == 1


def test_a_stdout_without_room(clicks, main, monkeypatch):
    class Full(io.StringIO):
        def flush(self):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Full())
        status, _, stderr = main("rsc15", clicks, "--out", "o")
    assert status == 2 and stderr == ("error: stdout cannot be written: No space left on device; "
                                      "let the program that reads it read to the "
                                      "end, or write it to a disk with free space\n")


def test_a_file_that_grows_too_large_is_one_line_and_leaves_nothing(tmp_path, clicks, main):
    """Writing fails as on a full disk."""
    resource = pytest.importorskip("resource")
    rows = ["%d,2014-04-0%dT10:%02d:09.277Z,7,0" % (s, 1 + s % 5, k) for s in range(5000)
            for k in range(2)]
    clicks.write_text("\n".join(rows))
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ,
                                                                               signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100000, before[1]))
    try:
        status, _, stderr = main("rsc15", clicks, "--out", "o")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert status == 2 and len(stderr.splitlines()) == 1, stderr
    assert not (tmp_path / "o").exists()


@pytest.fixture
def kill():
    """function (number): this process gets the signal twice; it would not die of it."""
    before = {number: signal.signal(number, lambda *_: None)
              for number in (signal.SIGINT, signal.SIGTERM)}

    def send(number):
        for _ in range(2):
            os.kill(os.getpid(), number)
    yield send
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number,status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_a_query_and_leaves_nothing(tmp_path, clicks, main, kill, monkeypatch,
                                                   number, status):
    timer = threading.Timer(0.2, kill, [number])

    def query(engine, *_):
        timer.start()
        engine.run("SELECT sum(hash(range)) FROM range(20000000000)")  # minutes
    monkeypatch.setattr(readers, "load", query)
    start = time.perf_counter()
    assert main("rsc15", clicks, "--out", "o/p") == (status, "",
                                                     "error: interrupted; nothing was written\n")
    # it did not wait for the end of the scan
    assert not (tmp_path / "o").exists() and time.perf_counter() - start < 10


def test_a_signal_does_not_cut_the_clean_up_short(tmp_path, clicks, main, kill, monkeypatch):
    remove = shutil.rmtree
    monkeypatch.setattr(shutil, "rmtree", lambda *words,
                        **more: kill(signal.SIGTERM) or remove(*words, **more))
    status, _, stderr = main("coveo", clicks, "--out", "o/p")
    assert status == 2 and "session_id_hash" in stderr and not (tmp_path / "o").exists()


def test_the_benchmark_runs(tmp_path, repo_root):
    words = [sys.executable, os.path.join(repo_root, "benchmarks", "bench_prepare.py"), "--quick",
             "--once", "--dataset",
             "rees46", "--json", str(tmp_path / "report.json")]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["duckdb"] and found["results"]["peak_mib"]["max"] > 10
    assert found["results"]["seconds"]["min"] > 0
    assert found["results"]["summary"]["files"][0]["rows"] == found["results"]["rows"] > 2500


HOOKED = """
import atexit, os, runpy, signal, sys
number, moment = int(sys.argv[1]), sys.argv[2]

class Hook:
    def find_spec(self, name, path=None, target=None):
        if name == "gru4rec.prepare.readers" and moment == "import":
            os.kill(os.getpid(), number)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Hook())
if moment == "exit":
    atexit.register(lambda: os.kill(os.getpid(), number))
sys.argv = ["prepare"] + sys.argv[3:]
runpy.run_module("gru4rec.prepare", run_name="__main__")
"""


@pytest.mark.parametrize("number,status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("moment", ["import", "exit"])
def test_a_signal_before_or_after_the_work_is_no_traceback(tmp_path, clicks, moment, number,
                                                           status):
    """While modules are imported it is one line; once the work is done its status stands."""
    done = subprocess.run([sys.executable, "-c", HOOKED, str(int(number)), moment, "rsc15",
                           str(clicks), "--out", "out",
                           "--slices", "none"], cwd=str(tmp_path), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE,
                          universal_newlines=True)
    if moment == "import":
        assert (done.returncode, done.stderr) == (status, "error: interrupted\n")
        assert not (tmp_path / "out").exists()
    else:
        assert done.returncode == 0 and (tmp_path / "out" / "rsc15_test.txt").exists(), done.stderr


def test_what_killed_runs_left_is_removed_and_what_a_live_one_uses_is_not(tmp_path, clicks, main):
    out = tmp_path / "out"
    for name in ("dead", "unlocked", "live", "beginning"):
        (out / (".prepare-" + name)).mkdir(parents=True)
        (out / (".prepare-" + name) / "part").write_text("")
    (out / ".prepare-dead" / ".lock").write_text("1\n")
    live = locks.Lock(str(out / ".prepare-live"))
    live.acquire()
    for name in ("dead", "unlocked", "live"):
        os.utime(str(out / (".prepare-" + name)), (1, 1))
    main("rsc15", clicks, "--out", out, "--slices", "none")
    live.release()
    assert sorted(name for name in os.listdir(str(out))
                  if name.startswith(".")) == [".prepare-beginning", ".prepare-live"]
    assert (out / "rsc15_test.txt").exists()

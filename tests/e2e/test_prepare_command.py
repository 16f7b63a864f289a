"""The preparation as a command: exit status, streams, signals, and what is left behind."""

import json
import os
import signal
import stat
import subprocess
import sys
import time

import pytest

pytest.importorskip("duckdb", reason="the extra `prepare` is not installed")

from gru4rec.prepare import cli  # noqa: E402


def command(cwd, *words, **more):
    return subprocess.run([sys.executable, "-m", "gru4rec.prepare"] + [str(word) for word in words], cwd=str(cwd),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, timeout=60, **more)


@pytest.fixture
def clicks(tmp_path):
    """A small log in the form of yoochoose-clicks.dat, over five days."""
    rows = ["%d,2014-04-0%dT10:%02d:09.277Z,%d,0" % (s, 1 + s % 5, k, 7 + k) for s in range(60) for k in range(2 + s % 3)]
    path = tmp_path / "yoochoose-clicks.dat"
    path.write_text("\n".join(rows) + "\n")
    return path


def test_commands_of_the_readme(tmp_path, clicks):
    done = command(tmp_path, "rsc15", "yoochoose-clicks.dat", "--out", "data/rsc15")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[:3] == ["dataset: rsc15", "yoochoose-clicks.dat: 180 rows, 0 bad",
                                            "read: 180 events, 60 sessions, 4 items"]
    assert sorted(os.listdir(str(tmp_path / "data" / "rsc15"))) == [
        "rsc15_summary.json", "rsc15_test.txt", "rsc15_train_full.txt", "rsc15_train_full_4.txt",
        "rsc15_train_full_64.txt", "rsc15_train_tr.txt", "rsc15_train_valid.txt"]
    (tmp_path / "log.csv").write_text("user,article,when\n" + "".join(
        "u%d,%d,%d\n" % (u, a, 1400000000 + 43200 * u + 60 * a) for u in range(10) for a in range(3)))
    done = command(tmp_path, "custom", "log.csv", "--out", "data/mine", "--user_key", "user", "--item_key", "article",
                   "--time_key", "when")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ("I gru4rec.prepare.readers: times are taken as numbers in s, because the median size is 1.4e+09\n")
    assert "sessions by gaps of more than 3600 s: 10" in done.stdout


def test_errors_are_one_line_and_status_2(tmp_path, clicks, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words, problem in ((["rsc15", "nowhere.dat", "--out", "o"], "nowhere.dat: cannot be read"),
                           (["rsc15", "--out", "o"], "required: RAW"),
                           (["rees46", clicks, "--out", "o"], "column 'user_id' is missing"),
                           (["rsc15", clicks, "--out", ""], "is no directory name"),
                           (["rsc15", clicks, "--out", "/proc/self/o"], "cannot be written"),
                           (["rsc15", clicks, "--out", clicks], "cannot be written")):
        assert cli.main([str(word) for word in words]) == 2
        stdout, stderr = capsys.readouterr()
        assert stdout == "" and len(stderr.splitlines()) == 1 and problem in stderr, stderr
    assert os.listdir(str(tmp_path)) == ["yoochoose-clicks.dat"]


def test_without_duckdb_one_line_says_how_to_install_it(tmp_path, clicks, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)  # as if it were not installed
    assert cli.main(["rsc15", str(clicks), "--out", str(tmp_path / "o")]) == 2
    stderr = capsys.readouterr().err
    assert len(stderr.splitlines()) == 1 and 'pip install "gru4rec[prepare]"' in stderr and not (tmp_path / "o").exists()
    with pytest.raises(SystemExit) as end:
        cli.main(["--help"])
    assert end.value.code == 0 and "custom" in capsys.readouterr().out


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_place(tmp_path, clicks):
    place = tmp_path / "shut"
    place.mkdir()
    place.chmod(stat.S_IRUSR | stat.S_IXUSR)
    done = command(tmp_path, "rsc15", clicks, "--out", place)
    assert done.returncode == 2 and "cannot be written" in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_stdout_without_room(tmp_path, clicks):
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "gru4rec.prepare", "rsc15", str(clicks), "--out", "o"],
                              cwd=str(tmp_path), stdout=full, stderr=subprocess.PIPE, universal_newlines=True)
    assert done.returncode == 2 and done.stderr.startswith("error: stdout cannot be written")


def test_a_file_that_grows_too_large_is_one_line_and_leaves_nothing(tmp_path, clicks):
    """Writing fails as on a full disk."""
    resource = pytest.importorskip("resource")
    rows = ["%d,2014-04-0%dT10:%02d:09.277Z,7,0" % (s, 1 + s % 5, k) for s in range(5000) for k in range(2)]
    clicks.write_text("\n".join(rows))

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))
    done = command(tmp_path, "rsc15", clicks, "--out", "o", preexec_fn=limit)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert not (tmp_path / "o").exists()


QUERY = """import sys
from gru4rec.prepare import cli, readers
readers.load = lambda engine, *_: print("busy", flush=True) or engine.run("SELECT sum(hash(range)) FROM range(1000000000000)")
sys.exit(cli.main(sys.argv[1:]))"""
CLEAN_UP = """import shutil, sys, time
from gru4rec.prepare import cli
remove = shutil.rmtree
shutil.rmtree = lambda *words, **more: print("busy", flush=True) or time.sleep(0.3) or remove(*words, **more)
sys.exit(cli.main(sys.argv[1:]))"""


@pytest.mark.parametrize("program,dataset,number,status", [
    (QUERY, "rsc15", signal.SIGINT, 130), (QUERY, "yoochoose", signal.SIGTERM, 143), (CLEAN_UP, "coveo", signal.SIGTERM, 2)],
    ids=["query-INT", "query-TERM", "clean-up"])
def test_a_signal_stops_a_query_but_no_clean_up_and_leaves_nothing(tmp_path, clicks, program, dataset, number, status):
    """QUERY never ends by itself; CLEAN_UP follows an error, since the log is none of Coveo's."""
    process = subprocess.Popen([sys.executable, "-c", program, dataset, str(clicks), "--out", str(tmp_path / "o" / "p")],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    try:
        assert process.stdout.readline() == "busy\n"
        if program == QUERY:
            time.sleep(0.2)  # the query begins after the line
        process.send_signal(number)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == status and not (tmp_path / "o").exists()
    assert stderr == "error: interrupted; nothing was written\n" if program == QUERY else "session_id_hash" in stderr


def test_the_benchmark_runs(tmp_path, repo_root):
    words = [sys.executable, os.path.join(repo_root, "benchmarks", "bench_prepare.py"), "--quick", "--once", "--dataset",
             "rees46", "--json", str(tmp_path / "report.json")]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, timeout=60)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["duckdb"] and found["results"]["peak_mib"]["max"] > 10 and found["results"]["seconds"]["min"] > 0
    assert found["results"]["summary"]["files"][0]["rows"] == found["results"]["rows"] > 2500

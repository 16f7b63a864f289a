"""scripts/prepare_<dataset>.sh: the command they give to Python, and what they say without a file.
"""

import glob
import os
import subprocess

import pytest

pytestmark = pytest.mark.once

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DATASETS = sorted(os.path.basename(path)[len("prepare_"):-len(".sh")]
                  for path in glob.glob(os.path.join(ROOT, "scripts", "prepare_*.sh"))
                  if not path.endswith("_lib.sh"))


@pytest.fixture
def run(tmp_path, shell):
    """function (script, *arguments) -> finished process; Python is a stub that prints its
    arguments.
    """
    stub = tmp_path / "python stub"
    stub.write_text('#!/bin/sh\n[ "$1" != -c ] || exit 0\nprintf "[%s]" "$@"\n')
    stub.chmod(0o755)

    def start(dataset, *words):
        return subprocess.run([shell, os.path.join(ROOT, "scripts", "prepare_%s.sh" % dataset)]
                              + list(words),
                              cwd=str(tmp_path), env=dict(os.environ, PYTHON=str(stub)),
                              stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              universal_newlines=True, timeout=120)
    return start


def test_there_is_a_script_for_each_public_dataset():
    assert DATASETS == ["coveo", "diginetica", "otto", "rees46", "retailrocket", "rsc15",
                        "yoochoose"]


def test_files_of_the_directory_are_given_with_the_users_flags(tmp_path, run):
    raw = tmp_path / "my raw"
    raw.mkdir()
    (raw / "2019-Oct.csv").write_text("x")
    (raw / "2019-Nov.csv.gz").write_text("x")
    done = run("rees46", "my raw", "--out", "a b", "--gap", "60")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == ("[-m][gru4rec.prepare][rees46][--out][data/rees46][--out][a "
                           "b][--gap][60]"
                           "[my raw/2019-Oct.csv][my raw/2019-Nov.csv.gz]")


@pytest.mark.parametrize("dataset", DATASETS)
def test_without_the_raw_file_it_is_said_where_to_get_it(tmp_path, run, dataset):
    done = run(dataset, ".")
    assert done.returncode == 2 and done.stdout == "" and len(done.stderr.splitlines()) == 1
    assert "where to get it: sh scripts/prepare_%s.sh --help" % dataset in done.stderr
    text = run(dataset, "--help").stdout
    assert "https://" in text and text.splitlines()[-1].startswith("PYTHON picks the Python")


def test_no_directory(run):
    assert "nowhere is no directory" in run("otto", "nowhere").stderr
    assert run("otto").stdout == run("otto", "--help").stdout != ""

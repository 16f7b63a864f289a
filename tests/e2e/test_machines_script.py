"""scripts/test_machines.sh under dash and bash, with a stub in the place of the suite."""

import json
import os
import shutil
import stat
import subprocess
import sys

import pytest

pytestmark = pytest.mark.once

# Stands for scripts/test.sh: what it was given and where, and pytest's two traces.
SUITE = r"""
{
    pwd
    id -un
    umask
    printf 'TMPDIR=%s\n' "$TMPDIR"
    names='XLA_FLAGS|ONEDNN_MAX_CPU_ISA|TF_ENABLE_ONEDNN_OPTS|OPENBLAS_CORETYPE'
    env | grep -E "^($names|LC_ALL|TZ|HOME|PYTHON)="
    printf '[%s]\n' "$@"
} >>"$SEEN" || exit 9
for last; do :; done
cat >"${last#--junitxml=}" <<'XML'
<testsuites><testsuite name="pytest" errors="0" failures="FAILURES" skipped="2" tests="9"
                       time="60.5"/></testsuites>
XML
echo "marked tests: realdata 0 ran 1 skipped, user 4 ran 0 skipped 2 left out"
exit FAILURES
"""
# Stands for a Python with TensorFlow; a file beside it says that it cannot compile under XLA_FLAGS.
PYTHON = (
    """#!/bin/sh
case "$1 $2" in
*jit_compile*) [ ! -e "$0.cannot" ]; exit ;;
*version_info*2]*) echo 3.9 ;;
*/scripts/machines.py\\ record) exec "%s" "$@" ;;
esac
"""
    % sys.executable
)


class Checkout:
    """A copy of the scripts with a suite that only says what reached it."""

    def __init__(self, tmp_path, repo_root, failures=0):
        self.root, self.seen_file = tmp_path / "the checkout", tmp_path / "seen"
        (self.root / "scripts").mkdir(parents=True)
        (self.root / "requirements").mkdir()
        for name in ("test_machines.sh", "lib.sh"):
            shutil.copy(os.path.join(repo_root, "scripts", name), str(self.root / "scripts"))
        (self.root / "scripts" / "test.sh").write_text(SUITE.replace("FAILURES", str(failures)))
        # The recorder of the project, without the import of TensorFlow in each run.
        (self.root / "scripts" / "machines.py").write_text(
            "import runpy, sys\n"
            "sys.path.insert(0, %r)\n"
            "import record_results\n"
            "names = ('commit', 'python', 'tensorflow', 'numpy')\n"
            "record_results.versions = lambda: dict.fromkeys(names, '1.2')\n"
            "runpy.run_path(%r, run_name='__main__')\n"
            % tuple(os.path.join(repo_root, "scripts", name) for name in ("", "machines.py"))
        )
        self.python = tmp_path / "python"
        self.python.write_text(PYTHON)
        self.python.chmod(self.python.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
        self.results = tmp_path / "results.jsonl"

    def run(self, shell, *words, **env):
        """subprocess.CompletedProcess; without the settings of the machine that runs this test."""
        names = (
            "XLA_FLAGS",
            "ONEDNN_MAX_CPU_ISA",
            "TF_ENABLE_ONEDNN_OPTS",
            "OPENBLAS_CORETYPE",
            "LC_ALL",
            "TZ",
        )
        environment = {name: value for name, value in os.environ.items() if name not in names}
        environment.update(PYTHON=str(self.python), SEEN=str(self.seen_file), **env)
        script = str(self.root / "scripts" / "test_machines.sh")
        results = ["--results", str(self.results)] if self.results else []
        return subprocess.run(
            [shell, script] + results + list(words),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
            timeout=300,
        )

    def seen(self):
        return self.seen_file.read_text(encoding="utf-8").splitlines()

    def rows(self):
        return [json.loads(line) for line in self.results.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def checkout(tmp_path, repo_root):
    return Checkout(tmp_path, repo_root)


def test_settings_of_a_row_reach_the_suite_and_the_run_is_written_down(checkout, shell):
    done = checkout.run(
        shell,
        "onednn-sse41+onednn-0+locale-c+timezone+umask",
        "--",
        "-m",
        "a b",
        XLA_FLAGS="--mine",
    )
    assert done.returncode == 0, done.stderr
    seen = checkout.seen()
    assert seen[0] == str(checkout.root) and seen[2].endswith("077")
    assert {
        "XLA_FLAGS=--mine",
        "ONEDNN_MAX_CPU_ISA=SSE41",
        "TF_ENABLE_ONEDNN_OPTS=0",
        "LC_ALL=C",
        "TZ=America/St_Johns",
        "[-m]",
        "[a b]",
        "PYTHON=%s" % checkout.python,
    } <= set(seen)
    (row,) = checkout.rows()
    assert (
        row["row"] == "onednn-sse41+onednn-0+locale-c+timezone+umask" and row["tests"] == "-m a b"
    )
    assert [row[name] for name in ("passed", "failed", "skipped", "seconds")] == [7, 0, 2, 60.5]
    assert (
        row["marked"] == {"realdata": 0, "user": 4}
        and row["cores"] >= 1
        and row["tensorflow"]
        and row["processor"]
    )
    assert "TF_ENABLE_ONEDNN_OPTS=0; LC_ALL=C" in row["settings"]


def test_a_python_without_tensorflow_has_the_environment_of_the_suite_beside_it(checkout, shell):
    there = checkout.root / ".venv-test-3.9" / "bin"
    there.mkdir(parents=True)
    shutil.copy(str(checkout.python), str(there / "python"))
    bare = PYTHON.replace("case", """case "$*" in *" tensorflow "*) exit 3 ;; esac\ncase""", 1)
    checkout.python.write_text(bare)
    done = checkout.run(shell, "timezone")
    assert done.returncode == 0, done.stderr
    assert "PYTHON=%s" % (there / "python") in checkout.seen()


def test_the_table_follows_each_run_that_is_written_down_beside_it(checkout, shell):
    (checkout.root / "scripts" / "machines.py").write_text(
        "import os, sys\nopen(os.environ['SEEN'], 'a').write(' '.join(sys.argv[1:3]) + '\\n')\n"
    )
    checkout.python.write_text(PYTHON.replace("\\ record)", "*)"))
    checkout.results = None
    done = checkout.run(shell, "timezone", "umask")
    assert done.returncode == 0, done.stderr
    results = checkout.root / "docs" / "results" / "machines.jsonl"
    seen = [line for line in checkout.seen() if line.startswith(("record", "table"))]
    assert seen == ["record %s" % results, "table"] * 2


def test_flags_of_xla_are_added_to_those_of_the_user(checkout, shell):
    done = checkout.run(shell, "sse4_2", XLA_FLAGS="--mine")
    if "has no sse4_2" in done.stderr:
        pytest.skip("this processor has no sse4_2")
    assert "XLA_FLAGS=--mine --xla_cpu_max_isa=SSE4_2" in checkout.seen()


def test_what_cannot_be_had_is_left_out_with_its_reason(checkout, shell):
    (checkout.root.parent / "python.cannot").write_text("")
    done = checkout.run(shell, "sse4_2+onednn-1", "sse4_2", "py2.9")
    assert done.returncode == 0, done.stderr
    assert (
        "without sse4_2: this " in done.stderr and "SKIPPED sse4_2: nothing of it" in done.stderr
    )
    assert "SKIPPED py2.9: no Python 2.9 here" in done.stderr
    assert "TF_ENABLE_ONEDNN_OPTS=1" in checkout.seen() and not [
        line for line in checkout.seen() if "XLA" in line
    ]
    assert done.stderr.splitlines()[-3:] == [
        "sse4_2+onednn-1: passed",
        "sse4_2: skipped",
        "py2.9: skipped",
    ]


def test_a_run_that_fails_is_written_down_and_is_the_status_of_all(tmp_path, repo_root, shell):
    checkout = Checkout(tmp_path, repo_root, failures=1)
    done = checkout.run(shell, "timezone", "no-home")
    assert done.returncode == 1 and done.stderr.splitlines()[-2:] == [
        "timezone: FAILED",
        "no-home: FAILED",
    ]
    assert [(row["row"], row["failed"]) for row in checkout.rows()] == [
        ("timezone", 1),
        ("no-home", 1),
    ]


def test_a_path_with_spaces_and_other_letters_holds_a_copy_and_the_temporary_files(
    checkout, shell
):
    done = checkout.run(shell, "path")
    assert checkout.seen(), done.stderr
    place = checkout.seen()[0]
    assert " " in place and "é" in place and place != str(checkout.root)
    assert [
        line
        for line in checkout.seen()
        if line.startswith("TMPDIR=") and " " in line and "é" in line
    ]
    assert not os.path.exists(place)  # nothing is left behind


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user"
)
def test_root_becomes_another_user_in_a_copy(checkout, shell):
    for directory in [checkout.root.parent] + list(checkout.root.parent.parents)[:-2]:
        os.chmod(str(directory), 0o755)
    checkout.seen_file.touch()
    checkout.seen_file.chmod(0o666)
    done = checkout.run(shell, "user")
    if "without user: " in done.stderr:
        pytest.skip(done.stderr.splitlines()[0])
    assert checkout.seen()[1] == "nobody" and checkout.seen()[0] != str(checkout.root), done.stderr


@pytest.mark.parametrize(
    "words, said",
    [
        (["no_such_row"], "no row no_such_row"),
        (["haswell+zen"], "exclude each other"),
        (["py3.9-tf0.1"], "no requirements/tf-0.1"),
        (["--wrong"], "--wrong"),
        (["--results"], "--results needs a file"),
    ],
)
def test_what_is_wrong_is_one_line_and_status_2(checkout, shell, words, said):
    done = checkout.run(shell, *words)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and said in done.stderr
    assert not checkout.seen_file.exists()


def test_every_setting_and_version_is_in_the_plan_pairwise(checkout, shell):
    lines = [line.split(None, 1) for line in checkout.run(shell, "--list").stdout.splitlines()]
    names = {name for name, _ in lines} - {"pairwise", "short"}
    planned = [set(text.split("+")) for name, text in lines if name == "pairwise"]
    assert len(names) > 20 and set().union(*planned) == names
    for version in (name for name in names if name.startswith("py")):
        assert sum(version in row for row in planned) == 1
    short = [text for name, text in lines if name == "short"]
    assert (
        len(short) == 1
        and "user" in short[0].split("+")
        and set("+".join(short).split("+")) < names
    )

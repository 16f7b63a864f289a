"""The console script: what it lists, what it refuses, and that a subcommand is its module."""

import importlib.util
import os
import re
import subprocess
import sys

import pytest

import gru4rec
from gru4rec import cli
from gru4rec.command import invocation
from gru4rec.errors import ConfigError

# The packages whose absence the listing must not notice.
BLOCKED = "import sys\nfor name in ('numpy', 'pandas', 'tensorflow'): sys.modules[name] = None\n"
AS_SCRIPT = ("import sys\nsys.argv[0] = '/usr/bin/gru4rec'\nfrom gru4rec.cli import main\n"
             "sys.exit(main())\n")


def run(code, *argv, **env):
    return subprocess.run([sys.executable, "-c", code] + list(argv), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True,
                          env=dict(os.environ, **env))


def script(*argv, **env):
    return run(AS_SCRIPT, *argv, **env)


def error(*argv):
    """The one line of stderr of a command line that must be refused."""
    done = script(*argv)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    return done.stderr


def test_help_and_version_need_nothing_installed():
    done = run(BLOCKED + AS_SCRIPT, "--help")
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^  (\w+) +\S", done.stdout, re.MULTILINE) == list(cli.SUBCOMMANDS)
    assert max(map(len, done.stdout.splitlines())) <= 80
    done = run(BLOCKED + AS_SCRIPT, "--version")
    assert (done.returncode, done.stdout) == (0, "gru4rec %s\n" % gru4rec.__version__)


def test_python_m_gru4rec_is_the_same_command():
    done = subprocess.run([sys.executable, "-m", "gru4rec", "--help"], stdout=subprocess.PIPE,
                          universal_newlines=True)
    assert done.stdout == cli.usage("python -m gru4rec") + "\n" and done.returncode == 0


@pytest.mark.parametrize("name", sorted(cli.SUBCOMMANDS))
def test_every_subcommand_is_a_module_that_runs(name):
    module = cli.SUBCOMMANDS[name][0]
    spec = importlib.util.find_spec(module)
    assert spec.submodule_search_locations is None or importlib.util.find_spec(module + ".__main__")


@pytest.mark.parametrize("argv,words", [
    (["trian"], ["unknown subcommand 'trian'", "did you mean train?", "gru4rec --help"]),
    (["import-ckpt"], ["did you mean import_ckpt?"]),
    (["Train"], ["did you mean train?"]),
    (["xyzzy"], ["unknown subcommand 'xyzzy'; gru4rec --help"]),
    ([], ["a subcommand is missing"]),
    (["--epoch", "1"], ["--epoch comes after a subcommand, such as gru4rec train"]),
    (["train", "--train", "0"], ["--train 0 contradicts gru4rec train", "gru4rec evaluate"]),
    (["evaluate", "--cut_off", "5", "--train=1"],
     ["--train 1 contradicts gru4rec evaluate", "gru4rec train"]),
    (["train", "--train", "7"], ["--train", "7", "use one of: 0, 1"]),
    (["train", "--epochs", "1"], ["--epochs", "see gru4rec train --help"]),
    (["prepare"], ["see gru4rec prepare --help"]),
    (["import_ckpt"], ["--old is missing (see gru4rec import_ckpt --help)"]),
])
def test_what_cannot_be_is_refused_in_one_line(argv, words):
    line = error(*argv)
    for word in words:
        assert word in line


def test_train_and_evaluate_are_main_with_its_flag():
    for argv, flags in ((["train", "--epoch", "1"], ["--train", "1", "--epoch", "1"]),
                        (["evaluate", "--train", "0"], ["--train", "0", "--train", "0"]),
                        (["train", "--train=1"], ["--train", "1", "--train=1"])):
        assert cli.find("gru4rec", argv) == ("gru4rec.main", flags)
    with pytest.raises(ConfigError):
        cli.find("gru4rec", ["train", "--train", "1", "--train", "0"])


@pytest.mark.parametrize("name,argv", [
    ("train", ["A", "B"]), ("compare", ["A.parquet", "B.parquet"]), ("prepare", [])])
def test_help_of_a_subcommand_is_under_the_name_that_was_typed(name, argv):
    done = script(name, "--help")
    assert done.returncode == 0, done.stderr
    shown = " ".join(done.stdout.split())
    assert shown.startswith("usage: gru4rec %s "
                            % " ".join([name] + argv[:2 * (name == "compare")]))
    assert "python -m" not in shown
    done = script(name, "--version")
    assert (done.returncode, done.stdout) == (0, "gru4rec %s\n" % gru4rec.__version__)


def test_the_same_module_without_the_script_keeps_its_name():
    done = subprocess.run([sys.executable, "-m", "gru4rec.compare", "--help"],
                          stdout=subprocess.PIPE, universal_newlines=True)
    assert done.stdout.startswith("usage: python -m gru4rec.compare A.parquet B.parquet")


def test_only_the_subcommand_that_was_chosen_is_imported(tmp_path):
    """And it gets what `python -m` gives it: numpy with one thread, set before numpy is there."""
    show = ("import atexit, os, sys\n"
            "names = 'gru4rec.config', 'gru4rec.recommend.cli', 'gru4rec.prepare.cli'\n"
            "atexit.register(lambda: print(sorted(name for name in sys.modules if name in names),"
            " os.environ.get('OMP_NUM_THREADS')))\n")
    left = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run([sys.executable, "-c", show + AS_SCRIPT, "recommend", "--items", "1",
                           "--checkpoint_dir", str(tmp_path)], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True, env=left)
    assert done.returncode == 2 and str(tmp_path) in done.stderr
    assert "'gru4rec.recommend.cli'" in done.stdout and "prepare" not in done.stdout
    assert done.stdout.endswith(" 1\n")


def test_how_to_go_on_names_what_was_typed(monkeypatch):
    monkeypatch.setattr(invocation, "_typed", None)
    assert invocation.name("python -m gru4rec.main") == "python -m gru4rec.main"
    assert invocation.see_help() == "see --help"
    invocation.started_as("gru4rec train")
    assert invocation.name("python -m gru4rec.main") == "gru4rec train"
    assert invocation.name("python -m gru4rec.compare A B") == "gru4rec train A B"

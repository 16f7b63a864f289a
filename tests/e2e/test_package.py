"""A wheel made from the checkout holds what the commands need; scripts/check_package.sh uses one
for real.
"""

import os
import shutil
import subprocess
import sys
import zipfile

import pytest

pytestmark = pytest.mark.once

setuptools = pytest.importorskip("setuptools", reason="setuptools is not installed")
pytest.importorskip("wheel", reason="wheel is not installed")


@pytest.mark.slow
@pytest.mark.skipif(int(setuptools.__version__.split(".")[0]) < 61,
                    reason="setuptools is older than 61")
def test_the_wheel_holds_all_that_runs(repo_root, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(os.path.join(repo_root, "gru4rec"), str(source / "gru4rec"),
                    ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(os.path.join(repo_root, name), str(source))
    done = subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-index",
                           "--no-build-isolation",
                           "-w", str(tmp_path), str(source)], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT,
                          universal_newlines=True)
    assert done.returncode == 0, done.stdout
    path, = tmp_path.glob("*.whl")
    with zipfile.ZipFile(str(path)) as wheel:
        held = set(wheel.namelist())
        info = "gru4rec-" + path.name.split("-")[1] + ".dist-info/"
        metadata = wheel.read(info + "METADATA").decode("utf-8")
        assert "gru4rec = gru4rec.cli:main" in wheel.read(info + "entry_points.txt").decode("utf-8")
    ours = {os.path.relpath(os.path.join(directory, name), str(source)).replace(os.sep, "/")
            for directory, _, names in os.walk(str(source / "gru4rec")) for name in names}
    assert {"gru4rec/py.typed", "gru4rec/data/sample/sample_train.tsv.gz",
            "gru4rec/config/presets/fast.json"} <= ours
    assert {name for name in held if not name.startswith(info)} == ours
    for line in ("License: Apache-2.0", "Requires-Python: >=3.7", "Provides-Extra: cpu",
                 "Classifier: Typing :: Typed",
                 "Project-URL: Paper (GRU4Rec), https://arxiv.org/abs/1511.06939"):
        assert line + "\n" in metadata
    assert "# gru4rec\n" in metadata


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_the_script_refuses_what_it_does_not_know(shell, repo_root):
    if shutil.which(shell) is None:
        pytest.skip("no %s on this machine" % shell)
    script = os.path.join(repo_root, "scripts", "check_package.sh")
    done = subprocess.run([shell, script, "--fulll"], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE,
                          universal_newlines=True)
    assert done.returncode == 2 and "--fulll" in done.stderr and done.stderr.count("\n") == 1
    done = subprocess.run([shell, script, "--help"], stdout=subprocess.PIPE,
                          universal_newlines=True)
    assert done.returncode == 0 and "sh scripts/check_package.sh [--full]" in done.stdout

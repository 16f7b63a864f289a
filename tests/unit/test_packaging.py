"""What pyproject.toml, the sample, the workflow file and the typed API promise."""

import configparser
import importlib.util
import os
import re
import subprocess
import sys

import pytest

import gru4rec
from gru4rec.data import sample
from gru4rec.errors import InputError


def _text(*parts):
    with open(os.path.join(*parts), encoding="utf-8") as file:
        return file.read()


def _project(root):
    tomllib = pytest.importorskip("tomllib", reason="tomllib is new in Python 3.11")
    return tomllib.loads(_text(root, "pyproject.toml"))


def test_the_sample_is_part_of_the_package():
    package = os.path.dirname(os.path.abspath(gru4rec.__file__))
    for part in ("train", "test"):
        assert os.path.getsize(sample.path(part)) > 10 ** 5
        assert sample.path(part).startswith(package + os.sep)


def test_a_sample_that_is_not_there_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(sample, "_HERE", str(tmp_path))
    with pytest.raises(InputError, match="sample_train.tsv.gz is not installed; give --train_path"):
        sample.path("train")


def test_the_version_is_in_one_place_and_has_its_changelog(repo_root):
    assert re.match(r"\d+\.\d+\.\d+\Z", gru4rec.__version__)
    for name in ("pyproject.toml", "setup.py"):
        assert gru4rec.__version__ not in _text(repo_root, name)
    headings = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$",
                          _text(repo_root, "CHANGELOG.md"), re.MULTILINE)
    assert headings[0] == ("Unreleased", "")
    assert headings[1][0] == gru4rec.__version__ and headings[1][1]


def test_the_console_script_is_there(repo_root):
    module, function = _project(repo_root)["project"]["scripts"]["gru4rec"].split(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_the_extra_test_holds_the_extras_that_its_tests_need(repo_root):
    extras = _project(repo_root)["project"]["optional-dependencies"]
    wanted = set(extras["serve"] + extras["prepare"] + extras["parquet"] + extras["search"])
    assert wanted and not wanted - set(extras["test"])
    without_markers = {line.split(";")[0].strip() for line in extras["test"]}
    assert {line.split(";")[0].strip() for line in extras["onnx"]} <= without_markers


def test_every_data_file_of_the_package_is_shipped(repo_root):
    patterns = _project(repo_root)["tool"]["setuptools"]["package-data"]["*"]
    endings = tuple(pattern.lstrip("*") for pattern in patterns)
    found = []
    for directory, _, names in os.walk(os.path.join(repo_root, "gru4rec")):
        found += [name for name in names if not name.endswith((".py", ".pyc"))
                  and "__pycache__" not in directory]
    assert "py.typed" in found and len(found) > 10
    assert [name for name in found if not name.endswith(endings)] == []


def _steps(workflow):
    """Lines `uses:` of a workflow: (action, what it is pinned by, the comment)."""
    return re.findall(r"^ +(?:- )?uses: ([\w./-]+)@(\S+)(?: # (v[\d.]+))?$", workflow, re.MULTILINE)


def test_the_workflow_asks_for_little_and_pins_its_actions(repo_root):
    text = _text(repo_root, ".github", "workflows", "ci.yml")
    steps = _steps(text)
    assert len(steps) == text.count("uses:") >= 7
    for action, commit, version in steps:
        assert re.match(r"[0-9a-f]{40}\Z", commit) and version, action
    assert len({(action, commit) for action, commit,
                _ in steps}) == len({action for action, _, _ in steps})
    assert re.findall(r"^( *)permissions:\n +(.+)$", text, re.MULTILINE) == [("", "contents: read")]
    assert "secrets" not in text and "cancel-in-progress: true" in text
    jobs = text.split("\njobs:\n")[1]
    names = re.findall(r"^  ([\w-]+):$", jobs, re.MULTILINE)
    assert names == ["tests", "tensorflow-1", "package", "docs"]
    assert len(re.findall(r"^    timeout-minutes: \d+$", jobs, re.MULTILINE)) == len(names)
    assert jobs.count("persist-credentials: false") == jobs.count("actions/checkout@")
    for script in re.findall(r"run: sh (\S+)", jobs):
        assert os.path.exists(os.path.join(repo_root, script))
    assert "Unrun" in text.split("\nname:")[0]


def test_the_workflow_has_a_row_for_each_supported_python(repo_root):
    text = _text(repo_root, ".github", "workflows", "ci.yml")
    rows = set(re.findall(r'- python: "([\d.]+)"',
                          text)) | set(re.findall(r"container: python:([\d.]+)", text))
    claimed = re.findall(r"Python :: (3\.\d+)\"", _text(repo_root, "pyproject.toml"))
    # installs and runs, but is not a row: no test environment has it
    assert rows == set(claimed) - {"3.8"}


def test_the_workflow_is_yaml(repo_root):
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    found = yaml.safe_load(_text(repo_root, ".github", "workflows", "ci.yml"))
    assert sorted(found["jobs"]) == ["docs", "package", "tensorflow-1", "tests"]
    for job in found["jobs"].values():
        assert all(("uses" in step) != ("run" in step) for step in job["steps"])


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("mypy") is None,
                    reason="mypy is not installed (extra test, Python 3.9)")
@pytest.mark.skipif(importlib.util.find_spec("numpy.typing") is None,
                    reason="this numpy has no types")
def test_a_typed_program_can_use_the_api(repo_root, tmp_path):
    settings = configparser.ConfigParser()
    settings["mypy"] = {"strict": "true", "cache_dir": str(tmp_path / "cache")}
    # as of an installed package: its types, not its errors
    settings["mypy-gru4rec.*"] = {"follow_imports": "silent"}
    with open(str(tmp_path / "mypy.ini"), "w") as file:
        settings.write(file)
    done = subprocess.run([sys.executable, "-m", "mypy", "--config-file",
                           str(tmp_path / "mypy.ini"),
                           os.path.join(repo_root, "tests", "typing", "consumer.py")],
                          cwd=str(tmp_path),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True,
                          env=dict(os.environ, MYPYPATH=repo_root))
    assert done.returncode == 0, done.stdout

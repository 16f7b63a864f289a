"""README and docs say what the program does."""

import glob
import json
import os
import re

from gru4rec import config


def _text(root, *parts):
    with open(os.path.join(root, *parts), encoding="utf-8") as file:
        return file.read()


# Command of the README -> the test file that runs it and a piece of text that shows it does.
RUN_BY = {
    "sh run_gpu.sh": ("tests/e2e/test_scripts.py", "run_gpu.sh"),
    "sh run_npu_1p.sh": ("tests/e2e/test_scripts.py", "run_npu_1p.sh"),
    "sh scripts/test.sh": (".ci/run", "scripts/test.sh"),
    'pip install -e ".[cpu]"': ("scripts/lib.sh", "pip install"),
    "python -m gru4rec.main --train 1": ("tests/e2e/test_main.py", "test_bare_defaults_on_the_bundled_sample"),
    "python -m gru4rec.main --train 0": ("tests/e2e/test_main.py", "test_bare_defaults_on_the_bundled_sample"),
    "python -m gru4rec.main --train_path clicks.tsv --test_path next_day.tsv --checkpoint_dir runs/a":
        ("tests/e2e/test_main.py", "test_own_files_in_another_directory"),
    "python -m gru4rec.main --train 0 --checkpoint_dir runs/a --cut_off 5,10,20":
        ("tests/e2e/test_main.py", "test_own_files_in_another_directory"),
}


def _commands(readme):
    lines = [line[4:] for line in readme.splitlines() if line.startswith("    ")]
    return [line.split("  #")[0].strip() for line in lines if re.match(r"(python|sh|pip) ", line)]


def test_every_command_of_the_readme_is_run_by_a_test(repo_root):
    commands = _commands(_text(repo_root, "README.md"))
    assert len(commands) >= 7
    for command in commands:
        path, proof = RUN_BY[command]
        assert proof in _text(repo_root, path), command


def test_the_table_of_flags_is_the_generated_one(repo_root):
    assert config.flags_markdown() in _text(repo_root, "README.md")


def test_the_first_screen_fits_and_names_the_licence(repo_root):
    first = _text(repo_root, "README.md").split("\n## ")[0]
    assert len(first.splitlines()) <= 40
    assert "Apache-2.0" in first


def test_metrics_of_readme_and_results_come_from_results_files(repo_root):
    measured = set()
    for path in glob.glob(os.path.join(repo_root, "docs", "results", "*.json")):
        rows = json.loads(_text(path)).get("rows") or {}
        for row in rows.get("eval", []):
            measured.update("%.4f" % value for key, value in row.items() if "@" in key)
    assert measured
    best = {"0.8670", "0.6650"}  # data/README.md, checked by tests/unit/test_synthetic.py
    for name in ("README.md", os.path.join("docs", "results.md")):
        quoted = set(re.findall(r"\b0\.\d{4}\b", _text(repo_root, name)))
        assert quoted and quoted <= measured | best, name


def test_links_lead_to_files(repo_root):
    for target in re.findall(r"\]\(([^)]+)\)", _text(repo_root, "README.md")):
        assert target.startswith("https://arxiv.org/") or os.path.exists(os.path.join(repo_root, target)), target

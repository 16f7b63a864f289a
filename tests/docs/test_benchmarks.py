"""The benchmark runs: tiny sizes, every variant this TensorFlow has, a report with all that a reader needs."""

import json
import os
import subprocess
import sys

import pytest


@pytest.mark.tf
def test_bench_train_runs_and_reports(repo_root, tmp_path):
    out = tmp_path / "report.json"
    subprocess.run([sys.executable, os.path.join(repo_root, "benchmarks", "bench_train.py"), "--quick", "--variants",
                    "original,plain,loop,products", "--json", str(out)], check=True, cwd=str(tmp_path),
                   stdout=subprocess.DEVNULL)
    text = out.read_text()
    report = json.loads(text)
    assert {"command", "commit", "hardware", "versions", "results"} <= set(report)
    for variant in ("original", "plain", "loop", "products"):
        assert '"%s"' % variant in text

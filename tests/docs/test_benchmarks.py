"""Every benchmark runs with tiny sizes and writes a report that says where its numbers come from."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.tf

KEYS = {"benchmark", "command", "config", "commit", "date", "hardware", "versions", "environment", "results"}


def run(script, path, repo_root, *flags):
    """The JSON report of `script --quick`."""
    words = [sys.executable, os.path.join(repo_root, "benchmarks", script), "--quick", "--json", str(path)]
    done = subprocess.run(words + list(flags), stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    assert done.returncode == 0, done.stderr[-2000:]
    with open(str(path), encoding="utf-8") as source:
        report = json.load(source)
    assert KEYS <= set(report)
    assert report["benchmark"] == script and "benchmarks/%s --quick" % script in report["command"]
    assert report["hardware"]["cores"] >= 1 and {"python", "numpy"} <= set(report["versions"])
    return report


def assert_summary(row):
    assert set(row) == {"median", "min", "max", "raw"} and 0 < row["min"] <= row["median"] <= row["max"]


def test_train_times_variants_and_another_interpreter_side_by_side(tmp_path, repo_root):
    report = run("bench_train.py", tmp_path / "train.json", repo_root, "--variants", "original,lazy1,loop,products",
                 "--plot", str(tmp_path / "plot.png"), "--other_python", sys.executable)
    (point,) = report["results"]
    assert set(point["ms_per_step"]) == {"original", "lazy1", "loop", "products", "other_original", "other_loop"}
    for row in point["ms_per_step"].values():
        assert_summary(row)
    assert {"factor optimizer", "factor loop", "loop/products", "original/loop",
            "other_original/other_loop"} <= set(point["ratios"])
    assert point["events_per_s"]["loop"] > 0 and "tensorflow" in report["versions"] and point["other_tensorflow"]


def test_eval_is_compared_with_the_bare_product(tmp_path, repo_root):
    results = run("bench_eval.py", tmp_path / "eval.json", repo_root)["results"]
    for name in ("evaluator", "gemm"):
        assert_summary(results["seconds"][name])
    assert results["targets"] == 2000 and set(results["ratios"]) == {"evaluator/gemm"}


def test_load_measures_each_case_in_its_own_process(tmp_path, repo_root):
    results = run("bench_load.py", tmp_path / "load.json", repo_root, "--cases", "load,schedule,import")["results"]
    for name in ("load", "schedule", "import"):
        assert_summary(results[name]["seconds"])
    assert results["load"]["rows_per_s"] > 0 and results["schedule"]["peak_mib"]["median"] > 0


def test_too_few_repeats_are_refused(repo_root):
    done = subprocess.run([sys.executable, os.path.join(repo_root, "benchmarks", "bench_eval.py"), "--repeats", "2"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    assert done.returncode != 0 and "--repeats 2 is too few" in done.stderr

"""Every benchmark runs with tiny sizes; its report says where the numbers come from."""

import importlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest

pytestmark = [pytest.mark.tf, pytest.mark.once]

KEYS = {"benchmark", "command", "config", "commit", "date", "hardware", "versions", "environment",
        "results"}


def run(script, path, repo_root, *flags):
    """The JSON report of `script --quick`."""
    words = [sys.executable, os.path.join(repo_root, "benchmarks", script), "--quick", "--json",
             str(path)]
    done = subprocess.run(words + list(flags), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True)
    assert done.returncode == 0, done.stderr[-2000:]
    with open(str(path), encoding="utf-8") as source:
        report = json.load(source)
    assert KEYS <= set(report)
    assert report["benchmark"] == script and "benchmarks/%s --quick" % script in report["command"]
    assert report["hardware"]["cores"] >= 1 and {"python", "numpy"} <= set(report["versions"])
    return report


def assert_summary(row):
    assert set(row) == {"median", "min", "max", "raw"}
    assert 0 < row["min"] <= row["median"] <= row["max"]


@pytest.mark.release
def test_train_times_variants_and_another_interpreter_side_by_side(tmp_path, repo_root):
    report = run("bench_train.py", tmp_path / "train.json", repo_root, "--variants",
                 "original,lazy1,loop,products,products_loop", "--other_python", sys.executable)
    (point,) = report["results"]
    assert set(point["ms_per_step"]) == {"original", "lazy1", "loop", "products", "products_loop",
                                         "other_original", "other_loop", "other_products_loop"}
    for row in point["ms_per_step"].values():
        assert_summary(row)
    assert {"factor optimizer", "factor loop", "loop/products", "original/loop",
            "loop/products_loop", "other_original/other_loop",
            "other_loop/other_products_loop"} <= set(point["ratios"])
    assert set(point["events_per_s"]) == {"original", "lazy1", "loop", "other_original",
                                          "other_loop"}
    assert "tensorflow" in report["versions"] and point["other_tensorflow"]


@pytest.mark.release
def test_the_profile_leaves_out_each_part_that_the_flags_have(tmp_path, repo_root):
    drawn = ["--preset", "rsc15-gru", "--n_sample", "40"]
    for flags, own in (([], {"no catch-up"}), (drawn, {"no draw"})):
        results = run("profile_step.py", tmp_path / "profile.json", repo_root, "--", "--xla", "off",
                      *flags)["results"]
        assert set(results["ms_per_step"]) == {"step", "no dropout", "no loss", "no row updates",
                                               "no dense updates", "no duplicates", "products",
                                               "products_loop"} | own
        for row in results["ms_per_step"].values():
            assert_summary(row)
        assert set(results["ratios"]) == {"products", "products_loop"}


@pytest.mark.release
def test_a_preset_is_timed_and_judged(tmp_path, repo_root):
    results = run("bench_preset.py", tmp_path / "preset.json", repo_root)["results"]
    assert set(results) == {"seconds", "recall@20", "mrr@20"}
    for row in results.values():
        assert_summary(row)


def _benchmark(repo_root, name):
    directory = os.path.join(repo_root, "benchmarks")
    if directory not in sys.path:
        sys.path.append(directory)
    return importlib.import_module(name)


@pytest.mark.parametrize("compiled", [False, True])
def test_products_in_a_loop_are_all_made_in_every_round(repo_root, compiled):
    bench, device = _benchmark(repo_root, "bench_train"), pytest.importorskip("tests.helpers").cpu()
    if compiled and not device.xla:
        pytest.skip("this TensorFlow cannot compile a loop")
    made = bench.GraphProducts(3, 2, 0, device, compiled)
    numbers, rows = np.random.RandomState(0), []
    for shape in bench.shapes_of_products(3, 2):
        b = bench.normal(numbers, *shape[1:])
        rows.append([bench.normal(numbers, *shape[:2]), b / np.linalg.norm(b, 2),
                     bench.normal(numbers, *shape[::2])])
    for _ in range(5):
        rows = [[g @ b.T, b, a @ b, a.T @ g] for a, b, g, *_ in rows]
    expected = sum(a.sum() + g.sum() + d.sum() for a, _, g, d in rows)
    assert made.run(5) == pytest.approx(expected, rel=1e-4)
    made.close()


def _point(items, ms, **sizes):
    return dict(dict(batch_size=50, size=100), items=items, ms_per_step={
        name: {"median": value, "min": value / 2, "max": value * 2} for name, value in ms.items()},
                **sizes)


def test_the_catalogue_is_compared_with_the_base(repo_root):
    bench = _benchmark(repo_root, "bench_train")
    rows = [_point(17376, {"loop": 2.0, "plain": 9.0}), _point(1000000, {"loop": 3.0}),
            dict(_point(1000000, {"loop": 8.0}), size=512)]
    assert bench.catalogue_ratios(rows) == {"1000000": {"loop": {"median": 1.5, "best": 1.5}}}
    assert bench.catalogue_ratios(rows[1:]) == {}


def test_the_plot_has_a_line_for_each_variant_and_tensorflow(tmp_path, repo_root):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    plot, paths = _benchmark(repo_root, "plot_train"), []
    for version in ("1.15.5", "2.21.0"):
        rows = [_point(items, {"loop": 2.0, "products": 1.0}) for items in (1000000, 10000)]
        paths.append(tmp_path / (version + ".json"))
        paths[-1].write_text(json.dumps({"versions": {"tensorflow": version}, "results": rows}))
    found = plot.points([str(path) for path in paths])
    assert {label: [items for items, _ in rows] for label, rows in found.items()} == dict.fromkeys(
        ("loop, TensorFlow 1.15.5", "loop, TensorFlow 2.21.0", "products, numpy"), [10000, 1000000])
    plot.draw(found, ["loop"], str(tmp_path / "plot.svg"))
    text = (tmp_path / "plot.svg").read_text()
    assert text.count("loop, TensorFlow") == 2 and "products, numpy" not in text


@pytest.mark.release
def test_eval_is_compared_with_the_bare_product(tmp_path, repo_root):
    results = run("bench_eval.py", tmp_path / "eval.json", repo_root)["results"]
    for name in ("evaluator", "gemm"):
        assert_summary(results["seconds"][name])
    assert results["targets"] == 2000 and set(results["ratios"]) == {"evaluator/gemm"}


def test_load_measures_each_case_in_its_own_process(tmp_path, repo_root):
    results = run("bench_load.py", tmp_path / "load.json", repo_root)["results"]
    for name in ("load", "schedule"):
        assert_summary(results[name]["seconds"])
    assert results["load"]["rows_per_s"] > 0 and results["schedule"]["peak_mib"]["median"] > 0


@pytest.mark.release
def test_startup_is_measured_beside_the_import(tmp_path, repo_root):
    results = run("bench_startup.py", tmp_path / "startup.json", repo_root, "--cases",
                  "import,graph")["results"]
    for name in ("import", "graph"):
        assert_summary(results["seconds"][name])
    assert results["beyond_import"]["graph"]["median"] == (results["seconds"]["graph"]["median"]
                                                           - results["seconds"]["import"]["median"])


@pytest.mark.release
@pytest.mark.once
def test_onednn_is_timed_and_its_results_compared(tmp_path, repo_root):
    cases = ["train_xla_off", "evaluate"]
    found = run("bench_onednn.py", tmp_path / "onednn.json", repo_root, "--cases", ",".join(cases))
    assert set(found["results"]) == set(cases)
    for row in found["results"].values():
        assert_summary(row["off/on"])
        assert row["results"]["compared"] > 0
        assert row["results"]["different"] <= row["results"]["compared"]


@pytest.mark.parametrize("script, flag", [("bench_train.py", "--variants"),
                                          ("bench_load.py", "--cases")])
def test_an_unknown_variant_or_case_is_refused_with_the_known_ones(repo_root, script, flag):
    done = subprocess.run([sys.executable, os.path.join(repo_root, "benchmarks", script), flag,
                           "loop,lop"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True)
    assert done.returncode == 2 and "%s: unknown " % flag in done.stderr
    assert "lop" in done.stderr and "; use: " in done.stderr


def test_too_few_repeats_are_refused(repo_root):
    script = os.path.join(repo_root, "benchmarks", "bench_eval.py")
    done = subprocess.run([sys.executable, script, "--repeats", "2"], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True)
    assert done.returncode != 0 and "--repeats 2 is too few" in done.stderr


def test_recommending_is_timed_with_and_without_files(tmp_path, repo_root):
    pytest.importorskip("pyarrow")
    found = run("bench_recommend.py", tmp_path / "recommend.json", repo_root)["results"]
    names = ["batch", "threads", "csv", "jsonl", "parquet"]
    assert set(found["sessions_per_s"]) == set(names) | {"cpu_" + name for name in names}
    for row in found["sessions_per_s"].values():
        assert_summary(row)
    assert set(found["ms"]) == {"single", "click"} and found["ms"]["click"]["p50"] > 0


@pytest.mark.release
def test_the_server_is_loaded_without_an_error(tmp_path, repo_root):
    for name in ("fastapi", "uvicorn", "prometheus_client", "orjson"):
        pytest.importorskip(name, reason="the extra serve is not installed (Python 3.9 or later)")
    found = run("bench_serve.py", tmp_path / "serve.json", repo_root)["results"]
    assert {(row["path"], row["load"]) for row in found["rows"]} == {
        (path, load) for path in ("/recommend", "/sessions/{id}/click")
        for load in ("closed", "steady", "alone")}
    for row in found["rows"]:
        assert row["errors"] == 0 and row["requests"] > 0
        assert 0 < row["p50_ms"] <= row["p90_ms"] <= row["p99_ms"]
    assert found["mean_batch"] >= 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes cannot be pinned here")
@pytest.mark.release
def test_processes_that_train_together_are_timed_against_one(tmp_path, repo_root):
    flags = ["--", "--xla", "off", "--n_sample", "8"]
    results = run("bench_cluster.py", tmp_path / "cluster.json", repo_root, *flags)["results"]
    assert (set(results["ms_per_step"]) == set(results["cpu_ms_per_step"])
            == {"alone", "compute", "together"})
    for row in results["ms_per_step"].values():
        assert_summary(row)
    assert results["gain"]["median"] > 0 and results["bytes_per_step"] > 0


def test_the_table_of_the_page_on_several_machines_is_what_was_measured(repo_root):
    with open(os.path.join(repo_root, "docs", "scale", "cluster.md"), encoding="utf-8") as file:
        lines = [[cell.strip(" *") for cell in line.split("|")[2:-1]]
                 for line in file if line.startswith("| ")][1:]
    columns = list(zip(*lines))
    assert len(columns) == 2
    for column, (name, hidden) in zip(columns, (("cluster", 100), ("cluster_512", 512))):
        with open(os.path.join(repo_root, "benchmarks", "results", name + ".json"),
                  encoding="utf-8") as file:
            found = json.load(file)["results"]
        ms, dense = found["ms_per_step"], 6 * hidden * hidden + 3 * hidden
        sent = 2 * (4 * (dense + 2048 * (hidden + 1) + 1) + 4 * 512 * 2 * (hidden + 1))
        shown = ["%.1f" % ms[variant]["median"] for variant in ("alone", "compute", "together")]
        shown += ["%.1f" % found["cpu_ms_per_step"]["together"]["median"]]
        shown += ["{:,}".format(round(found["bytes_per_step"])), "{:,}".format(sent),
                  "%.2f" % found["gain"]["median"]]
        assert list(column) == shown
        # the formula is what the wire carries
        assert abs(found["bytes_per_step"] / sent - 1) < 0.02

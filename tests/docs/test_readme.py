"""README and docs say what the program does."""

import ast
import glob
import json
import os
import re
import statistics

from gru4rec import config
from gru4rec.command import reference
from gru4rec.config import advice
from gru4rec.data.sessions import TestReport
from gru4rec.runlog import lines as lines_module


def _text(root, *parts):
    with open(os.path.join(root, *parts), encoding="utf-8") as file:
        return file.read()


# Command of the README -> the test file that runs it and a piece of text that shows it does.
RUN_BY = {
    "sh run_gpu.sh": ("tests/e2e/test_scripts.py", "run_gpu.sh"),
    "sh run_npu_1p.sh": ("tests/e2e/test_scripts.py", "run_npu_1p.sh"),
    "sh run_npu_1p.sh --data_path=DIR": ("tests/e2e/test_scripts.py",
                                         "test_data_path_is_the_older_ports_way_to_start"),
    "sh run_npu_8p.sh": ("tests/e2e/test_scripts.py",
                         "test_one_process_for_each_device_then_one_evaluates"),
    "python -m gru4rec.device --probe --selftest": ("tests/graph/test_probe.py",
                                                    "test_the_command_of_the_readme"),
    "python scripts/make_rank_table.py --server_id 10.0.0.1 --devices 0,1,2,3,4,5,6,7 --out 8p.json":
        ("tests/unit/test_rank_table.py",
         "test_the_script_writes_a_table_from_hccn_conf_and_checks_it"),
    "python -m gru4rec.main --device npu --print_device_config":
        ("tests/graph/test_device.py", "test_the_device_configuration_is_printed_npu_or_not"),
    "python -m gru4rec.import_ckpt --old old/gru-model-2 --train_path rsc15_train_full.txt "
    "--checkpoint_dir runs/old":
        ("tests/graph/test_import_ckpt.py",
         "test_weights_arrive_under_our_names_and_the_model_can_be_evaluated"),
    "sh scripts/launch_local.sh 2 --train 1 --train_path clicks.tsv --checkpoint_dir runs/a":
        ("tests/e2e/test_cluster_run.py",
         "test_a_stop_is_obeyed_by_all_after_the_same_step_and_resumed_bit_for_bit"),
    "sh scripts/test.sh": (".ci/run", "scripts/test.sh"),
    'pip install -e ".[cpu]"': ("scripts/lib.sh", "pip install"),
    "python -m gru4rec.main --train 1 --preset fast":
        ("tests/e2e/test_main.py", "test_the_first_screen_shows_a_model_near_the_best"),
    "python -m gru4rec.main --train 0":
        ("tests/e2e/test_main.py", "test_the_first_screen_shows_a_model_near_the_best"),
    "python -m gru4rec.main --train_path clicks.tsv --test_path next_day.tsv --checkpoint_dir "
    "runs/a":
        ("tests/e2e/test_main.py", "test_own_files_in_another_directory"),
    "python -m gru4rec.main --train 0 --checkpoint_dir runs/a --cut_off 5,10,20":
        ("tests/e2e/test_main.py", "test_own_files_in_another_directory"),
    'pip install -e ".[prepare]"':
        ("tests/e2e/test_prepare_command.py",
         "test_without_duckdb_one_line_says_how_to_install_it"),
    "python -m gru4rec.prepare rsc15 yoochoose-clicks.dat --out data/rsc15":
        ("tests/e2e/test_prepare_command.py", "test_commands_of_the_readme"),
    "python -m gru4rec.prepare custom log.csv --out data/mine --user_key user --item_key article "
    "--time_key when":
        ("tests/e2e/test_prepare_command.py", "test_commands_of_the_readme"),
}
RUN_BY.update({command: ("tests/e2e/test_family_run.py", "test_commands_of_the_readme")
               for command in (
    "python -m gru4rec.main --preset list",
    "python -m gru4rec.main --train_path clicks.tsv --test_path next_day.tsv --preset fast "
    "--checkpoint_dir runs/c")})
RUN_BY.update({command: ("tests/e2e/test_validated_run.py", "test_commands_of_the_readme")
               for command in (
    "python -m gru4rec.main --train_path clicks.tsv --valid_fraction 0.1 --epoch 20 --patience 2 "
    "--refit 1 "
    "--checkpoint_dir runs/b",
    "python -m gru4rec.main --train 0 --checkpoint_dir runs/b --test_path next_day.tsv")})
RUN_BY.update({command: ("tests/e2e/test_resumed_run.py", "test_commands_of_the_readme")
               for command in (
    "python -m gru4rec.main --train_path clicks.tsv --save_every 90s --checkpoint_dir runs/d",
    "python -m gru4rec.main --resume 1 --checkpoint_dir runs/d",
    "python -m gru4rec.main --train_path today.tsv --init_from runs/d --checkpoint_dir runs/e")})
RUN_BY.update({command: ("tests/e2e/test_evidence.py", "test_model_and_baseline_are_compared")
               for command in (
    "python -m gru4rec.baselines --train_path clicks.tsv --test_path next_day.tsv",
    "python -m gru4rec.main --train 0 --checkpoint_dir runs/a --ranks_out model.parquet",
    "python -m gru4rec.baselines --train_path clicks.tsv --test_path next_day.tsv --baseline rules "
    "--ranks_out rules.parquet",
    "python -m gru4rec.compare model.parquet rules.parquet")})
RUN_BY.update({command: ("tests/e2e/test_export_command.py", test) for command, test in (
    ("python -m gru4rec.export --checkpoint_dir runs/a --format frozen_pb --out frozen",
     "test_commands_of_the_readme"),
    ("python -m gru4rec.offline --model_dir frozen --test_path next_day.tsv",
     "test_commands_of_the_readme"),
    ("python -m gru4rec.export --checkpoint_dir runs/a --format saved_model --out served",
     "test_the_other_formats_replay_as_the_evaluation"),
    ("python -m gru4rec.export --checkpoint_dir runs/a --format onnx --out model",
     "test_the_other_formats_replay_as_the_evaluation"),
    ("sh frozen/step/atc.sh", "test_atc_gets_the_whole_command"),
    ("python -m gru4rec.offline --model_dir frozen --test_path next_day.tsv --runtime acl",
     "test_om_files_replay_through_pyacl"))})
RUN_BY.update({command: ("tests/unit/test_recommend_command.py", "test_commands_of_the_readme")
               for command in (
    "python -m gru4rec.recommend --checkpoint_dir checkpoint --items 214619433,214014470 -k 5",
    "python -m gru4rec.recommend --checkpoint_dir checkpoint --sessions_path sessions.tsv --out "
    "recs.parquet")})
RUN_BY["python -m gru4rec.report --checkpoint_dir checkpoint --out report.html"] = (
    "tests/unit/test_report.py", "test_command_of_the_readme")
RUN_BY.update({
    'pip install -e ".[serve]"': ("tests/unit/test_server.py",
                                  "test_without_the_extra_one_line_says_how_to_install_it"),
    "python -m gru4rec.serve --checkpoint_dir checkpoint":
        ("tests/unit/test_server.py", "test_recommend_is_the_python_api")})


def _commands(readme):
    lines = [line[4:] for line in readme.splitlines() if line.startswith("    ")]
    return [line.split("  #")[0].strip() for line in lines if re.match(r"(python|sh|pip) ", line)]


def test_every_command_of_the_readme_is_run_by_a_test(repo_root):
    commands = _commands(_text(repo_root, "README.md"))
    assert len(commands) >= 7
    for command in commands:
        path, proof = RUN_BY[command]
        if proof.startswith("test_"):
            proof = "\ndef %s(" % proof
        assert proof in _text(repo_root, path), command


def test_the_table_of_flags_is_the_generated_one(repo_root):
    assert reference.flags_markdown(config.GROUPS) in _text(repo_root, "README.md")


def test_the_first_screen_fits_and_names_the_licence(repo_root):
    first = _text(repo_root, "README.md").split("\n## ")[0]
    assert len(first.splitlines()) <= 40
    assert "Apache-2.0" in first


def test_metrics_of_readme_and_results_come_from_results_files(repo_root):
    measured = set()
    for path in glob.glob(os.path.join(repo_root, "docs", "results", "*.json")):
        record = json.loads(_text(path))
        for row in (record.get("rows") or {}).get("eval", []):
            measured.update("%.4f" % value for key, value in row.items() if "@" in key)
        for preset in record.get("presets", {}).values():
            for found in preset["summary"].values():
                measured.update("%.4f" % value for value in found.values())
            for unknown in ("drop", "miss"):
                first = preset["runs"][0][unknown]
                measured.update("%.4f" % bound for name in ("recall", "mrr")
                                for bound in first[name + "_interval"])
    for metric in ("recall@20", "mrr@20"):
        measured.update("%.4f" % value for key,
                        value in _benchmark(repo_root,
                                            "preset_fast")[metric].items() if key != "raw")
    assert measured
    # data/README.md, checked by tests/unit/test_synthetic.py
    best = set(re.findall(r"best (?:Recall|MRR)@20, .* (0\.\d{4}) realised",
                          _text(repo_root, "data", "README.md")))
    assert len(best) == 4
    pages = [os.path.join("docs", name) for name in ("results.md", "popularity.md")]
    for name in ["README.md", "README.zh-CN.md"] + pages:
        quoted = set(re.findall(r"\b0\.\d{4}\b", _text(repo_root, name)))
        assert quoted and quoted <= measured | best, name


def test_links_lead_to_files_and_headings(repo_root):
    text = _text(repo_root, "README.md")
    headings = {"#" + re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
                for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert target.startswith("https://arxiv.org/") or target in headings or os.path.exists(
            os.path.join(repo_root, target)), target


def _rows(root, name, kind):
    return json.loads(_text(root, "docs", "results", name))["rows"][kind]


def test_the_output_the_readme_shows_is_what_was_recorded(repo_root):
    shown = [line[4:] for line in _text(repo_root, "README.md").splitlines()
             if re.match(r"    (Epoch|Each Step|events:|Recall@|sequential rules:)", line)]
    trained = _rows(repo_root, "sample_fast_tf2.json", "train")
    lines = [line for row in trained for line in (
        lines_module.train_line(row["epoch"], row["step"], row["lr"], row["loss"]),
        lines_module.time_line(row["seconds_per_step"]))]
    row = _rows(repo_root, "sample_fast_tf2.json", "eval")[-1]
    counts = TestReport(0, 0, row["events"], row["sessions"], row["unknown_items"],
                        row["unknown_events"],
                        row["short_sessions"])
    lines += [lines_module.counts_line(counts, row["unknown"]),
              lines_module.metric_line(20, row["recall@20"], row["mrr@20"]),
              "sequential rules: "
              + lines_module.metric_line(20, row["rules_recall@20"], row["rules_mrr@20"])]
    assert len(shown) == 5
    assert shown == lines[:2] + lines[-3:]


def test_the_table_of_the_sample_is_what_was_recorded(repo_root):
    page, best = _text(repo_root, "docs", "results.md"), _text(repo_root, "data", "README.md")
    section = re.search(r"## Bundled sample\n(.*?)\n## ", page, re.DOTALL).group(1)
    realised = r"best %s@20, any model: .* (\S+) realised"
    recall, mrr = [float(re.search(realised % name, best).group(1)) for name in ("Recall", "MRR")]
    names = re.findall(r"\| `(sample_\w+\.json)` \|", section)
    assert len(names) == 8
    for name in names:
        record = json.loads(_text(repo_root, "docs", "results", name))
        row, version = record["rows"]["eval"][-1], record["versions"]["tensorflow"]
        version = version[:-2] if version.startswith("2") else version
        cells = (version, row["recall@20"], 100 * row["recall@20"] / recall, row["mrr@20"],
                 100 * row["mrr@20"] / mrr, name)
        assert "| %s | %.4f | %.1f %% | %.4f | %.1f %% | `%s` |\n" % cells in section


def _recall_mrr(root, name):
    row = next(row for row in _rows(root, name + "_tf2.json", "eval")
               if (row["unknown"], row["tie"]) == ("drop", "conservative"))
    return ["%.4f" % row[metric] for metric in ("recall@20", "mrr@20")]


def test_what_the_bias_costs_is_what_was_recorded(repo_root):
    page = _text(repo_root, "docs", "popularity.md")
    for shown, name in (("defaults", "3"), ("`--logq 1`", "logq"), ("`--preset fast`", "fast")):
        values = _recall_mrr(repo_root, "sample_" + name)
        assert "| %s | %s | %s |\n" % tuple([shown] + values) in page
    first, fast = [float(_recall_mrr(repo_root, "sample_" + name)[1]) for name in ("3", "fast")]
    notice = advice.parity_notice(config.parse([]))
    assert "MRR@20 %.2f instead of %.2f" % (first, fast) in notice
    pairs = [_recall_mrr(repo_root, "rsc15_64" + name) for name in ("", "_logq")]
    shown = "%s and %s with the defaults, %s and %s with `--logq 1`"
    assert shown % tuple(pairs[0] + pairs[1]) in page
    results = _text(repo_root, "docs", "results.md")
    for flags, pair in zip(("--epoch 10", "--epoch 10 --logq 1"), pairs):
        assert "| `%s` | %s | %s |\n" % tuple([flags] + pair) in results


def test_the_picture_of_the_bias_is_of_the_recorded_runs(repo_root):
    record = json.loads(_text(repo_root, "docs", "results", "sample_bias.json"))
    runs, page = record["bias"], _text(repo_root, "docs", "popularity.md")
    assert list(runs) == ["defaults", "fast", "logq"]  # the file is sorted
    shares = [("next items", runs["fast"]["targets"])]
    shares += [("places in the lists, " + name, runs[name]["recommended"])
               for name in ("defaults", "logq", "fast")]
    shares.append(("places in the lists, the best there can be", record["best"]))
    assert "".join("    %s: %.1f %%\n" % (name, 100 * values[0]) for name, values in shares) in page
    picture = _text(repo_root, "docs", "popularity.svg")
    heights = [float(height) for height in re.findall(r'height="(\d+\.\d)"/>', picture)]
    expected = [values[at] for at in range(10) for _, values in shares]
    largest = max(expected)
    assert len(heights) == 50
    for height, value in zip(heights, expected):
        assert abs(height / max(heights) - value / largest) < 0.001


def test_numbers_of_the_result_line_are_those_of_the_run(repo_root):
    line = re.search(r"On RSC15 1/64, (.*?)\n\n", _text(repo_root, "README.md"), re.DOTALL).group(1)
    measured = next(row for row in _rows(repo_root, "rsc15_64_tf2.json", "eval")
                    if row["unknown"] == "drop" and row["tie"] == "conservative")
    last = _rows(repo_root, "rsc15_64_tf2.json", "epoch")[-1]
    record = json.loads(_text(repo_root, "docs", "results", "rsc15_64_tf2.json"))
    known = ["%.4f" % measured["recall@20"], "%.4f" % measured["mrr@20"],
             "{:,}".format(measured["events"]),
             str(record["machine"]["cores"]), record["versions"]["tensorflow"].rsplit(".", 1)[0],
             "{:,}".format(last["events"]), "%.1f" % last["seconds"], "20"]
    numbers = re.findall(r"\d[\d.,]*\d|\d", line)
    assert len(numbers) >= 7
    assert set(numbers) <= set(known)


def test_the_table_of_step_times_is_the_recorded_run(repo_root):
    found, = json.loads(_text(repo_root, "benchmarks", "results", "train_both.json"))["results"]
    ms, ratios = found["ms_per_step"], found["ratios"]
    page = _text(repo_root, "docs", "results.md")
    section = re.search(r"## Time of a training step\n(.*?)\n## ", page, re.DOTALL).group(1)
    rows = re.findall(r"^\| .+ \| ([\d.]+) \| ?(.*?) ?\|$", section, re.MULTILINE)
    names = ["other_original", "other_loop", "original", "xla", "products"]
    rows = rows[:len(names)]
    assert [row[0] for row in rows] == ["%.3f" % ms[name]["median"] for name in names]
    gains = ["%.1fx" % ratios["other_original/" + name]["median"] for name in names[1:4]]
    assert [row[1] for row in rows] == ["1"] + gains + [""]
    factors = [ratios["factor " + name]["median"] for name in ("optimizer", "loop", "compilation")]
    shown = "%.1fx over the original way is %.2f (optimizer) x %.2f (loop) x %.2f (compilation)."
    assert shown % tuple([ratios["original/xla"]["median"]] + factors) in section
    bare = tuple(ratios[name + "/products"]["median"] for name in ("xla", "other_loop"))
    assert "the compiled step takes %.2fx, the loop of TensorFlow 1.15 %.2fx " % bare in section


def test_the_table_of_evaluation_times_is_the_recorded_run(repo_root):
    page = _text(repo_root, "docs", "results.md")
    for name in ("eval", "eval_tf1"):
        found = json.loads(_text(repo_root, "benchmarks", "results", name + ".json"))["results"]
        seconds, ratio = found["seconds"], found["ratios"]["evaluator/gemm"]["median"]
        cells = (seconds["evaluator"]["median"], seconds["gemm"]["median"], ratio, name)
        assert "| %.2f | %.2f | %.2fx | `%s.json` |" % cells in page


def _benchmark(root, name):
    return json.loads(_text(root, "benchmarks", "results", name + ".json"))["results"]


def test_start_up_and_schedule_are_the_recorded_runs(repo_root):
    page = _text(repo_root, "docs", "results.md")
    for name in ("startup", "startup_tf1"):
        found = _benchmark(repo_root, name)
        cells = found["seconds"]["import"]["median"], found["beyond_import"]["first_step"]["median"], name
        assert "| %.1f | %.1f | `%s.json` |" % cells in page
    for name in ("load", "load_tf1"):
        found = _benchmark(repo_root, name)["schedule"]
        assert re.search(r"%.1f s, %.1f GiB on\s+Python [\d.]+ \(`%s.json`\)" % (
            found["seconds"]["median"], found["peak_mib"]["median"] / 1024, name), page)


def test_the_profile_and_the_catalogue_are_the_recorded_runs(repo_root):
    page = _text(repo_root, "docs", "results.md")
    columns = []
    for name in ("profile", "profile_sampled"):
        ms = {key: row["median"] for key, row in _benchmark(repo_root, name)["ms_per_step"].items()}
        columns.append({key: "%.3f" % (ms["step"] - value if key.startswith("no ") else value)
                        for key, value in ms.items()})
    table = re.findall(r"^\| [^|]+ \| ([\d.-]*) \| ([\d.-]*) \|$",
                       page.split("| part | defaults |")[1].split("\n\n")[0],
                       re.MULTILINE)
    shown = [sorted(row[at] for row in table if row[at]) for at in (0, 1)]
    assert shown == [sorted(column.values()) for column in columns]
    ratios = _benchmark(repo_root, "profile_sampled")["ratios"]
    assert "%.2fx numpy's products and %.2fx of the same" % tuple(
        ratios[key]["median"] for key in ("products", "products_loop")) in page
    by_items = [{row["items"]: row["ms_per_step"][variant]["median"]
                 for row in _benchmark(repo_root, name)}
                for name,
                variant in (("train_items_fast", "xla"), ("train_items_fast_tf1", "loop"))]
    for items in by_items[0]:
        assert "| {:,} | {:.3f} | {:.3f} |".format(items, by_items[0][items],
                                                   by_items[1][items]) in page


def test_the_times_of_the_server_are_the_recorded_runs(repo_root):
    page = _text(repo_root, "docs", "results.md")
    for name in ("serve", "serve_1m"):
        found = _benchmark(repo_root, name)
        for path, load in {(row["path"], row["load"]) for row in found["rows"]}:
            rows = [row for row in found["rows"] if (row["path"], row["load"]) == (path, load)]
            cells = [statistics.median(row[key] for row in rows)
                     for key in ("requests_per_s", "p50_ms", "p90_ms", "p99_ms")]
            assert "| {:,} | {:.0f} | {:.1f} | {:.1f} | {:.1f} | {} |".format(
                found["items"], *cells + [sum(row["errors"] for row in rows)]) in page, (path, load)
    speeds = _benchmark(repo_root, "recommend")["sessions_per_s"]
    assert "{:,.0f} sessions/s to Parquet, {:,.0f} to JSON lines, {:,.0f} to CSV".format(
        *[speeds[kind]["median"] for kind in ("parquet", "jsonl", "csv")]) in page


def test_the_seconds_of_the_fast_preset_are_those_of_the_runs(repo_root):
    found = _benchmark(repo_root, "preset_fast")
    seconds, recall = found["seconds"], found["recall@20"]
    assert "%.1f s (%.1f to %.1f in %d runs), Recall@20 %.4f (%.4f to %.4f)" % (
        seconds["median"], seconds["min"], seconds["max"], len(seconds["raw"]), recall["median"],
        recall["min"],
        recall["max"]) in _text(repo_root, "docs", "results.md")


def test_every_flag_has_help_and_default_in_the_help_text(repo_root):
    text = " ".join(config.parser().format_help().split())
    flags = re.findall(r"^\| `--(\w+)` \|", reference.flags_markdown(config.GROUPS), re.MULTILINE)
    assert len(flags) > 25
    for flag in flags:
        assert re.search(r"--%s \[?%s\]? [^\[]{5,}\[[^\]]*default: [^\]]+\]" % (flag, flag.upper()),
                         text), flag


def test_the_table_of_baselines_is_what_was_recorded(repo_root):
    rows = {(row["model"], row["unknown"]): row
            for row in _rows(repo_root, "rsc15_64_baselines.json", "eval")}
    assert len(rows) == 10
    for name in {name for name, _ in rows}:
        numbers = ["%.4f" % rows[name, unknown][key] for unknown in ("drop", "miss")
                   for key in ("recall@20", "mrr@20")]
        assert "| %s | %s |\n" % (name,
                                  " | ".join(numbers)) in _text(repo_root, "docs", "results.md")


def test_the_table_of_presets_is_what_was_recorded(repo_root):
    presets = json.loads(_text(repo_root, "docs", "results", "rsc15_64_presets.json"))["presets"]
    page = _text(repo_root, "docs", "results.md")
    assert len(presets) >= 4
    for name, found in presets.items():
        for unknown in ("drop", "miss"):
            assert len(found["runs"]) == 3
            cells = ["`%s`" % name, "`%s`" % unknown,
                     "{:,}".format(found["runs"][0][unknown]["events"])]
            for metric in ("recall", "mrr"):
                values = found["summary"]["%s %s@20" % (unknown, metric)]
                low, high = found["runs"][0][unknown][metric + "_interval"]
                cells += ["%.4f" % values["mean"], "%.4f to %.4f" % (values["min"], values["max"]),
                          "%.4f to %.4f" % (low, high)]
            assert "| %s |\n" % " | ".join(cells) in page, cells


def test_no_directory_of_a_machine_is_named(repo_root):
    pages = [os.path.join(repo_root, name)
             for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    for pattern in ("docs/*.md", "docs/results/*.json", "data/*.md", "benchmarks/*.md",
                    "benchmarks/results/*.json"):
        pages += glob.glob(os.path.join(repo_root, *pattern.split("/")))
    assert len(pages) > 10
    for page in pages:
        found = re.search(r"(?<![\w.$*}>-])/(?:work|tmp|home|root|Users|opt|mnt)/\S*", _text(page))
        assert found is None, (page, found.group())


def test_the_code_map_is_the_first_lines_of_the_rooms(repo_root):
    page, rooms = _text(repo_root, "README.md"), os.path.join(repo_root, "gru4rec")
    listed = re.findall(r"^\| `(\w+)/` \| (.+) \|$", page[page.index("## Code map"):], re.MULTILINE)
    there = {name for name in os.listdir(rooms)
             if os.path.exists(os.path.join(rooms, name, "__init__.py"))}
    assert {name for name, _ in listed} == there
    for name, what in listed:
        doc = ast.get_docstring(ast.parse(_text(repo_root, "gru4rec", name, "__init__.py")))
        assert what == doc.split("\n")[0], name

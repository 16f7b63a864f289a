"""README and docs say what the program does."""

import ast
import glob
import importlib.util
import json
import os
import re
import statistics

from gru4rec import cli, config
from gru4rec.command import reference
from gru4rec.config import advice
from gru4rec.data.sessions import TestReport
from gru4rec.runlog import lines as lines_module


def _text(root, *parts):
    with open(os.path.join(root, *parts), encoding="utf-8") as file:
        return file.read()


def _words(text):
    """The text in one line, as lines may break at any word."""
    return " ".join(text.split())


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
    pages = [os.path.join("docs", *name.split("/")) for name in (
        "evidence/results.md", "evidence/popularity.md", "scale/npu.zh-CN.md")]
    for name in ["README.md", "README.zh-CN.md"] + pages:
        quoted = set(re.findall(r"\b0\.\d{4}\b", _text(repo_root, name)))
        assert quoted and quoted <= measured | best, name


def _pages(root):
    """Markdown pages of the documentation, relative to the checkout."""
    found = ["README.md", "README.zh-CN.md", "CONTRIBUTING.md", "CHANGELOG.md", "data/README.md",
             "benchmarks/README.md"]
    for directory, _, names in os.walk(os.path.join(root, "docs")):
        found += [os.path.relpath(os.path.join(directory, name), root).replace(os.sep, "/")
                  for name in names if name.endswith(".md")]
    return sorted(found)


def _anchors(text):
    """What a link may name in a page: its headings, as a repository page and the site spell them.
    """
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
            for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


def test_links_lead_to_files_and_headings(repo_root):
    pages, links = _pages(repo_root), 0
    assert len(pages) > 20
    for page in pages:
        text = re.sub(r"^```.*?^```", "", _text(repo_root, page), flags=re.DOTALL | re.MULTILINE)
        for target in re.findall(r"\]\(([^)]+)\)", text):
            links += 1
            path, _, anchor = target.partition("#")
            if target.startswith("https://arxiv.org/") or page == "CHANGELOG.md":
                continue
            place = os.path.normpath(os.path.join(repo_root, os.path.dirname(page), path))
            place = place if path else os.path.join(repo_root, page)
            assert os.path.exists(place), (page, target)
            assert not anchor or anchor in _anchors(_text(place)), (page, target)
            # the site has nothing but docs/
            inside = page.startswith("docs/")
            assert not inside or os.path.relpath(place, repo_root).startswith("docs"), page
    assert links > 60


def test_every_page_is_reached_from_the_start_page_and_the_site(repo_root):
    pages = {page[5:] for page in _pages(repo_root) if page.startswith("docs/")} - {"index.md"}
    start = set(re.findall(r"\]\(([^)#]+)\)", _text(repo_root, "docs", "index.md")))
    site = set(re.findall(r"^ +- .+: (\S+\.md)$", _text(repo_root, "mkdocs.yml"), re.MULTILINE))
    assert start == pages and site == pages | {"index.md"}


def _results(root):
    return _text(root, "docs", "evidence", "results.md")


def _rows(root, name, kind):
    return json.loads(_text(root, "docs", "results", name))["rows"][kind]


def test_the_output_the_readme_shows_is_what_was_recorded(repo_root):
    shown = [line for line in _text(repo_root, "README.md").splitlines()
             if re.match(r"(Epoch|Each Step|events:|Recall@|sequential rules:)", line)]
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
    page = _results(repo_root)
    best = _text(repo_root, "data", "README.md")
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
    page = _text(repo_root, "docs", "evidence", "popularity.md")
    for shown, name in (("defaults", "3"), ("`--logq 1`", "logq"), ("`--preset fast`", "fast")):
        values = _recall_mrr(repo_root, "sample_" + name)
        assert "| %s | %s | %s |\n" % tuple([shown] + values) in page
    first, fast = [float(_recall_mrr(repo_root, "sample_" + name)[1]) for name in ("3", "fast")]
    notice = advice.parity_notice(config.parse([]))
    assert "MRR@20 %.2f instead of %.2f" % (first, fast) in notice
    pairs = [_recall_mrr(repo_root, "rsc15_64" + name) for name in ("", "_logq")]
    shown = "%s and %s with the defaults, %s and %s with `--logq 1`"
    assert shown % tuple(pairs[0] + pairs[1]) in page
    results = _results(repo_root)
    for flags, pair in zip(("--epoch 10", "--epoch 10 --logq 1"), pairs):
        assert "| `%s` | %s | %s |\n" % tuple([flags] + pair) in results


def test_the_table_of_warm_starts_is_what_was_recorded(repo_root):
    page = _text(repo_root, "docs", "evidence", "reliability.md")
    days = json.loads(_text(repo_root, "docs", "results", "replay_days.json"))["days"]
    assert len(days) == 9
    for row in days:
        parts = [row[part] for part in ("all", "old", "new")]
        cells = [str(row["day"]), row["way"], "{:,}".format(row["events"]), str(row["seconds"])]
        cells += ["%.4f" % part[key] for key in ("recall@20", "mrr@20") for part in parts]
        assert "| %s |\n" % " | ".join(cells) in page, cells


def test_the_picture_of_the_bias_is_of_the_recorded_runs(repo_root):
    record = json.loads(_text(repo_root, "docs", "results", "sample_bias.json"))
    runs, page = record["bias"], _text(repo_root, "docs", "evidence", "popularity.md")
    assert list(runs) == ["defaults", "fast", "logq"]  # the file is sorted
    shares = [("next items", runs["fast"]["targets"])]
    shares += [("places in the lists, " + name, runs[name]["recommended"])
               for name in ("defaults", "logq", "fast")]
    shares.append(("places in the lists, the best there can be", record["best"]))
    assert "".join("%s: %.1f %%\n" % (name, 100 * values[0]) for name, values in shares) in page
    picture = _text(repo_root, "docs", "evidence", "popularity.svg")
    heights = [float(height) for height in re.findall(r'height="(\d+\.\d)"/>', picture)]
    expected = [values[at] for at in range(10) for _, values in shares]
    largest = max(expected)
    assert len(heights) == 50
    for height, value in zip(heights, expected):
        assert abs(height / max(heights) - value / largest) < 0.001


def test_the_results_of_the_readme_are_the_recorded_runs(repo_root):
    readme = _text(repo_root, "README.md")
    section = re.search(r"## Results\n(.*?)\n## ", readme, re.DOTALL).group(1)
    record = json.loads(_text(repo_root, "docs", "results", "rsc15_64_tf2.json"))
    presets = json.loads(_text(repo_root, "docs", "results", "rsc15_64_presets.json"))["presets"]
    rules = next(row for row in _rows(repo_root, "rsc15_64_baselines.json", "eval")
                 if (row["model"], row["unknown"]) == ("sequential rules", "drop"))
    pairs = [[presets[name]["summary"]["drop %s@20" % metric]["mean"]
              for metric in ("recall", "mrr")] for name in ("best-rsc15_64", "fast")]
    pairs.append([rules["recall@20"], rules["mrr@20"]])
    shown = re.findall(r"^\| .* \| (0\.\d{4}) \| (0\.\d{4}) \|$", section, re.MULTILINE)
    assert len(shown) == 4
    assert shown == [("%.4f" % recall, "%.4f" % mrr) for recall, mrr in pairs] + [
        tuple(_recall_mrr(repo_root, "rsc15_64"))]
    events = {row["events"] for row in record["rows"]["eval"] if row["unknown"] == "drop"}
    events |= {run["drop"]["events"] for name in ("best-rsc15_64", "fast")
               for run in presets[name]["runs"]} | {rules["events"]}
    assert "%s test events" % "{:,}".format(*events) in section and len(events) == 1
    assert "CPU with %d cores, TensorFlow %s (" % (
        record["machine"]["cores"],
        record["versions"]["tensorflow"].rsplit(".", 1)[0]) in _words(section)


def test_the_last_epoch_of_the_results_is_that_of_the_run(repo_root):
    last = _rows(repo_root, "rsc15_64_tf2.json", "epoch")[-1]
    page = " ".join(_results(repo_root).split())
    assert "The last epoch's {:,} targets took {:.1f} s".format(last["events"],
                                                              last["seconds"]) in page


def test_the_table_of_step_times_is_the_recorded_run(repo_root):
    found, = json.loads(_text(repo_root, "benchmarks", "results", "train_both.json"))["results"]
    ms, ratios = found["ms_per_step"], found["ratios"]
    page = _results(repo_root)
    section = re.search(r"## Time of a training step\n(.*?)\n## ", page, re.DOTALL).group(1)
    rows = re.findall(r"^\| .+ \| ([\d.]+) \| ?(.*?) ?\|$", section, re.MULTILINE)
    names = ["other_original", "other_loop", "original", "xla", "products"]
    rows = rows[:len(names)]
    assert [row[0] for row in rows] == ["%.3f" % ms[name]["median"] for name in names]
    gains = ["%.1fx" % ratios["other_original/" + name]["median"] for name in names[1:4]]
    assert [row[1] for row in rows] == ["1"] + gains + [""]
    factors = [ratios["factor " + name]["median"] for name in ("optimizer", "loop", "compilation")]
    shown = "%.1fx over the original way is %.2f (optimizer) x %.2f (loop) x %.2f (compilation)."
    assert shown % tuple([ratios["original/xla"]["median"]] + factors) in _words(section)
    bare = tuple(ratios[name + "/products"]["median"] for name in ("xla", "other_loop"))
    of_bare = "the compiled step takes %.2fx, the loop of TensorFlow 1.15 %.2fx " % bare
    assert of_bare in _words(section)


def test_the_table_of_evaluation_times_is_the_recorded_run(repo_root):
    page = _results(repo_root)
    for name in ("eval", "eval_tf1"):
        found = json.loads(_text(repo_root, "benchmarks", "results", name + ".json"))["results"]
        seconds, ratio = found["seconds"], found["ratios"]["evaluator/gemm"]["median"]
        cells = (seconds["evaluator"]["median"], seconds["gemm"]["median"], ratio, name)
        assert "| %.2f | %.2f | %.2fx | `%s.json` |" % cells in page


def _benchmark(root, name):
    return json.loads(_text(root, "benchmarks", "results", name + ".json"))["results"]


def test_start_up_and_schedule_are_the_recorded_runs(repo_root):
    page = _results(repo_root)
    for name in ("startup", "startup_tf1"):
        found = _benchmark(repo_root, name)
        cells = (found["seconds"]["import"]["median"],
                 found["beyond_import"]["first_step"]["median"], name)
        assert "| %.1f | %.1f | `%s.json` |" % cells in page
    for name in ("load", "load_tf1"):
        found = _benchmark(repo_root, name)["schedule"]
        assert re.search(r"%.1f s, %.1f GiB on Python [\d.]+ \(`%s.json`\)" % (
            found["seconds"]["median"], found["peak_mib"]["median"] / 1024, name), _words(page))


def test_the_profile_and_the_catalogue_are_the_recorded_runs(repo_root):
    page = _results(repo_root)
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
    page = _results(repo_root)
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
        *[speeds[kind]["median"] for kind in ("parquet", "jsonl", "csv")]) in _words(page)


def test_the_seconds_of_the_fast_preset_are_those_of_the_runs(repo_root):
    found = _benchmark(repo_root, "preset_fast")
    seconds, recall = found["seconds"], found["recall@20"]
    assert "%.1f s (%.1f to %.1f in %d runs), Recall@20 %.4f (%.4f to %.4f)" % (
        seconds["median"], seconds["min"], seconds["max"], len(seconds["raw"]), recall["median"],
        recall["min"],
        recall["max"]) in _results(repo_root)


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
                                  " | ".join(numbers)) in _results(repo_root)


def test_the_table_of_presets_is_what_was_recorded(repo_root):
    presets = json.loads(_text(repo_root, "docs", "results", "rsc15_64_presets.json"))["presets"]
    page = _results(repo_root)
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
    pages = [os.path.join(repo_root, *name.split("/")) for name in _pages(repo_root)]
    for pattern in ("docs/results/*.json", "benchmarks/results/*.json"):
        pages += glob.glob(os.path.join(repo_root, *pattern.split("/")))
    assert len(pages) > 10
    for page in pages:
        found = re.search(r"(?<![\w.$*}>-])/(?:work|tmp|home|root|Users|opt|mnt)/\S*", _text(page))
        assert found is None, (page, found.group())


def test_the_code_map_is_the_generated_one(repo_root, capsys):
    script = _script(repo_root, "code_map")
    assert script.main(["--check", "1"]) == 0, capsys.readouterr().err
    assert len(script.rooms()) >= 19


def test_the_code_map_says_when_it_is_not(repo_root, tmp_path, monkeypatch, capsys):
    script = _script(repo_root, "code_map")
    monkeypatch.setattr(script, "PAGE", str(tmp_path / "code.md"))
    (tmp_path / "code.md").write_text(script.page().replace("`losses.py`", "`loss.py`"),
                                      encoding="utf-8")
    assert script.main(["--check", "1"]) == 1 and "code_map.py" in capsys.readouterr().err
    assert script.main([]) == 0 and script.main(["--check", "1"]) == 0


def _script(root, name):
    spec = importlib.util.spec_from_file_location(name, os.path.join(root, "scripts", name + ".py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readme_lists_every_subcommand(repo_root):
    listed = re.findall(r"^\| `gru4rec (\w+)`.* \| .+ \|$", _text(repo_root, "README.md"),
                        re.MULTILINE)
    assert listed == list(cli.SUBCOMMANDS)


def test_the_chinese_readme_has_the_sections_and_blocks_of_the_english_one(repo_root):
    texts = [_text(repo_root, name) for name in ("README.md", "README.zh-CN.md")]
    assert len(set(len(re.findall(r"^## ", text, re.MULTILINE)) for text in texts)) == 1
    blocks = [[re.sub(r"\s*#.*", "", block) for block in re.findall(r"^```\w+\n(.*?)^```", text,
                                                                  re.DOTALL | re.MULTILINE)]
              for text in texts]
    assert blocks[0] == blocks[1] and len(blocks[0]) >= 8
    numbers = [sorted(re.findall(r"\b0\.\d{4}\b", text)) for text in texts]
    assert numbers[0] == numbers[1]
    commands = [re.findall(r"^\| `(gru4rec \w+)`", text, re.MULTILINE) for text in texts]
    assert commands[0] == commands[1]


def test_the_chinese_page_of_npus_has_the_commands_of_the_english_one(repo_root):
    texts = [_text(repo_root, "docs", "scale", name) for name in ("npu.md", "npu.zh-CN.md")]
    pages = [re.findall(r"^((?:sh|python) .+)$", text, re.MULTILINE) for text in texts]
    assert pages[0] == pages[1] and len(pages[0]) > 5


def _literals(root):
    """Every text of the package and its scripts, with `…` where a value is put in."""
    found = []
    for top in ("gru4rec", "scripts"):
        for path in glob.glob(os.path.join(root, top, "**", "*.py"), recursive=True):
            for node in ast.walk(ast.parse(_text(path))):
                # before Python 3.8 a text is a node of its own
                name = "s" if type(node).__name__ == "Str" else "value"
                if isinstance(getattr(node, name, None), str):
                    found.append(getattr(node, name))
    found.append(_text(root, "run_npu_8p.sh"))
    return [re.sub(r"%(?:\.\d)?[sdrfg]", "…", text) for text in found]


def test_every_message_of_the_page_of_errors_is_one_of_the_program(repo_root):
    page, literals = _text(repo_root, "docs", "reference", "errors.md"), _literals(repo_root)
    rows = re.findall(r"^\| (.*?`.+?`.*?) \| .+ \|$", page.split("## Data and flags")[1],
                      re.MULTILINE)
    messages = [message for row in rows if "(of the adapter)" not in row
                for message in re.findall(r"`([^`]+)`", row) if message != "--probe"]
    assert len(messages) > 25
    for message in messages:
        parts = [part.strip() for part in message.split("…") if len(part.strip()) > 3]
        pattern = re.compile(".*?".join(map(re.escape, parts)), re.DOTALL)
        assert parts and any(pattern.search(text) for text in literals), message


def test_every_page_that_code_or_scripts_name_exists(repo_root):
    places = ["CONTRIBUTING.md", "Dockerfile.serve", ".ci/run", ".github/workflows/ci.yml"]
    for pattern in ("gru4rec/**/*.py", "scripts/*", "benchmarks/*", "tests/**/*.py", "*.sh"):
        places += [os.path.relpath(path, repo_root)
                   for path in glob.glob(os.path.join(repo_root, pattern), recursive=True)
                   if os.path.isfile(path)]
    named = {(page, place) for place in places
             for page in re.findall(r"\bdocs/[\w/-]+\.(?:md|svg|png|jsonl?)\b",
                                    _text(repo_root, place))}
    named = {pair for pair in named if "NAME" not in pair[0]}
    assert len(named) > 10
    for page, place in named:
        assert os.path.exists(os.path.join(repo_root, page)), (page, place)

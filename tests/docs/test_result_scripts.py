"""The scripts that make recorded results: they run the real command, and what they write is what it
said.
"""

import importlib.util
import json
import os
import xml.etree.ElementTree as ElementTree

import pytest

pytestmark = [pytest.mark.tf, pytest.mark.once]


def load(repo_root, name):
    spec = importlib.util.spec_from_file_location(name,
                                                  os.path.join(repo_root, "scripts", name + ".py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def command(calls):
    """A stand-in for the command in a process of its own: the same, in this one; small, so that it
    is quick.
    """
    from gru4rec import main

    def run(flags):
        calls.append(flags)
        small = ["--xla", "off", "--epoch", "1", "--size", "8", "--n_sample",
                 "16"] if "--train_path" in flags else []
        assert main.main(flags + small) == 0
    return run


@pytest.fixture
def files(tmp_path):
    """(train, test) files of sessions that walk round a ring of 30 items, and sometimes leave it.
    """
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    paths = []
    for name, first, count in (("train", 0, 120), ("test", 1000, 30)):
        rows = ["%d\t%d\t%d" % (first + s, (7 * s + i + (s + i) % 11 // 10) % 30,
                                10 ** 9 + first + 60 * s + i)
                for s in range(count) for i in range(2 + s % 4)]
        paths.append(tmp_path / (name + ".tsv"))
        paths[-1].write_text("SessionId\tItemId\tTime\n" + "\n".join(rows) + "\n")
    return paths


def test_preset_results_are_those_of_the_commands(files, tmp_path, repo_root, monkeypatch, capsys):
    script, calls, out = load(repo_root, "preset_results"), [], tmp_path / "results.json"
    monkeypatch.setattr(script, "_main", command(calls))
    out.write_text(json.dumps({"presets": {}}))
    script.main(["rsc15-gru", "--train_path", str(files[0]), "--test_path", str(files[1]),
                 "--seeds", "2", "--out", str(out)])
    found = json.loads(out.read_text())["presets"]["rsc15-gru"]
    assert len(calls) == 6 and [run["seed"] for run in found["runs"]] == [0, 1]
    for unknown in ("drop", "miss"):
        recalls = [run[unknown]["recall@20"] for run in found["runs"]]
        assert 0 < min(recalls) and found["summary"][unknown + " recall@20"] == {
            "mean": pytest.approx(sum(recalls) / 2), "min": min(recalls), "max": max(recalls)}
        for run in found["runs"]:
            low, high = run[unknown]["recall_interval"]
            assert low <= run[unknown]["recall@20"] <= high and len(run["epoch_seconds"]) == 1
    line = [text for text in capsys.readouterr().out.splitlines()
            if text.startswith("| `rsc15-gru` | `miss` |")][0]
    assert "| %.4f |" % found["summary"]["miss recall@20"]["mean"] in line


def test_a_search_goes_on_from_its_log(files, tmp_path, repo_root, monkeypatch, capsys):
    pytest.importorskip("optuna", reason="Optuna is not installed")
    script, calls, log = load(repo_root, "search"), [], tmp_path / "log.jsonl"
    monkeypatch.setattr(script, "run", _searched(script, command(calls)))
    start = tmp_path / "start.json"
    start.write_text(json.dumps([{"size": 128, "batch_size": 32, "lr": 0.1, "dropout": 0.2,
                                  "embed_dropout": 0.0,
                                  "n_sample": 512, "sample_alpha": 0.5, "label_smoothing": 0.0,
                                  "score_scale": 12.0}]))
    # of another search
    log.write_text(json.dumps({"fixed": {"--score": "dot"}, "params": {}, "score": 9.9}) + "\n")
    flags = ["--train_path", str(files[0]), "--log", str(log), "--trials", "1", "--epoch", "2",
             "--valid_fraction", "0.2"]
    script.main(flags + ["--start", str(start)])
    script.main(flags)
    lines = [json.loads(line) for line in log.read_text().splitlines()][1:]
    assert len(lines) == 2 and lines[0]["params"]["size"] == 128
    assert lines[0]["params"] != lines[1]["params"]
    for line in lines:
        assert line["score"] == max(script.score(row) for row in line["epochs"]) > 0
        assert script.score(line["epochs"][line["best_epoch"]]) == line["score"]
    best = max(line["score"] for line in lines)
    assert ("best: %.4f" % best) in capsys.readouterr().out


@pytest.mark.release
def test_the_picture_of_popularity_is_of_the_runs_given(tmp_path, repo_root, monkeypatch, capfd):
    script = load(repo_root, "popularity_picture")
    monkeypatch.chdir(str(tmp_path))
    from gru4rec import main
    small = ["--preset", "fast", "--epoch", "1", "--size", "8", "--xla", "off", "--n_sample", "16"]
    for name in ("a", "b & c"):
        flags = ["--checkpoint_dir", name]
        assert main.main(flags + small) == 0
        assert main.main(flags + ["--train", "0"]) == 0
    capfd.readouterr()
    script.main(["a", "b & c", "--svg", "bias.svg", "--out", "bias.json"])
    record = json.loads((tmp_path / "bias.json").read_text())
    one, other = record["bias"]["a"], record["bias"]["b & c"]
    for column in (record["best"], one["targets"], one["recommended"]):
        assert sum(column) == pytest.approx(1) and len(column) == 10
    assert 0.15 < record["best"][0] < one["targets"][0]  # the best lists lean on popular items, too
    out = capfd.readouterr().out
    assert "places in the lists, b & c: %.1f %%" % (100 * other["recommended"][0]) in out
    tree = ElementTree.parse(str(tmp_path / "bias.svg"))
    texts = [element.text for element in tree.iter() if element.tag.endswith("text")]
    assert "places in the lists of 20, b & c" in texts


def _searched(script, run_command):
    """`script.run` with the command in this process."""
    original = script.run

    def run(params, args):
        def in_process(words, **_):
            run_command(words[3:])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(script.subprocess, "run", in_process)
            return original(params, args)
    return run

"""By the real command: sequential rules, metrics, splits and tables of ranks."""

import json
import os
import re

import numpy as np
import pandas as pd
import pytest

from gru4rec import baselines, compare, main
from gru4rec.data import synthetic
from tests import tolerance

pytestmark = [pytest.mark.tf, pytest.mark.once]

STANDARD = re.compile(r"events: \d+ sessions: \d+ [^\n]+\n(Recall@\d+: \d\.\d{4}\tMRR@\d+: "
                      r"\d\.\d{4}\n)+")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Directory with clicks.tsv, next_day.tsv and a model of one epoch in runs/a."""
    directory = tmp_path_factory.mktemp("evidence")
    before = os.getcwd()
    os.chdir(str(directory))
    try:
        for name, seed in (("clicks.tsv", 1), ("next_day.tsv", 2)):
            synthetic.markov_sessions(400, 60, seed).to_csv(name, sep="\t", index=False)
        with open("next_day.tsv", "a") as out:
            out.write("1\t-7\t1\n3\t-7\t99999999999\n")  # an unknown item, first and last
        assert main.main(["--train_path", "clicks.tsv", "--test_path", "next_day.tsv",
                          "--checkpoint_dir", "runs/a",
                          "--epoch", "1", "--size", "8", "--xla", "off"]) == 0
    finally:
        os.chdir(before)
    return directory


@pytest.fixture
def evaluate(model, inline, monkeypatch):
    """function (*flags) -> (stdout, stderr) of `--train 0` on the model."""
    monkeypatch.chdir(str(model))

    def run(*flags):
        status, out, err = inline("--train", 0, "--checkpoint_dir", "runs/a", *flags)
        assert status == 0, err
        return out, err
    return run


def last_rows(model, kind):
    with open(str(model / "runs" / "a" / "metrics.jsonl")) as file:
        rows = [row for row in map(json.loads, file) if row["kind"] == kind]
    return rows


def test_sequential_rules_are_the_line_after_the_model_and_those_of_the_baseline(model, evaluate,
                                                                                 capfd):
    out, err = evaluate("--cut_off", "5,20", "--unknown", "miss", "--tie", "median")
    plain, _ = evaluate("--cut_off", "5,20", "--unknown", "miss", "--tie", "median",
                        "--compare_rules", 0)
    assert STANDARD.fullmatch(plain) and out.startswith(plain)
    assert baselines.main(["--train_path", "clicks.tsv", "--test_path", "next_day.tsv",
                           "--baseline", "rules", "--cut_off",
                           "5,20", "--unknown", "miss", "--tie", "median"]) == 0
    counts, *lines = capfd.readouterr().out.splitlines()
    assert counts == plain.splitlines()[0] and out[len(plain):].splitlines() == lines
    assert len(lines) == 2
    row = last_rows(model, "eval")[-2]
    values = [row[key] for key in ("recall@20", "rules_recall@20", "mrr@20", "rules_mrr@20")]
    assert ("the model is below sequential rules, which learn nothing, in Recall@20 (%.4f, rules "
            "%.4f) and MRR@20 (%.4f, rules %.4f); before relying on it train with --logq 1 or "
            "--preset fast" % tuple(values)) in err  # one epoch, 8 units
    assert "%.4f" % row["rules_recall@20"] == lines[1].split("\t")[0].split()[-1]


def test_evaluation_needs_no_training_file_and_says_why_there_is_no_comparison(model, evaluate):
    os.rename("clicks.tsv", "moved.tsv")
    os.rename("runs/a/rules.npz", "runs/a/moved.npz")
    try:
        out, err = evaluate()
        assert STANDARD.fullmatch(out) and "no comparison with sequential rules: " in err
        assert "rules.npz" in err
        os.rename("runs/a/moved.npz", "runs/a/rules.npz")
        assert "\nsequential rules: Recall@20: " in evaluate()[0]
    finally:
        os.rename("moved.tsv", "clicks.tsv")


def test_training_without_comparison_saves_no_rules(model, inline, monkeypatch):
    monkeypatch.chdir(str(model))
    status, _, err = inline("--train_path", "clicks.tsv", "--checkpoint_dir", "runs/b", "--epoch",
                            1, "--size", 8, "--xla",
                            "off", "--compare_rules", 0)
    assert status == 0, err
    assert "gru-model-0.json" in os.listdir("runs/b") and "rules.npz" not in os.listdir("runs/b")


def test_all_metrics_in_the_order_asked_for(model, evaluate):
    out, _ = evaluate("--metrics", "mrr,coverage,ndcg,popularity,recall", "--cut_off", "5,60")
    for line, cut in zip(out.splitlines()[1:3], (5, 60)):
        assert re.fullmatch("\t".join(r"%s@%d: \d\.\d{4}" % (name, cut) for name in (
            "MRR", "Coverage", "NDCG", "Popularity", "Recall")), line)
    assert "Coverage@60: 1.0000" in out and "Recall@60: 1.0000" in out
    row = last_rows(model, "eval")[-1]
    assert row["recall@5"] >= row["ndcg@5"] >= row["mrr@5"] > 0 and 0 < row["coverage@5"] <= 1


def test_the_line_of_sequential_rules_has_the_metrics_asked_for_that_ranks_give(model, evaluate):
    out, _ = evaluate("--metrics", "ndcg,coverage,recall")
    assert [re.findall(r"(\w+)@20: ", line) for line in out.splitlines()[1:]] == [
        ["NDCG", "Coverage", "Recall"], ["NDCG", "Recall"]]
    row = last_rows(model, "eval")[-1]
    assert {key for key in row if key.startswith("rules_")} == {"rules_ndcg@20", "rules_recall@20"}
    out, err = evaluate("--metrics", "coverage")
    assert "sequential rules" not in out and "below sequential rules" in err


def test_where_all_targets_are_unknown_there_is_no_list_and_no_number(model, evaluate):
    events = pd.read_csv("next_day.tsv", sep="\t").sort_values(["SessionId", "Time"], kind="stable")
    events.loc[~events.duplicated("SessionId", keep="last"), "ItemId"] = -5
    events.to_csv("unknown.tsv", sep="\t", index=False)
    out, err = evaluate("--test_path", "unknown.tsv", "--unknown", "miss", "--eval_target", "last",
                        "--metrics",
                        "recall,coverage,popularity")
    assert "Recall@20: 0.0000\tCoverage@20: 0.0000\tPopularity@20: -\n" in out
    assert "RuntimeWarning" not in err
    assert last_rows(model, "eval")[-1]["popularity@20"] is None


def test_splits_and_table_of_ranks_agree_with_the_result(model, evaluate):
    plain, _ = evaluate("--unknown", "miss")
    out, _ = evaluate("--unknown", "miss", "--split", "position,repeat", "--ranks_out", "ranks.csv")
    assert out.startswith(plain)
    table = [line.split("\t") for line in out[len(plain):].splitlines()]
    assert table[0] == ["split", "part", "events", "Recall@20", "MRR@20"]
    assert [row[1] for row in table[1:]] == ["1", "2", "3", "4", "5-9", "10+", "new", "repeated"]
    row, rows = last_rows(model, "eval")[-1], last_rows(model, "split")[-8:]
    assert [r["part"] for r in rows] == [line[1] for line in table[1:]]
    for part in (rows[:6], rows[6:]):
        assert sum(r["events"] for r in part) == row["events"]
        mean = sum(r["events"] * (r["recall@20"] or 0) for r in part) / row["events"]
        assert mean == pytest.approx(row["recall@20"])
    ranks = pd.read_csv("ranks.csv")
    assert len(ranks) == row["events"]
    assert (ranks["rank"] <= 20).mean() == pytest.approx(row["recall@20"])
    # the one at the beginning is no target
    assert ranks.loc[ranks["target"] == -7, "rank"].tolist() == [np.inf]


def test_last_events_only(model, evaluate):
    out, _ = evaluate("--eval_target", "last", "--ranks_out", "last.csv")
    last = pd.read_csv("last.csv")
    assert out.startswith("events: %d sessions: %d " % (len(last), len(last)))
    assert last["session"].is_unique
    evaluate("--ranks_out", "all.csv")
    everything = pd.read_csv("all.csv").groupby("session").tail(1).reset_index(drop=True)
    tolerance.assert_same_ranks(last, everything)  # fewer targets are products of other sizes
    row = last_rows(model, "eval")[-2]
    assert row["eval_target"] == "last"
    assert row["recall@20"] == pytest.approx((last["rank"] <= 20).mean())


def test_model_and_baseline_are_compared(model, evaluate, capfd):
    """The commands of the README."""
    pytest.importorskip("pyarrow")
    flags = ["--train_path", "clicks.tsv", "--test_path", "next_day.tsv"]
    assert baselines.main(flags) == 0
    evaluate("--ranks_out", "model.parquet")
    assert baselines.main(flags + ["--baseline", "rules", "--ranks_out", "rules.parquet"]) == 0
    capfd.readouterr()
    assert compare.main(["model.parquet", "rules.parquet"]) == 0
    lines = capfd.readouterr().out.splitlines()
    row = last_rows(model, "eval")[-1]
    assert lines[0] == "events: %d sessions: %d" % (row["events"], row["sessions"])
    assert lines[2].split("\t")[:3] == ["Recall@20", "%.4f" % row["recall@20"],
                                        "%.4f" % row["rules_recall@20"]]
    evaluate("--unknown", "miss", "--ranks_out", "miss.parquet")
    assert compare.main(["model.parquet", "miss.parquet"]) == 2
    assert "do not cover the same targets" in capfd.readouterr().err


def test_a_table_that_cannot_be_written_is_refused_before_any_work(model, inline, monkeypatch):
    monkeypatch.chdir(str(model))
    for flags, words in ((["--ranks_out", "none/a.csv"], "none/a.csv"),
                         (["--ranks_out", "a.txt"], ".parquet or .csv"),
                         (["--metrics", "recall,auc"], "--metrics"),
                         (["--split", "none,none"], "--split")):
        status, out, err = inline("--train", 0, "--checkpoint_dir", "runs/a", *flags)
        assert (status, out) == (2, "") and words in err.splitlines()[-1]
        assert err.splitlines()[-1].startswith("error: ")

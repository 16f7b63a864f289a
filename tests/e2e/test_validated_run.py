"""Validation by the real command: what is measured, when it stops, and the refit after it."""

import json
import os
import re
import signal

import pytest

from gru4rec import checkpoint, config
from gru4rec.checkpoint import names as names_module
from gru4rec.data import synthetic
from gru4rec.evaluation import evaluator
from gru4rec.training import validation
from tests import helpers

pytestmark = [pytest.mark.tf, pytest.mark.once]

SMALL = ["--size", 8, "--batch_size", 20, "--lr", 0.02, "--xla", "off"]
TRAIN_LINES = re.compile(r"(Epoch \d+\tStep \d+\tlr: \d\.\d{6}\tloss: \d+\.\d{6}\nEach Step time "
                         r"is:\d+\.\d{6}\n)+")


def rows(directory, kind):
    with open(os.path.join(str(directory), "metrics.jsonl")) as file:
        return [row for row in map(json.loads, file) if row["kind"] == kind]


def manifest(directory, epoch):
    with open(os.path.join(str(directory), "gru-model-%d.json" % epoch)) as file:
        return json.load(file)


def write(frame, name):
    frame.to_csv(str(name), sep="\t", index=False)


@pytest.fixture
def clicks(tmp_path):
    """DataFrame, also in clicks.tsv: 100 sessions, shuffled; item -9 is in the latest one only."""
    frame = synthetic.markov_sessions(100, 30, 1, noise=0.4)
    frame.loc[len(frame) - 1, "ItemId"] = -9
    frame = frame.sample(frac=1, random_state=1)
    write(frame, tmp_path / "clicks.tsv")
    return frame


@pytest.fixture
def scripted(monkeypatch):
    """function (recalls): validation measures these, one after the other."""
    def script(*recalls):
        values = iter(recalls)
        monkeypatch.setattr(validation, "measure", lambda *_: {"recall": next(values), "mrr": 0.5})
    return script


def test_validation_measures_what_an_evaluation_of_the_held_out_sessions_prints(inline, tmp_path,
                                                                                clicks):
    flags = ["--unknown", "miss", "--tie", "standard", "--cut_off", "5,20"]
    status, out, err = inline("--train_path", "clicks.tsv", "--valid_fraction", 0.2, "--epoch", 3,
                              *(SMALL + flags))
    assert status == 0 and TRAIN_LINES.fullmatch(out), err
    assert manifest("checkpoint", 2)["num_items"] == 30 == clicks["ItemId"].nunique() - 1
    write(clicks[clicks["SessionId"] > 80], "held.tsv")
    found = rows("checkpoint", "valid")
    lines = [line for line in err.splitlines() if ": validation Recall@5: " in line]
    assert len(found) == len(lines) == 3 and "was the best of 3 trained" in err.splitlines()[-1]
    for epoch, row in enumerate(found):
        _, result, _ = inline("--train", 0, "--test", epoch, "--test_path", "held.tsv", *flags)
        shown = "Recall@5: %.4f\tMRR@5: %.4f" % (row["recall@5"], row["mrr@5"])
        assert result.splitlines()[1] == shown and shown.replace("\t", " ") in lines[epoch]
        assert result.startswith("events: %d sessions: %d unknown items: 1 (in 1 events"
                                 % (row["events"], row["sessions"]))
        assert manifest("checkpoint", epoch)["validation"] == {
            "metric": "recall@5", "value": row["recall@5"], "best_epoch": row["best_epoch"],
            "best_value": max(r["recall@5"] for r in found[:epoch + 1]),
            "values": [r["recall@5"] for r in found[:epoch + 1]]}
    # Held out or from a file of its own: the same sessions, the same numbers.
    write(clicks[clicks["SessionId"] <= 80], "early.tsv")
    status, _, err = inline("--train_path", "early.tsv", "--valid_path", "held.tsv",
                            "--checkpoint_dir", "other", "--epoch", 3, *(SMALL + flags))
    assert status == 0, err
    assert [dict(row, seconds=0)
            for row in rows("other", "valid")] == [dict(row, seconds=0) for row in found]


def test_patience_stops_and_the_best_epoch_is_used(inline, tmp_path, clicks, scripted):
    scripted(0.1, 0.3, 0.2, 0.3, 0.9)
    status, _, err = inline("--train_path", "clicks.tsv", "--valid_days", 0.2, "--patience", 2,
                            "--epoch", 9, "--test_path", "clicks.tsv", *SMALL)
    assert status == 0
    assert err.splitlines()[-1].endswith("epoch 1 was the best of 4 trained (validation Recall@20: "
                                         "0.3000)")
    assert names_module.epochs("checkpoint") == [0, 1, 2, 3]
    assert len(rows("checkpoint", "valid")) == 4
    _, best, err = inline("--train", 0)
    assert "epoch 1 of checkpoint is used, the best by validation (recall@20 0.3000)" in err
    assert inline("--train", 0, "--test", 1)[1] == best
    assert "by validation" not in inline("--train", 0, "--test", 3)[2]
    assert [row["epoch"] for row in rows("checkpoint", "eval")] == [1, 1, 3]
    os.remove("checkpoint/gru-model-1.json")
    status, _, err = inline("--train", 0)
    assert status == 2 and "no checkpoint of epoch 1; --test takes one of: 0, 2, 3" in err


def test_without_validation_the_newest_is_used(inline, clicks):
    inline("--train_path", "clicks.tsv", "--epoch", 2, "--test_path", "clicks.tsv", *SMALL)
    status, _, err = inline("--train", 0)
    assert status == 0 and "by validation" not in err
    assert rows("checkpoint", "eval")[0]["epoch"] == 1
    assert manifest("checkpoint", 1)["validation"] is None


@pytest.mark.parametrize("source", ["--valid_fraction", "--valid_path"])
def test_a_refit_is_a_training_on_everything_for_the_best_number_of_epochs(inline, clicks, scripted,
                                                                           source):
    scripted(0.1, 0.3, 0.2)
    flags = ["--train_path", "clicks.tsv", "--valid_fraction", 0.2]
    if source == "--valid_path":
        late = clicks["SessionId"] > 80
        write(clicks[~late], "early.tsv"), write(clicks[late], "late.tsv")
        # early, then late
        write(clicks.iloc[sorted(range(len(clicks)), key=lambda i: late.iloc[i])], "clicks.tsv")
        flags = ["--train_path", "early.tsv", "--valid_path", "late.tsv"]
    status, out, err = inline("--epoch", 3, "--refit", 1, "--checkpoint_dir", "again",
                              *(flags + SMALL))
    assert status == 0 and TRAIN_LINES.fullmatch(out) and out.count("Epoch 0\tStep 1\t") == 2
    assert "an earlier run in again was moved to %s" % os.path.join("again", "previous-1") in err
    assert err.splitlines()[-1].endswith(
        "trained again on all sessions for 2 epochs: epoch 1 was the best of 3 trained (validation "
        "Recall@20: 0.3000)")
    assert inline("--epoch", 2, "--checkpoint_dir", "direct", "--train_path", "clicks.tsv",
                  *SMALL)[0] == 0
    assert names_module.epochs("again") == [0, 1]
    assert names_module.epochs("again/previous-1") == [0, 1, 2]
    names = ["vocabulary.npz", "rules.npz"]
    names += ["gru-model-%d%s" % (epoch, ending) for epoch in (0, 1)
              for ending in (".index", ".data-00000-of-00001")]
    for name in names:
        with open(os.path.join("again", name), "rb") as ours:
            with open(os.path.join("direct", name), "rb") as theirs:
                assert ours.read() == theirs.read(), name
    ours, theirs = manifest("again", 1), manifest("direct", 1)
    assert ours["validation"] is None and not config.from_dict(ours["config"]).validation.is_on
    for group in ("model", "training", "validation", "evaluation"):
        assert ours["config"][group] == theirs["config"][group]
    assert rows("again", "valid") == [] and len(rows("again/previous-1", "valid")) == 3
    assert inline("--train", 0, "--checkpoint_dir", "again", "--test_path", "clicks.tsv")[0] == 0
    assert rows("again", "eval")[0]["epoch"] == 1


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_during_validation_stops_and_keeps_the_epoch(inline, clicks, monkeypatch, number,
                                                              status):
    real, calls = evaluator.Evaluator.run, []

    def run(self, *args, **options):
        calls.append(self)
        if len(calls) == 2:
            os.kill(os.getpid(), number)
        return real(self, *args, **options)

    monkeypatch.setattr(evaluator.Evaluator, "run", run)
    found, _, err = inline("--train_path", "clicks.tsv", "--valid_fraction", 0.2, "--epoch", 9,
                           "--refit", 1, "--test_path", "clicks.tsv", *SMALL)
    assert found == status and err.splitlines()[-1].startswith("error: interrupted")
    assert names_module.epochs("checkpoint") == [0, 1]
    assert not os.path.exists("checkpoint/previous-1")
    record = manifest("checkpoint", 1)["validation"]
    assert record["value"] is None and record["best_epoch"] == 0
    assert inline("--train", 0)[0] == 0 and rows("checkpoint", "eval")[0]["epoch"] == 0


def test_a_signal_while_the_last_epoch_is_saved_comes_before_the_refit_and_in_the_refit_stops_it(
        inline, clicks, monkeypatch, scripted):
    real, saves = checkpoint.save, []

    def save(directory, cfg, *args, **more):
        saves.append(cfg.validation.is_on)
        if len(saves) == wanted:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(directory, cfg, *args, **more)

    monkeypatch.setattr(checkpoint, "save", save)
    for wanted, expected in ((2, [True, True]), (3, [True, True, False])):
        del saves[:]
        scripted(0.1, 0.2)
        status, _, err = inline("--train_path", "clicks.tsv", "--valid_fraction", 0.2, "--epoch", 2,
                                "--refit", 1, "--checkpoint_dir", "run-%d" % wanted, *SMALL)
        assert status == 143 and saves == expected, err
        assert ("training again" in err) == (wanted == 3), err
    assert names_module.epochs("run-2") == [0, 1] and names_module.epochs("run-3") == [0]
    assert names_module.epochs("run-3/previous-1") == [0, 1]


@pytest.mark.parametrize("flags, words", [
    (["--valid_fraction", 0.1, "--valid_days", 1], ["--valid_fraction 0.1", "--valid_days 1"]),
    (["--patience", 2], ["--patience 2", "--valid_fraction"]),
    (["--refit", 1], ["--refit 1", "--valid_fraction"]),
    (["--valid_fraction", 0.01], ["clicks.tsv: --valid_fraction 0.01", "1 to validate"]),
    (["--valid_days", 99], ["clicks.tsv: --valid_days 99", "leaves 0 sessions"]),
    (["--valid_path", "none.tsv"], ["none.tsv"]),
    (["--valid_path", "clicks.tsv", "--refit", 1], ["clicks.tsv: 100 session ids", "--refit 1"]),
    (["--valid_path", "other.tsv"], ["other.tsv: none of its 2 items is known"])])
def test_what_cannot_be_is_one_line_and_nothing_is_written(inline, tmp_path, clicks, flags, words,
                                                           monkeypatch):
    monkeypatch.setattr("gru4rec.training.run.device_for", lambda *_: pytest.fail(
        "found too late: TensorFlow is about to be imported"))
    (tmp_path / "other.tsv").write_text("SessionId\tItemId\tTime\n1\t-5\t1\n1\t-6\t2\n")
    status, out, err = inline("--train_path", "clicks.tsv", *(flags + SMALL))
    errors = [line for line in err.splitlines() if not line.startswith("I gru4rec.")]
    assert helpers.foreign_lines(err) == [], err
    assert status == 2 and out == "" and len(errors) == 1 and errors[0].startswith("error: ")
    for word in words:
        assert word in errors[0]
    assert sorted(os.listdir(str(tmp_path))) == ["clicks.tsv", "other.tsv"]


def test_commands_of_the_readme(inline, tmp_path):
    """Choosing the number of epochs, with its flags as the README gives them."""
    for name, seed in (("clicks.tsv", 1), ("next_day.tsv", 2)):
        write(synthetic.markov_sessions(80, 30, seed), tmp_path / name)
    command = ("--train_path clicks.tsv --valid_fraction 0.1 --epoch 20 --patience 2 --refit 1 "
               "--checkpoint_dir runs/b")
    status, _, err = inline(*(command.split() + SMALL))
    assert status == 0 and "trained again on all sessions" in err.splitlines()[-1]
    assert inline(*"--train 0 --checkpoint_dir runs/b --test_path next_day.tsv".split())[0] == 0


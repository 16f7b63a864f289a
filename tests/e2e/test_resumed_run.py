"""Stopped and resumed by the real command: the same numbers, and nothing is lost."""

import json
import os
import shutil
import signal
import time

import pytest

from gru4rec import checkpoint, tf_compat
from gru4rec import engine as engine_module
from gru4rec.checkpoint import names
from gru4rec.command import interrupts
from gru4rec.data import synthetic
from gru4rec.training import directory as directory_module

pytestmark = pytest.mark.tf

SMALL = ["--train_path", "clicks.tsv", "--size", 8, "--batch_size", 4, "--epoch", 3, "--log_every",
         20, "--lr", 0.02]
compiled_runs_repeat = pytest.mark.skipif(
    tf_compat.has_xla() and tf_compat.TF_VERSION < (2, 15),
    reason="two compiled runs with TensorFlow 2.6 differ in the last place, now and then")
TIMES = ("seconds", "seconds_per_step", "events_per_s")


@pytest.fixture
def clicks(tmp_path):
    synthetic.markov_sessions(80, 30, 1,
                              noise=0.4).to_csv(str(tmp_path / "clicks.tsv"), sep="\t", index=False)
    return tmp_path


def rows(directory, kind=None):
    with open(os.path.join(str(directory), "metrics.jsonl")) as file:
        found = [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in file]
    return [row for row in found if kind in (None, row["kind"])]


def tensors(directory):
    """{file: bytes} of the tensors, vocabulary and rules in a directory."""
    found = {}
    for name in os.listdir(directory):
        if name.startswith("gru-model") and not name.endswith(".json") or name.endswith(".npz"):
            with open(os.path.join(directory, name), "rb") as file:
                found[name] = file.read()
    return found


def lines(out):
    return [line for line in out.splitlines() if line.startswith("Epoch ")]


@pytest.fixture
def stop_at(monkeypatch):
    """function (checks, number): a signal comes at that check of a StopRequest, counted from now.

    checks = 0: never again. Returns how many checks there were since the last call.
    """
    real, state = interrupts.StopRequest.check, {"at": 0, "seen": 0}

    def check(self):
        state["seen"] += 1
        if state["seen"] == state["at"]:
            os.kill(os.getpid(), state["number"])
        real(self)

    monkeypatch.setattr(interrupts.StopRequest, "check", check)

    def ask(checks, number=signal.SIGTERM):
        seen = state["seen"]
        state.update(at=checks, seen=0, number=number)
        return seen

    return ask


@pytest.mark.parametrize("engine, share", [
    (["--xla", "off"], 0.55), (["--engine", "plain"], 0.35),
    pytest.param(["--xla", "auto", "--optimizer", "rmsprop", "--momentum", 0.5, "--n_sample", 16],
                 0.8,
                 marks=[pytest.mark.release, compiled_runs_repeat])])
@pytest.mark.once
def test_a_run_stopped_again_and_again_is_the_uninterrupted_one(inline, clicks, stop_at, engine,
                                                                share):
    """Log lines, rows, weights, moments and states, bit for bit, whatever was saved on the way."""
    flags = SMALL + engine
    # Compiled calls of other lengths may be other programs, which round in their own way.
    as_often = ["--save_every", 33] if "auto" in engine else []
    status, whole, err = inline("--checkpoint_dir", "whole", *(flags + as_often))
    assert status == 0, err
    seen, resumed = [], 0
    checks = int(stop_at(0) * share)  # of those of the whole run
    assert checks > 2
    stop_at(checks - 1, signal.SIGINT)
    status, out, err = inline("--checkpoint_dir", "parts", "--save_every", 33, *flags)
    assert status == 130
    while status:
        assert status in (130, 143)
        last = err.splitlines()[-1]
        assert last.startswith("error: interrupted; saved parts") and last.endswith(
            "go on with: python -m gru4rec.main --resume 1 --checkpoint_dir parts")
        seen += lines(out)
        resumed += 1
        stop_at(checks)
        status, out, err = inline("--checkpoint_dir", "parts", "--resume", 1)
    assert resumed >= 2 and "going on from" in err
    assert seen + lines(out) == lines(whole)
    assert tensors("parts") == tensors("whole")
    assert rows("parts") == rows("whole")
    assert names.listing("parts") == names.listing("whole")


def test_a_finished_run_is_left_alone_and_a_longer_one_is_the_longer_one(inline, clicks):
    flags = SMALL + ["--xla", "off"]
    inline("--checkpoint_dir", "three", *flags)
    before = {name: os.stat(os.path.join("three", name)).st_mtime_ns
              for name in os.listdir("three")}
    status, out, err = inline("--checkpoint_dir", "three", "--resume", 1, *flags)
    assert (status, out) == (0, "") and "the run in three is finished; nothing is left to do" in err
    assert {name: os.stat(os.path.join("three", name)).st_mtime_ns
            for name in os.listdir("three")} == before
    assert inline("--checkpoint_dir", "three", "--resume", 1, "--epoch", 4)[0] == 0
    inline("--checkpoint_dir", "four", *(flags + ["--epoch", 4]))
    assert tensors("three") == tensors("four") and rows("three") == rows("four")


def test_nothing_to_resume_begins_and_other_events_are_refused(inline, clicks):
    flags = SMALL + ["--xla", "off", "--epoch", 1]
    status, _, err = inline("--resume", 1, *flags)
    assert status == 0 and "nothing to resume in checkpoint: starting afresh" in err
    synthetic.markov_sessions(80, 30, 2, noise=0.4).to_csv("clicks.tsv", sep="\t", index=False)
    before = tensors("checkpoint")
    status, out, err = inline("--resume", 1, "--epoch", 2)
    assert (status, out) == (2, "")
    assert "--train_path clicks.tsv does not hold the events" in err.splitlines()[-1]
    assert tensors("checkpoint") == before


@pytest.mark.once
def test_a_validated_run_with_a_refit_goes_on_in_either_part(inline, clicks, stop_at):
    flags = SMALL + ["--xla", "off", "--valid_fraction", 0.2, "--refit", 1, "--patience", 2,
                     "--epoch", 4]
    inline("--checkpoint_dir", "whole", *flags)
    stop_at(9)
    status, _, err = inline("--checkpoint_dir", "parts", *flags)
    stopped = []
    while status:
        assert status == 143, err
        stopped.append("previous-1" in os.listdir("parts"))
        stop_at(13)
        status, _, err = inline("--checkpoint_dir", "parts", "--resume", 1)
    assert stopped[0] is False and stopped[-1] is True
    for part in ("", "previous-1"):
        ours, theirs = os.path.join("parts", part), os.path.join("whole", part)
        assert tensors(ours) == tensors(theirs) and rows(ours) == rows(theirs)
    status, _, err = inline("--checkpoint_dir", "parts", "--resume", 1)
    assert status == 0 and "is finished" in err


def test_another_run_in_the_directory_is_status_4_and_an_evaluation_is_none(inline, clicks):
    flags = SMALL + ["--xla", "off", "--epoch", 1, "--test_path", "clicks.tsv"]
    inline(*flags)
    before = tensors("checkpoint")
    with directory_module.RunDirectory("checkpoint"):
        for more in ([], ["--resume", 1]):
            status, out, err = inline(*(flags + more))
            assert (status, out) == (4, "")
            assert "checkpoint is in use by another run (process id %d)" % os.getpid() in err
        assert inline("--train", 0)[0] == 0
    assert tensors("checkpoint") == before


def test_saving_by_the_clock_changes_no_number_and_moments_go_with_the_end(inline, clicks,
                                                                           monkeypatch):
    flags = SMALL + ["--xla", "off"]
    inline("--checkpoint_dir", "whole", *flags)
    saves, real = [], checkpoint.save

    def save(*args, **more):
        saves.append(more["is_moment"])
        return real(*args, **more)

    monkeypatch.setattr(checkpoint, "save", save)
    monkeypatch.setattr(time, "monotonic", iter(range(10 ** 6)).__next__)
    inline("--checkpoint_dir", "clock", "--save_every", "2s", *flags)
    assert saves.count(True) > 3 and saves.count(False) == 3
    assert tensors("clock") == tensors("whole") and rows("clock") == rows("whole")


def test_a_weight_that_is_not_finite_is_status_3_and_the_last_good_checkpoint_stays(inline, clicks,
                                                                                    monkeypatch):
    """The losses may all be finite: no batch has read the row yet, or the last update overflowed.
    """
    real = engine_module.create

    def create(*args):
        trainer = real(*args)
        arrays = trainer.arrays

        def broken():
            found = arrays()
            if found["global_step"] > 60:
                found["softmax_w"][3, 1] = float("inf")
            return found

        trainer.arrays = broken
        return trainer

    monkeypatch.setattr(engine_module, "create", create)
    status, _, err = inline("--save_every", 30, *(SMALL + ["--xla", "off"]))
    assert status == 3
    assert err.splitlines()[-1].startswith("error: softmax_w is not finite after step ")
    assert "--lr" in err
    assert names.listing("checkpoint")[-1].step in (60, float("inf"))


def test_a_warm_start_keeps_old_rows_and_adds_new_ones(inline, clicks):
    flags = SMALL + ["--xla", "off", "--epoch", 1]
    inline("--checkpoint_dir", "old", *flags)
    frame = synthetic.markov_sessions(80, 30, 2, noise=0.4)
    frame.loc[frame["ItemId"] == frame["ItemId"].iloc[0], "ItemId"] = -5
    frame.to_csv("next.tsv", sep="\t", index=False)
    new = ["--checkpoint_dir", "new", "--train_path", "next.tsv", "--init_from", "old",
           "--batch_size", 4, "--xla", "off", "--epoch", 1, "--lr", 1e-30, "--decay", 1,
           "--optimizer", "sgd"]
    status, _, err = inline(*new)
    assert status == 0, err
    old, found = checkpoint.load("old"), checkpoint.load("new")
    assert ("29 of its 30 items occur in the training file, 1 do not and keep their rows; 1 new "
            "items have fresh rows" in err)
    assert list(found.vocabulary.ids[:30]) == list(old.vocabulary.ids)
    assert found.vocabulary.ids[30] == -5
    assert found.arrays["embedding"].shape == (31, 8)
    assert abs(found.arrays["embedding"][30]).max() > 0
    from gru4rec.model import state
    caught_up = state.caught_up(old.config, old.arrays)
    # the rate is all but 0 (its floor is 1e-5)
    for name in ("embedding", "softmax_w", "gru_layer_0/gates/kernel"):
        assert abs(found.arrays[name][:30] - caught_up[name][:30]).max() < 1e-2
    assert found.config.model == old.config.model
    status, _, err = inline(*(new + ["--size", 9]))
    assert status == 2 and "--size 9 contradicts old" in err.splitlines()[-1]
    status, _, err = inline(*(new + ["--preset", "fast"]))
    assert status == 2 and "contradicts old" in err.splitlines()[-1]


def test_a_warm_start_is_resumed_without_the_model_it_began_with(inline, clicks, stop_at):
    inline("--checkpoint_dir", "old", *(SMALL + ["--xla", "off", "--epoch", 1]))
    synthetic.markov_sessions(90, 40, 2, noise=0.4).to_csv("next.tsv", sep="\t", index=False)
    flags = ["--train_path", "next.tsv", "--init_from", "old", "--batch_size", 4, "--xla", "off",
             "--epoch", 2, "--n_sample", 8, "--sample_alpha", 0, "--logq", 1, "--steps_per_run", 20]
    assert inline("--checkpoint_dir", "whole", *flags)[0] == 0
    stop_at(6)
    assert inline("--checkpoint_dir", "parts", *flags)[0] == 143
    shutil.rmtree("old")
    stop_at(0)
    status, _, err = inline("--checkpoint_dir", "parts", "--resume", 1)
    assert status == 0, err
    assert tensors("parts") == tensors("whole")


def test_commands_of_the_readme(inline, tmp_path, stop_at):
    """Saving within epochs, going on, the next day's training, with the flags of the README."""
    for name, seed in (("clicks.tsv", 1), ("today.tsv", 2)):
        synthetic.markov_sessions(80, 30, seed).to_csv(str(tmp_path / name), sep="\t", index=False)
    small = ["--size", 8, "--batch_size", 20, "--xla", "off"]
    stop_at(3)
    assert inline(*("--train_path clicks.tsv --save_every 90s --checkpoint_dir runs/d".split()
                    + small))[0] == 143
    stop_at(0)
    assert inline(*"--resume 1 --checkpoint_dir runs/d".split())[0] == 0
    command = "--train_path today.tsv --init_from runs/d --checkpoint_dir runs/e"
    assert inline(*(command.split() + small[2:]))[0] == 0

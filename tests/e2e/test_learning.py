"""What the command learns and how it measures: every loss, kinds of ids, ties, unknown items,
seeds, engines.
"""

import json
import re
import subprocess
import sys

import numpy as np
import pytest

from gru4rec import checkpoint
from gru4rec.data import synthetic
from tests import tolerance

pytestmark = [pytest.mark.tf, pytest.mark.once]

NUM_ITEMS = 60
FAST = ["--train_path", "train.tsv", "--test_path", "test.tsv", "--size", 24, "--batch_size", 20,
        "--epoch", 6, "--lr",
        0.01, "--dropout", 0, "--xla", "off", "--log_every", 100]


@pytest.fixture
def data(tmp_path):
    """tmp_path with train.tsv and test.tsv of one chain, in which an item has exactly one
    successor.
    """
    for name, seed, num_sessions in (("train", 1, 600), ("test", 2, 200)):
        frame = synthetic.markov_sessions(num_sessions, NUM_ITEMS, seed)
        frame.to_csv(str(tmp_path / (name + ".tsv")), sep="\t", index=False)
    return tmp_path


@pytest.fixture
def ok(inline):
    """function (*flags) -> stdout of the command, which must succeed."""
    def run(*flags):
        status, out, err = inline(*flags)
        assert status == 0, err
        return out

    return run


def measured(out):
    """{cut-off: (recall, mrr)} of an evaluation's lines."""
    return {int(cut): (float(recall), float(mrr)) for cut, recall, mrr in
            re.findall(r"^Recall@(\d+): (\S+)\tMRR@\1: (\S+)$", out, re.M)}


@pytest.mark.release
@pytest.mark.parametrize("flags", [
    ["--loss", "cross-entropy"], ["--final_act", "tanh"], ["--loss", "bpr"],
    ["--loss", "bpr", "--final_act", "linear"],
    ["--loss", "top1"], ["--loss", "top1", "--final_act", "relu"], ["--hidden_act", "relu"],
    ["--size", "32,16"],
    ["--layer", "2"], ["--grad_cap", "1"], ["--dropout", "0.2"], ["--session_order", "time"],
    ["--engine", "plain"]],
    ids="".join)
def test_each_option_learns_the_chain(ok, data, flags):
    ok(*(FAST + flags))
    found = measured(ok("--train", 0, "--cut_off", "1,5,20"))
    assert sorted(found) == [1, 5, 20]
    # Chance is 5/60. A relu score that is negative for all gets no gradient, so top1 leaves some
    # items unlearnt.
    assert found[5][0] > (0.5 if "--final_act" in flags and "relu" in flags else 0.8)
    assert found[1][0] <= found[5][0] <= found[20][0] and found[1][0] == found[1][1]
    assert found[5][1] <= found[20][1] <= found[20][0]


def test_the_log_is_the_running_mean_of_the_epoch(ok, data):
    """Logged at every step, the line of step n is n times its mean minus n - 1 times the one
    before.
    """
    line = r"Epoch (\d+)\tStep (\d+)\tlr: (\S+)\tloss: (\S+)\nEach Step time is:(\S+)\n"
    flags = ["--log_every", 1, "--epoch", 2, "--decay_steps", 50, "--decay", 0.5]
    lines = re.findall(line, ok(*(FAST + flags)))
    rows = [json.loads(line)
            for line in open(str(data / "checkpoint" / "metrics.jsonl"), encoding="utf-8")]
    train, epochs = [[row for row in rows if row["kind"] == kind] for kind in ("train", "epoch")]
    assert [(str(r["epoch"]), str(r["step"]), "%f" % r["lr"], "%f" % r["loss"],
             "%f" % r["seconds_per_step"])
            for r in train] == lines
    per_epoch = len(train) // 2
    assert [r["step"] for r in train] == list(range(1, 2 * per_epoch + 1))
    assert [r["epoch"] for r in train] == [0] * per_epoch + [1] * per_epoch
    assert [r["lr"] for r in train[:101:50]] == [0.01, 0.005, 0.0025] and train[49]["lr"] == 0.01
    # Each step's own loss, from the means: it starts at ln 20, that of 20 equal scores, and falls.
    means = np.array([r["loss"] for r in train[:per_epoch]]) * np.arange(1, per_epoch + 1)
    losses = np.diff(np.concatenate([[0], means]))
    assert losses[0] == pytest.approx(np.log(20), abs=0.05) and (losses > 0).all()
    assert (losses < 1.5 * np.log(20)).all()
    assert losses[-20:].mean() < 0.7 * losses[0]
    # the last step of an epoch is its mean
    for row, last in zip(epochs, (train[per_epoch - 1], train[-1])):
        assert row["loss"] == last["loss"] and row["events"] == 3000
    # Logged every 7 steps, the same run says the same at the same steps.
    sparse = dict(re.findall(r"Step (\d+)\tlr: \S+\tloss: (\S+)\n",
                             ok(*(FAST + ["--log_every", 7, "--epoch", 2, "--decay_steps", 50,
                                          "--decay", 0.5]))))
    assert sorted(map(int, sparse)) == [1] + list(range(7, 2 * per_epoch + 1, 7))
    for _, step, _, loss, _ in lines:
        assert abs(float(loss) - float(sparse.get(step, loss))) < 2e-6


def test_text_ids_give_the_numbers_of_whole_ones(ok, data):
    """Items are known by order of appearance; what they are called changes nothing."""
    ok(*FAST)
    whole = ok("--train", 0, "--cut_off", "1,20")
    for name in ("train", "test"):
        lines = (data / (name + ".tsv")).read_text(encoding="utf-8").splitlines()
        lines[1:] = [re.sub(r"\t(\d+)\t", "\tshoe \\1 \u20ac\t", line) for line in lines[1:]]
        (data / (name + ".tsv")).write_text("\n".join(lines) + "\n", encoding="utf-8")
    ok(*FAST)
    assert ok("--train", 0, "--cut_off", "1,20") == whole


@pytest.mark.parametrize("dropout", [0, 0.5])
def test_a_seed_repeats_its_weights_and_another_does_not(ok, data, dropout):
    weights = []
    for seed in (1, 1, 2):
        ok(*(FAST + ["--epoch", 1, "--dropout", dropout, "--seed", seed]))
        weights.append((data / "checkpoint" / "gru-model-0.data-00000-of-00001").read_bytes())
    assert weights[0] == weights[1] != weights[2]


@pytest.mark.machine
def test_evaluation_does_not_depend_on_its_lanes(ok, data):
    ok(*(FAST + ["--epoch", 1]))
    one = ok("--train", 0, "--cut_off", "5,20")
    for lanes in (1, 7, 5000):
        found = ok("--train", 0, "--cut_off", "5,20", "--eval_batch_size", lanes)
        # products of another number of rows may round otherwise
        tolerance.assert_same_evaluation(found, one)


@pytest.mark.parametrize("first, second", [("loop", "plain"), ("plain", "loop")])
def test_engines_end_at_the_same_metrics(ok, data, first, second):
    """Rows a step does not touch are left behind by the loop engine; evaluation must bring them up
    to date.
    """
    # items are rare
    synthetic.markov_sessions(600, 500, 5).to_csv(str(data / "train.tsv"), sep="\t", index=False)
    found = []
    for engine in (first, second):
        ok(*(FAST + ["--epoch", 1, "--engine", engine]))
        found.append(measured(ok("--train", 0, "--test_path", "train.tsv", "--cut_off", "5,100",
                                 "--engine", second)))
    for cut in (5, 100):
        assert found[0][cut] == pytest.approx(found[1][cut], abs=2e-3)


def test_tie_modes_of_a_model_that_scores_all_items_alike(ok, data):
    """Of 60 equal scores the target's is the last, the one in the middle (rank 30.5) or the first.
    """
    ok(*(FAST + ["--epoch", 1]))
    found = checkpoint.load(str(data / "checkpoint"))
    arrays = {name: np.zeros_like(a) if name.startswith("softmax_") else a for name,
              a in found.arrays.items()}
    arrays["softmax_w/last_step"][:] = found.step
    checkpoint.save(str(data / "checkpoint"), found.config, found.vocabulary, arrays, 1,
                    found.num_steps)
    for tie, rank in (("conservative", 60), ("median", 30.5), ("standard", 1)):
        expected = {cut: (float(rank <= cut), round((rank <= cut) / rank, 4))
                    for cut in (1, 20, 40, 60)}
        assert measured(ok("--train", 0, "--tie", tie, "--cut_off", "1,20,40,60")) == expected


def test_unknown_items_are_dropped_or_missed_and_both_are_counted(ok, data):
    ok(*FAST)
    rows = [(1, 1), (1, 2), (1, -7), (1, 3), (2, -7), (2, 4), (2, 5), (3, -8), (3, -7), (4, 6)]
    (data / "own.tsv").write_text("SessionId\tItemId\tTime\n" + "".join(
        "%d\t%d\t%d\n" % (session, item, time) for time, (session, item) in enumerate(rows)))
    drop, miss = [ok("--train", 0, "--test_path", "own.tsv", "--cut_off", 5, "--unknown", unknown)
                  for unknown in ("drop", "miss")]
    assert drop.splitlines()[0] == ("events: 3 sessions: 2 unknown items: 2 (in 4 events, dropped) "
                                    "short sessions dropped: 2")
    # Targets of the file: 2, -7, 3 | 4, 5 | -7.
    assert miss.splitlines()[0] == ("events: 6 sessions: 3 unknown items: 2 (in 4 events, misses "
                                    "where targets, skipped "
                                    "where inputs) short sessions dropped: 1")
    hits = {name: measured(out)[5][0] * count for name, out,
            count in (("drop", drop, 3), ("miss", miss, 6))}
    # drop ranks 2, 3 | 5, all of them successors; miss also ranks 4 after nothing.
    assert hits["drop"] == pytest.approx(3, abs=1e-3)
    assert 3 - 1e-3 <= hits["miss"] <= 4 + 1e-3


def test_the_command_says_what_it_read_and_dropped(data):
    """A process of its own: there the module is called __main__, and its log lines must be seen all
    the same.
    """
    with open(str(data / "train.tsv"), "a") as file:
        file.write("999999\t1\t1\n")
    err = subprocess.run([sys.executable, "-m",
                          "gru4rec.main"] + [str(f) for f in FAST + ["--epoch", 1]], cwd=str(data),
                         stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, universal_newlines=True,
                         check=True).stderr
    assert ("train.tsv: 3600 events, 600 sessions, 60 items, 3000 targets; 1 sessions of one event "
            "dropped") in err
    assert "device: " in err and "epoch 0: loss " in err


@pytest.mark.release
@pytest.mark.slow
def test_random_sessions_are_not_learnt_however_long(ok, data):
    """Ceiling on independent items, cut-offs and losses alike: what exceeds chance would be a leak
    of the target.
    """
    for name, seed in (("train", 3), ("test", 4)):
        synthetic.random_sessions(1500, NUM_ITEMS,
                                  seed).to_csv(str(data / (name + ".tsv")), sep="\t", index=False)
    for loss in ("cross-entropy", "bpr", "top1"):
        ok(*(FAST + ["--loss", loss]))
        for cut, (recall, _) in measured(ok("--train", 0, "--cut_off", "1,5,20")).items():
            assert abs(recall - cut / NUM_ITEMS) < 0.025  # 7,500 targets: four standard errors

"""Presets and the options of the model family by the real command."""

import json

import pytest

from gru4rec import checkpoint
from gru4rec.data import synthetic

pytestmark = [pytest.mark.tf, pytest.mark.once]


@pytest.fixture
def data(tmp_path):
    """clicks.tsv and next_day.tsv in the directory the command runs in: walks on a chain of 30
    items.
    """
    for name, seed in (("clicks.tsv", 1), ("next_day.tsv", 2)):
        synthetic.markov_sessions(150, 30, seed,
                                  noise=0.1).to_csv(str(tmp_path / name), sep="\t", index=False)
    return tmp_path


def test_commands_of_the_readme(data, inline):
    with pytest.raises(SystemExit) as ended:
        inline("--preset", "list")
    assert ended.value.code == 0
    status, _, err = inline("--train_path", "clicks.tsv", "--test_path", "next_day.tsv", "--preset",
                            "fast",
                            "--checkpoint_dir", "runs/c")
    assert status == 0, err
    status, out, err = inline("--train", "0", "--checkpoint_dir", "runs/c", "--cut_off", "5")
    assert status == 0, err
    found = checkpoint.load("runs/c").config
    assert (found.training.optimizer, found.training.n_sample,
            found.training.epoch) == ("adagrad", 512, 4)
    with open("runs/c/metrics.jsonl") as file:
        row = [json.loads(line) for line in file][-1]
    assert row["kind"] == "eval" and row["recall@5"] > 0.9 * row["rules_recall@5"]


@pytest.mark.parametrize("flags", [
    ["--loss", "bpr-max", "--optimizer", "adagrad", "--lr", 0.1, "--n_sample", 20, "--embedding",
     "none"],
    ["--loss", "full-cross-entropy", "--optimizer", "rmsprop", "--lr", 0.01, "--embedding",
     "shared"],
    ["--loss", "top1-max", "--optimizer", "sgd", "--momentum", 0.5, "--lr", 0.5, "--cell",
     "official", "--size", "8,12"]])
def test_saved_models_of_the_family_are_evaluated(data, inline, flags):
    common = ["--train_path", "clicks.tsv", "--test_path", "next_day.tsv", "--xla", "off",
              "--batch_size", 10,
              "--dropout", 0.1]
    status, _, err = inline(*(common + (["--size", 12] if "--size" not in flags else []) + flags))
    assert status == 0, err
    status, out, err = inline("--train", 0, "--loss", flags[1])
    assert status == 0 and "Recall@20: " in out, err
    status, _, err = inline("--train", 0, "--embedding",
                            "separate" if "--embedding" in flags else "shared")
    assert status == 2 and "contradicts" in err and "--embedding" in err


def test_a_contradiction_is_one_line_and_status_2(data, inline):
    status, out, err = inline("--train_path", "clicks.tsv", "--momentum", 0.1)
    assert (status, out) == (2, "")
    assert err.startswith("error: --momentum 0.1 has no meaning with --optimizer adam: ")
    assert err.count("\n") == 1

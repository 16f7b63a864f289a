"""`--tensorboard` by the command: the event files hold the rows of metrics.jsonl."""

import json

import pytest

from gru4rec.data import synthetic

pytestmark = [pytest.mark.tf, pytest.mark.once]


def events(directory):
    """tag -> list of (step, value) of all event files in a directory."""
    from gru4rec.tf_compat import tf
    found = {}
    for path in sorted(directory.iterdir()):
        for event in tf.train.summary_iterator(str(path)):
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return {tag: sorted(points) for tag, points in found.items()}


def test_event_files_hold_the_rows(tmp_path, inline):
    for name, seed in (("clicks.tsv", 1), ("next_day.tsv", 2)):
        synthetic.markov_sessions(120, 20, seed).to_csv(str(tmp_path / name), sep="\t", index=False)
    common = ["--train_path", "clicks.tsv", "--test_path", "next_day.tsv", "--tensorboard",
              "board/a", "--xla", "off"]
    status, _, err = inline(*(common + ["--size", 8, "--epoch", 2, "--log_every", 5,
                                        "--valid_fraction", 0.2,
                                        "--batch_size", 20]))
    assert status == 0, err
    status, _, err = inline(*(common + ["--train", 0]))
    assert status == 0, err
    with open("checkpoint/metrics.jsonl") as file:
        rows = [json.loads(line) for line in file]
    found = events(tmp_path / "board" / "a")
    for tag, kind, x, key in (("train/loss", "train", "step", "loss"),
                              ("train/lr", "train", "step", "lr"),
                              ("epoch/events_per_s", "epoch", "epoch", "events_per_s"),
                              ("valid/recall@20", "valid", "step", "recall@20"),
                              ("test/mrr@20", "eval", "step", "mrr@20")):
        expected = [(row[x], pytest.approx(row[key], rel=1e-6))
                    for row in rows if row["kind"] == kind]
        assert len(expected) >= 1 and found[tag] == expected, tag


def test_a_directory_that_cannot_be_made_is_one_line(tmp_path, inline):
    (tmp_path / "file").write_text("")
    status, out, err = inline("--tensorboard", "file/board")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: --tensorboard file/board cannot be made")

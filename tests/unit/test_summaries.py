"""What of a row TensorBoard draws; the event files themselves are in tests/e2e/test_tensorboard.py.
"""

import pytest

from gru4rec.errors import InputError
from gru4rec.runlog import tensorboard


@pytest.mark.parametrize("kind, values, expected", [
    ("train", dict(epoch=1, step=7, lr=0.5, loss=2, seconds_per_step=9),
     ([("train/loss", 2.0), ("train/lr", 0.5)], 7)),
    ("epoch", dict(epoch=1, events=7, events_per_s=5, loss=1.5),
     ([("epoch/events_per_s", 5.0), ("epoch/loss", 1.5)], 1)),
    ("valid", {"step": 7, "epoch": 0, "recall@20": 0.5, "mrr@20": 0.25},
     ([("valid/mrr@20", 0.25), ("valid/recall@20", 0.5)], 7)),
    ("eval", {"step": 7, "recall@5": 0.5, "rules_recall@5": 1, "ndcg@5": None},
     ([("test/recall@5", 0.5)], 7)),
    ("split", {"step": 7, "recall@5": 0.5}, ([], 0))])
def test_what_is_drawn(kind, values, expected):
    assert tensorboard.scalars(kind, values) == expected


def test_a_directory_that_cannot_be_made(tmp_path):
    tensorboard.check(None)
    tensorboard.check(str(tmp_path / "a" / "b"))
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="--tensorboard .*file/b cannot be made"):
        tensorboard.check(str(tmp_path / "file" / "b"))

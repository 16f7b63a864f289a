"""Training on a dataset directory in one process: the bits of a training on the plain file."""

import hashlib
import os

import pytest

pytest.importorskip("duckdb", reason="the extra `prepare` is not installed")
pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")

from gru4rec import main  # noqa: E402
from gru4rec.data import synthetic  # noqa: E402
from gru4rec.prepare import cli  # noqa: E402

pytestmark = [pytest.mark.tf, pytest.mark.once]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """pathlib.Path of the outputs of a small log, with text ids of items and sessions of one event.
    """
    directory = tmp_path_factory.mktemp("prepared")
    frame = synthetic.markov_sessions(300, 40, 3)
    frame["ItemId"] = "item-" + frame["ItemId"].astype(str)
    frame.sample(frac=0.8, random_state=1).to_csv(str(directory / "log.tsv"), sep="\t", index=False)
    words = ["session-rec", str(directory / "log.tsv"), "--out", str(directory), "--partitions",
             "3", "--split", "ratio",
             "--min_length", "1", "--min_support", "1"]
    assert cli.main(words) == 0
    return directory


def train(directory, path, **flags):
    """dict name -> SHA-256 of the checkpoint files with weights and of the vocabulary."""
    words = ["--train", "1", "--train_path", str(path), "--checkpoint_dir", str(directory),
             "--device", "cpu", "--size", "8",
             "--batch_size", "16", "--xla", "off"]
    assert main.main(words + [str(w) for name,
                              value in flags.items() for w in ("--" + name, value)]) == 0
    found = {}
    for name in os.listdir(str(directory)):
        if ".data-" in name or name.endswith(".npz"):
            found[name] = hashlib.sha256((directory / name).read_bytes()).hexdigest()
    return found


def test_weights_are_those_of_the_plain_file_whose_run_goes_on_in_parts(prepared, tmp_path):
    plain = prepared / "session-rec_train_full.txt"
    parted = prepared / "session-rec_train_full.parquet"
    first = train(tmp_path / "a", plain, epoch=1)
    assert len(first) > 2 and first == train(tmp_path / "b", parted, epoch=1)
    assert train(tmp_path / "a", parted, epoch=2,
                 resume=1) == train(tmp_path / "b", parted, epoch=2, resume=1) != first


def test_validation_order_by_time_and_weights_to_start_from(prepared, tmp_path):
    found = []
    for name in ("txt", "parquet"):
        flags = dict(epoch=1, session_order="time", valid_path=prepared / "session-rec_test.txt")
        train(tmp_path / name, prepared / ("session-rec_train_tr." + name), **flags)
        found.append(train(tmp_path / (name + "-on"), prepared / ("session-rec_train_full." + name),
                           init_from=tmp_path / name, **flags))
    assert found[0] == found[1]


def test_refusals_are_one_line_and_nothing_is_written(prepared, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for flags, words in ((["--train_path", prepared / "session-rec_train_full.parquet",
                           "--valid_fraction", 0.1],
                          "--valid_fraction 0.1 has no meaning with --train_path"),
                         (["--train_path", prepared], "dataset.json: cannot be read")):
        assert main.main([str(flag) for flag in flags]) == 2
        err = capsys.readouterr().err
        assert len(err.splitlines()) == 1 and words in err
    assert os.listdir(str(tmp_path)) == []

"""`python -m gru4rec.recommend` by the real command, without TensorFlow."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import gru4rec
from gru4rec.data.vocab import Vocabulary
from gru4rec.recommend import cli, list_files
from tests import serving_helpers as helpers

SAMPLE_IDS = [214619433, 214014470, 214536502]  # as in the README


def command(cwd, *flags, status=0):
    """(stdout, stderr) of the command in a directory."""
    done = subprocess.run([sys.executable, "-m", "gru4rec.recommend"] + [str(f) for f in flags],
                          cwd=str(cwd),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    assert done.returncode == status, done.stderr
    return done.stdout, done.stderr


@pytest.fixture
def directory(tmp_path, monkeypatch):
    """A directory with `checkpoint` and `sessions.tsv`: sessions 1 and 2, one of unknown items, one
    of a single event.
    """
    (tmp_path / "checkpoint").mkdir()
    ids = np.concatenate([SAMPLE_IDS, 1000 + np.arange(37)]).astype(np.int64)
    helpers.save(tmp_path / "checkpoint", monkeypatch,
                 vocab=Vocabulary(ids, np.arange(40, dtype=np.int64) + 1))
    rows = [(2, 1001, 5), (2, 1000, 4), (1, 1003, 1), (3, 77, 1), (3, 78, 2), (4, 1030, 9),
            (1, 55, 2), (1, 1004, 3)]
    pd.DataFrame(rows,
                 columns=["SessionId", "ItemId",
                          "Time"]).to_csv(str(tmp_path / "sessions.tsv"), sep="\t", index=False)
    return tmp_path


SESSIONS = {1: [1003, 1004], 2: [1000, 1001], 3: [], 4: [1030]}


def inline(capfd, directory, *flags):
    """(exit status, stdout, stderr) of the command in this process."""
    capfd.readouterr()
    status = cli.main(["--checkpoint_dir", str(directory / "checkpoint")] + [str(f) for f in flags])
    return (status,) + tuple(capfd.readouterr())


def test_commands_of_the_readme(directory):
    model = gru4rec.load(str(directory / "checkpoint"))
    out, err = command(directory, "--checkpoint_dir", "checkpoint", "--items",
                       "214619433,214014470", "-k", 5)
    found = model.recommend([214619433, 214014470], k=5)
    assert out == "".join("%d\t%.6g\n" % pair for pair in zip(*found)) and err == ""
    for name in ("recs.parquet", "recs.csv", "recs.jsonl"):
        if name == "recs.parquet":
            pytest.importorskip("pyarrow")
        out, err = command(directory, "--checkpoint_dir", "checkpoint", "--sessions_path",
                           "sessions.tsv", "--out", name)
        assert out == ""
        assert ("lists of 4 sessions; 3 events of unknown items skipped; 1 sessions with no known"
                in err)
    assert sorted(os.listdir(str(directory))) == ["checkpoint", "recs.csv", "recs.jsonl",
                                                  "recs.parquet", "sessions.tsv"]


def test_parquet_has_its_types_though_the_first_block_has_no_lists(tmp_path):
    parquet, path = pytest.importorskip("pyarrow.parquet"), tmp_path / "lists.parquet"
    ids, popular = np.array(["a", "b"], object), np.array([False])
    with list_files.writer(str(path)) as lists:
        for session, place in ((1, -1), (2, 1)):
            lists.add(np.array([session]), np.array([[place]]), np.ones((1, 1), np.float32),
                      popular, ids)
    table = parquet.read_table(str(path))
    assert table.to_pydict() == {"session": [2], "rank": [1], "item": ["b"], "score": [1.0],
                                 "source": ["model"]}
    assert [str(kind)
            for kind in table.schema.types] == ["int64", "int32", "string", "float", "string"]


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_a_file_holds_the_lists_of_the_python_api(directory, capfd, monkeypatch, ending):
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    monkeypatch.setattr(cli, "BLOCK", 2)
    path = directory / ("lists." + ending)
    path.write_text("an older one")
    status, _, err = inline(capfd, directory, "--sessions_path", directory / "sessions.tsv",
                            "--out", path, "-k", 3,
                            "--exclude_seen", 1, "--exclude", "1005,9", "--threads", 3)
    assert status == 0, err
    if ending == "jsonl":
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        found = {line["session"]: (line["items"], line["scores"], line["source"]) for line in lines}
    else:
        table = pd.read_csv(str(path)) if ending == "csv" else pd.read_parquet(str(path))
        assert list(table) == ["session", "rank", "item", "score", "source"]
        assert table["rank"].tolist() == [1, 2, 3] * 4
        found = {key: (rows.item.tolist(), rows.score.tolist(), rows.source.iloc[0])
                 for key, rows in table.groupby("session")}
    model = gru4rec.load(str(directory / "checkpoint"))
    for session, items in SESSIONS.items():
        expected = model.recommend(items, 3, exclude_seen=True, exclude=[1005])
        assert found[session][0] == expected.ids.tolist()
        np.testing.assert_allclose(found[session][1], expected.scores, rtol=1e-5)
        assert found[session][2] == ("popularity" if session == 3 else "model")
    assert list(found) == [1, 2, 3, 4]


def test_unknown_items_are_said_and_are_no_error(directory, capfd):
    status, out, err = inline(capfd, directory, "--items", "1003,seven", "-k", 2, "--candidates",
                              "1000,1001,1002")
    assert status == 0 and "does not know seven; skipped" in err and "popular" not in err
    assert {line.split("\t")[0] for line in out.splitlines()} <= {"1000", "1001", "1002"}
    assert out.count("\n") == 2
    status, out, err = inline(capfd, directory, "--items", "seven", "--k", 2)
    assert (status, out) == (0, "1036\t40\n1035\t39\n") and "no item of the session is known" in err


@pytest.mark.parametrize("flags, expected", [
    ([], "--items"),
    (["--items", "1", "--sessions_path", "s.tsv", "--out", "o.csv"], "give either"),
    (["--sessions_path", "sessions.tsv"], "--sessions_path and --out together"),
    (["--items", "1", "--out", "o.csv"], "--sessions_path and --out together"),
    (["--items", "1,,2"], "--items '1,,2' is not item ids"),
    (["--items", "1", "-k", "0"], "--k 0 is out of range"),
    (["--items", "1", "--backend", "jax"], "--backend 'jax'"),
    (["--items", "1", "--epoch", "7"], "no checkpoint of epoch 7"),
    (["--sessions_path", "s.tsv", "--out", "o.txt"], "--out 'o.txt' is not a file name ending in"),
    (["--sessions_path", "sessions.tsv", "--out", "no/o.csv"], "--out no/o.csv cannot be written"),
    (["--sessions_path", "none.tsv", "--out", "o.csv"], "none.tsv"), (["--nothing"], "--nothing"),
    (["--sessions_path", "sessions.tsv", "--out", "o.csv", "--item_key", "Item"],
     "column 'Item' is missing")])
def test_bad_input_is_one_line_and_writes_nothing(directory, capfd, monkeypatch, flags, expected):
    monkeypatch.chdir(str(directory))
    status, out, err = inline(capfd, directory, *flags)
    assert (status, out) == (2, "")
    assert err.splitlines()[-1].startswith("error: ") and expected in err, err
    assert sorted(os.listdir(str(directory))) == ["checkpoint", "sessions.tsv"]


def test_the_file_read_is_not_replaced(directory, capfd):
    path = directory / "sessions.csv"
    os.rename(str(directory / "sessions.tsv"), str(path))
    status, _, err = inline(capfd, directory, "--sessions_path", path, "--out", path)
    assert status == 2 and "would replace" in err


def test_a_signal_leaves_no_file(directory, capfd, monkeypatch):
    monkeypatch.setattr(cli, "BLOCK", 1)
    real = cli._in_order

    def stopping(*arguments):
        for number, found in enumerate(real(*arguments)):
            if number == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            yield found

    monkeypatch.setattr(cli, "_in_order", stopping)
    status, _, err = inline(capfd, directory, "--sessions_path", directory / "sessions.tsv",
                            "--out", directory / "o.csv")
    assert status == 143 and "interrupted" in err
    assert sorted(os.listdir(str(directory))) == ["checkpoint", "sessions.tsv"]


def test_help_names_every_flag(capfd):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    text = capfd.readouterr()[0]
    assert ended.value.code == 0 and "-k K" in text
    for name in ("checkpoint_dir", "epoch", "backend", "items", "sessions_path", "out",
                 "exclude_seen", "candidates"):
        assert "--%s " % name in text

"""Two tables of ranks: errors, numbers, and an interval checked by another way of drawing."""

import sys

import numpy as np
import pandas as pd
import pytest

from gru4rec import compare
from gru4rec.errors import InputError
from gru4rec.evaluation import bootstrap, ranks_file


def table(seed=0, sessions=40, shift=0.0):
    random = np.random.RandomState(seed)
    lengths = np.random.RandomState(9).randint(1, 6, sessions)
    session = np.repeat(np.arange(sessions), lengths)
    position = np.concatenate([np.arange(n) + 1 for n in lengths])
    rank = np.floor(random.exponential(10 + shift, len(session))) + 1
    return pd.DataFrame({"session": session, "position": position, "target": session * 7 + position,
                         "rank": rank})


def run(tmp_path, capsys, first, second, *flags):
    for name, frame in (("a.csv", first), ("b.csv", second)):
        frame.to_csv(str(tmp_path / name), index=False)
    status = compare.main([str(tmp_path / "a.csv"), str(tmp_path / "b.csv")] + list(flags))
    return (status,) + tuple(capsys.readouterr())


def test_numbers_and_interval_against_drawing_whole_sessions(tmp_path, capsys):
    first, second = table(1), table(2, shift=15)
    first.loc[3, "rank"] = np.inf
    shuffled = second.sample(frac=1, random_state=0)
    status, out, _ = run(tmp_path, capsys, first, shuffled, "--cut_off", "5,20", "--samples",
                         "4000")
    lines = [line.split("\t") for line in out.splitlines()]
    assert status == 0 and lines[0] == ["events: %d sessions: 40" % len(first)]
    assert [line[0] for line in lines[2:]] == ["Recall@5", "MRR@5", "Recall@20", "MRR@20"]
    random = np.random.RandomState(5)
    groups = [np.flatnonzero(first["session"] == s) for s in range(40)]
    draws = [np.concatenate([groups[s] for s in random.randint(0, 40, 40)]) for _ in range(2000)]
    for line in lines[2:]:
        name, cut = line[0].split("@")
        gains = [np.where(f["rank"] <= int(cut), 1.0 if name == "Recall" else 1 / f["rank"], 0.0)
                 for f in (first, second)]
        assert [float(line[1]),
                float(line[2])] == pytest.approx([g.mean() for g in gains], abs=6e-5)
        assert float(line[3]) == pytest.approx((gains[0] - gains[1]).mean(), abs=6e-5)
        expected = np.percentile([(gains[0] - gains[1])[rows].mean() for rows in draws],
                                 [2.5, 97.5])
        assert [float(x) for x in line[4].split(" .. ")] == pytest.approx(expected, abs=0.015)
    # seed, row order
    assert run(tmp_path, capsys, first, second, "--cut_off", "5,20", "--samples", "4000")[1] == out


def test_equal_tables_differ_by_nothing(tmp_path, capsys):
    _, out, _ = run(tmp_path, capsys, table(1), table(1), "--samples", "100")
    assert [line.split("\t")[3:]
            for line in out.splitlines()[2:]] == [["+0.0000", "+0.0000 .. +0.0000"]] * 2


def _other_target(frame):
    frame.loc[4, "target"] = -5
    return frame


@pytest.mark.parametrize("change, words", [
    (lambda frame: frame.iloc[1:], ["do not cover the same", "1 are in", "0 in"]),
    (_other_target, ["do not cover the same", "target"]),
    (lambda frame: frame.drop(columns="rank"), ["b.csv", "'rank'"]),
    (lambda frame: frame.assign(rank=frame["rank"].where(frame.index != 3, 0)), ["b.csv", "row 4"]),
    (lambda frame: frame.assign(rank=frame["rank"].where(frame.index != 3)), ["b.csv", "row 4"]),
    (lambda frame: frame.assign(rank=frame["rank"].astype(object).where(frame.index != 3, "1e")),
     ["row 4", "rank '1e'"]),
    (lambda frame: frame.assign(position=frame["position"].astype(object).where(frame.index != 3,
                                                                                "x")),
     ["b.csv", "row 4", "position 'x'"]),
    (lambda frame: frame.assign(position=frame["position"] + 0.5),
     ["b.csv", "row 1", "position '1.5'"]),
    (lambda frame: frame.assign(position=0), ["b.csv", "row 1", "position '0'"]),
    (lambda frame: frame.drop(columns="target").assign(target=[1] + [None] * (len(frame) - 1)),
     ["do not cover"]),
    (lambda frame: pd.concat([frame, frame.iloc[:1]]), ["b.csv", "row %d" % (len(table()) + 1)]),
    (lambda frame: frame.iloc[:0], ["b.csv", "no target"])])
def test_tables_that_do_not_fit_are_refused_in_one_line(tmp_path, capsys, change, words):
    status, out, err = run(tmp_path, capsys, table(1), change(table(2)))
    assert status == 2 and out == "" and err.startswith("error: ") and err.count("\n") == 1
    assert all(word in err for word in words), err


@pytest.mark.parametrize("argv",
                         [[], ["a.csv"], ["a.csv", "b.csv", "c.csv"], ["none.csv", "none.csv"],
                                  ["none.parquet", "none.parquet"],
                          ["a.csv", "b.csv", "--samples", "1"]])
def test_wrong_arguments_are_one_line(tmp_path, capsys, monkeypatch, argv):
    monkeypatch.chdir(str(tmp_path))
    assert compare.main(argv) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"session,position,target,rank\n1,1\n",
                                     b"session,position,target,rank\n1,1,2,3\n1,2,2,3,4,5\n",
                                     b"PAR1"])
@pytest.mark.parametrize("name", ["b.csv", "b.parquet"])
def test_files_of_other_kinds_are_one_line(tmp_path, capsys, content, name):
    path = tmp_path / name
    path.write_bytes(content)
    table(1).to_csv(str(tmp_path / "a.csv"), index=False)
    assert compare.main([str(tmp_path / "a.csv"), str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: %s" % path) and err.count("\n") == 1


def test_parquet_ids_that_are_missing_are_refused(tmp_path):
    pytest.importorskip("pyarrow")
    frame = table(1).astype({"session": str})
    frame.loc[2, "session"] = None
    frame.to_parquet(str(tmp_path / "a.parquet"), index=False)
    with pytest.raises(InputError, match="row 3 has the session"):
        ranks_file.read(str(tmp_path / "a.parquet"))


def test_whatever_a_reader_of_damaged_bytes_raises_is_one_line(tmp_path, monkeypatch):
    class OfPyarrow(Exception):
        pass

    def damaged(*_, **__):
        raise OfPyarrow("Unknown error:\nWrapping 001 failed")
    monkeypatch.setattr(pd, "read_csv", damaged)
    with pytest.raises(InputError,
                       match=r"a.csv: cannot be read \(Unknown error: Wrapping 001 failed\)"):
        ranks_file.read("a.csv")


def test_parquet_without_pyarrow_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert compare.main(["a.parquet", "b.parquet"]) == 2
    assert capsys.readouterr().err.startswith("error: a.parquet needs pyarrow, which is not "
                                              "installed; pip install")


def test_a_signal_is_one_line(tmp_path, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt
    monkeypatch.setattr(compare, "differences", interrupted)
    status, _, err = run(tmp_path, capsys, table(1), table(2))
    assert (status, err) == (130, "error: interrupted\n")


def test_text_ids_stay_as_written(tmp_path, capsys):
    frame = pd.DataFrame({"session": ["007", "7", "NA"], "position": 1,
                          "target": ["1.0", "1", "nan"], "rank": [1.0, 2.5, np.inf]})
    status, out, err = run(tmp_path, capsys, frame, frame, "--samples", "100")
    assert status == 0 and out.startswith("events: 3 sessions: 3\n"), err
    assert "\nRecall@20\t0.6667\t" in out, err


def test_ids_as_text_and_as_numbers_are_the_same_ids():
    text = table(2).astype({"session": str, "target": str})
    assert len(bootstrap.join(table(1), text)) == len(text)

"""Which targets count, how they are split, and the table of ranks; by hand and by brute force."""

import os
import sys
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from gru4rec import config
from gru4rec.data.reading.loader import Events
from gru4rec.data.sessions import index_test
from gru4rec.data.targets import list_targets
from gru4rec.data.vocab import Vocabulary
from gru4rec.errors import InputError
from gru4rec.evaluation import metrics, protocol, ranks_file
from gru4rec.files import outputs

# Sessions of the file, in which u and v are unknown.
LISTS = {"s1": "abab", "s2": "uab", "s3": "aub", "s4": "av", "s5": "c", "s6": "abcdabcdabcda",
         "s7": "uuv", "s8": "cc"}
VOCAB = Vocabulary(np.array(list("abcd"), object), np.array([4, 3, 2, 1]))


def events(shuffle=0):
    rows = [(session, item, float(at))
            for session, items in LISTS.items() for at, item in enumerate(items)]
    order = np.random.RandomState(shuffle).permutation(len(rows))
    session, item, time = zip(*[rows[i] for i in order])
    return Events(np.array(session, object), np.array(item, object), np.array(time), "t.tsv", "s")


def options(**flags):
    return config.from_flags(dict({"train": "0"}, **flags)).evaluation


def brute_force(unknown):
    """Rows (session, position, item, known, repeated, last)."""
    out = []
    for session, items in sorted(LISTS.items()):
        kept = [(at, item) for at, item in enumerate(items) if unknown == "miss" or item in "abcd"]
        out += [(session, at, item, item in "abcd", item in items[:at], (at, item) == kept[-1])
                for at, item in kept[1:]]
    return out


@pytest.mark.parametrize("unknown", ["drop", "miss"])
def test_targets_are_those_of_brute_force_and_of_the_evaluation(unknown):
    found = list_targets(events(), VOCAB, unknown)
    assert list(zip(*[column.tolist() for column in found])) == brute_force(unknown)
    sessions, report = index_test(events(), VOCAB, unknown)
    assert len(found.known) == report.events and (~found.known).sum() == sessions.num_misses
    ranked = []
    for start, stop, leading in zip(sessions.offsets, sessions.offsets[1:], sessions.leading_skip):
        ranked += sessions.items[start + (not leading):stop].tolist()
    assert VOCAB.encode(found.item[found.known]).tolist() == ranked


def test_counts_of_all_targets_become_ranks_of_the_counted_ones():
    test = protocol.load(events(), VOCAB, options(unknown="miss", eval_target="last"))
    greater = np.arange(len(test.wanted))
    ranks = protocol.ranks_of_all(test, (greater, greater + 1))
    assert 0 < len(ranks) < len(greater)
    np.testing.assert_array_equal(ranks, 1.0 + np.flatnonzero(test.wanted))


def test_nothing_is_listed_where_nothing_asks_for_it():
    test = protocol.load(events(), VOCAB, options())
    assert test.targets is None and test.wanted is None and test.num_misses == 0


@pytest.mark.parametrize("unknown", ["drop", "miss"])
def test_last_targets_only(unknown):
    test = protocol.load(events(), VOCAB, options(unknown=unknown, eval_target="last"))
    expected = [row for row in brute_force(unknown) if row[5]]
    assert test.report.events == len(expected) == test.report.sessions
    assert test.wanted.tolist() == [row[5] for row in brute_force(unknown) if row[3]]
    assert test.num_misses == sum(not row[3] for row in expected)
    assert test.targets.session.tolist() == [row[0] for row in expected]


def ranks_of(test):
    return 1.0 + np.arange(int(test.targets.known.sum())) % 7


@pytest.mark.parametrize("unknown", ["drop", "miss"])
@pytest.mark.parametrize("target", ["all", "last"])
def test_parts_of_a_split_are_those_of_brute_force(unknown, target):
    test = protocol.load(events(), VOCAB,
                         options(unknown=unknown, split="repeat,position", cut_off="2,4",
                                                  eval_target=target))
    ranks, rows = ranks_of(test), protocol.split_rows(test, ranks_of(test))
    found, events_of, left = {}, Counter(), ranks.tolist()
    bins = {1: "1", 2: "2", 3: "3", 4: "4"}
    for _, at, _, known, repeated, last in brute_force(unknown):
        if target == "last" and not last:
            continue
        rank = left.pop(0) if known else np.inf
        for key in (("repeat", "repeated" if repeated else "new"),
                    ("position", bins.get(at, "5-9" if at < 10 else "10+"))):
            events_of[key] += 1
            found.setdefault(key, []).append(rank)
    assert [(row["split"], row["part"])
            for row in rows] == [("repeat", "new"), ("repeat", "repeated")] + [
        ("position", name) for name in ("1", "2", "3", "4", "5-9", "10+")]
    for row in rows:
        inside = np.array(found.get((row["split"], row["part"]), []))
        assert row["events"] == len(inside)
        for cut in (2, 4):
            gains = (inside <= cut, np.where(inside <= cut, 1 / inside, 0))
            expected = [gain.mean() for gain in gains] if len(inside) else [None, None]
            assert [row["recall@%d" % cut], row["mrr@%d" % cut]] == pytest.approx(expected)
    assert sum(row["events"] for row in rows if row["split"] == "repeat") == test.report.events
    assert len({row["recall@2"] for row in rows}) > 2


def test_the_table_of_a_split():
    test = protocol.load(events(), VOCAB, options(split="repeat"))
    lines = protocol.split_lines(protocol.split_rows(test, np.ones(test.report.events)), (20,))
    assert lines[0] == "split\tpart\tevents\tRecall@20\tMRR@20"
    assert [line.split("\t")[:2] + line.split("\t")[3:] for line in lines[1:]] == [
        ["repeat", "new", "1.0000", "1.0000"], ["repeat", "repeated", "1.0000", "1.0000"]]
    assert protocol.split_lines([], (20,)) == []
    empty = [dict(split="position", part="4", events=0, model="V-SKNN",
                  **{"recall@20": None, "mrr@20": None})]
    assert protocol.split_lines(empty, (20,)) == ["model\tsplit\tpart\tevents\tRecall@20\tMRR@20",
                                                  "V-SKNN\tposition\t4\t0\t-\t-"]


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_the_table_of_ranks_has_one_row_per_counted_target(tmp_path, suffix):
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    path = str(tmp_path / ("ranks." + suffix))
    test = protocol.load(events(), VOCAB, options(unknown="miss", ranks_out=path))
    ranks_file.write_ranks(test, ranks_of(test))
    frame = pd.read_parquet(path) if suffix == "parquet" else pd.read_csv(path)
    assert frame.columns.tolist() == ["session", "position", "target", "rank"]
    assert frame["rank"].dtype == np.float64
    expected, left = brute_force("miss"), ranks_of(test).tolist()
    assert list(zip(frame["session"], frame["position"],
                    frame["target"])) == [row[:3] for row in expected]
    assert frame["rank"].tolist() == [left.pop(0) if row[3] else np.inf for row in expected]


@pytest.mark.parametrize("name", ["none/ranks.csv", "folder.csv"])
def test_a_table_that_could_not_be_written_is_refused_first(tmp_path, name):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match=name):
        outputs.check("--ranks_out", str(tmp_path / name))


def test_a_table_that_would_replace_its_input_is_refused(tmp_path):
    events_file, other = tmp_path / "test.csv", tmp_path / "other.csv"
    events_file.write_text("x")
    (tmp_path / "link.csv").symlink_to(events_file)
    for name in ("test.csv", "link.csv"):
        with pytest.raises(InputError, match="would replace"):
            outputs.check("--ranks_out", str(tmp_path / name), str(other), str(events_file))
    outputs.check("--ranks_out", str(other), str(events_file), str(tmp_path / "none.csv"))


def test_a_directory_that_is_read_only_is_refused_first(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(InputError, match="a.csv"):
        outputs.check("--ranks_out", str(tmp_path / "a.csv"))


def test_a_table_of_parquet_needs_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    outputs.check("--ranks_out", str(tmp_path / "a.csv"))
    with pytest.raises(InputError, match="--ranks_out .*a.parquet needs pyarrow"):
        outputs.check("--ranks_out", str(tmp_path / "a.parquet"))


def test_a_table_is_complete_or_not_there(tmp_path, monkeypatch):
    path = tmp_path / "ranks.csv"
    path.write_text("before")
    test = protocol.load(events(), VOCAB, options(ranks_out=str(path)))

    def full(frame, name, **_):
        with open(name, "w") as out:
            out.write("half")
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    with pytest.raises(InputError, match="No space left"):
        ranks_file.write_ranks(test, ranks_of(test))
    assert [name.name for name in tmp_path.iterdir()] == ["ranks.csv"]
    assert path.read_text() == "before"


def test_ndcg_and_metrics_by_name():
    ranks = [1, 3, 7.5]
    assert metrics.ndcg(ranks, [1, 3, 8],
                        1) == pytest.approx([1 / 4, 1.5 / 4, (1.5 + 1 / np.log2(8.5)) / 4])
    (cut, values), = metrics.of_ranks(ranks, [3], 1)
    assert cut == 3 and values["recall"] == 2 / 4
    assert values["ndcg"] == metrics.ndcg(ranks, [3], 1)[0]


def test_results_are_those_asked_for_in_that_order_as_far_as_they_are_known():
    test = protocol.load(events(), VOCAB,
                         options(metrics="popularity,ndcg,coverage,recall", cut_off="2,1"))
    ranks = np.ones(test.report.events)
    assert protocol.results(test, ranks) == [(2, {"ndcg": 1.0, "recall": 1.0}),
                                             (1, {"ndcg": 1.0, "recall": 1.0})]
    with_lists = protocol.results(test, ranks, [[2, 2, 0, 0], [2, 0, 0, 0]], VOCAB.support)
    names = [list(values) for _, values in with_lists]
    assert names == [["popularity", "ndcg", "coverage", "recall"]] * 2
    assert [values["coverage"] for _, values in with_lists] == [1 / 2, 1 / 4]


def test_metrics_of_lists_by_hand():
    """Lists [a b], [a c], and the first item of each, of items with support 4, 2, 1, 1."""
    first, both = metrics.of_lists([[2, 0, 0, 0], [2, 1, 1, 0]], [4, 2, 1, 1])
    assert first == {"coverage": 1 / 4, "popularity": 1}
    assert both == {"coverage": 3 / 4, "popularity": (2 + 1 / 2 + 1 / 4) / 4}


def test_no_list_at_all_has_no_popularity():
    (values,) = metrics.of_lists([[0, 0]], [2, 1])
    assert values == {"coverage": 0, "popularity": None}
    assert protocol.result_lines([(20, values)]) == ["Coverage@20: 0.0000\tPopularity@20: -"]


def test_a_directory_to_be_made_needs_a_place_that_can_be_written(tmp_path):
    for directory in (True, False):
        with pytest.raises(InputError, match="--out .*none/a cannot be written: .*none is no dir"):
            outputs.check("--out", str(tmp_path / "none" / "a"), directory=directory)
    outputs.check("--out", str(tmp_path), directory=True)
    with pytest.raises(InputError, match="it is a directory; give the name of a file"):
        outputs.check("--out", str(tmp_path))

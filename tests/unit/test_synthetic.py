"""The generator: repeatable, its distributions exact, its ceilings those of brute force."""

import gzip
import itertools
import os

import numpy as np
import pytest

from gru4rec.data import click_process, synthetic
from gru4rec.data import sample as bundled
from gru4rec.errors import InputError

DATA = os.path.join(os.path.dirname(__file__), "..", "..", "data")
SMALL = dict(num_groups=4, group_size=3)


@pytest.fixture(scope="module")
def sample():
    return synthetic.make_sample()


def unzipped(path):
    with gzip.open(str(path), "rb") as lines:
        return lines.read()


def sessions(items, offsets):
    return [items[start:end].tolist() for start, end in zip(offsets[:-1], offsets[1:])]


@pytest.mark.parametrize("part", ["train", "test"])
def test_the_shipped_files_are_what_the_generator_makes(sample, part, tmp_path):
    synthetic.write_events(getattr(sample, part), str(tmp_path / "made.tsv.gz"))
    assert unzipped(tmp_path / "made.tsv.gz") == unzipped(bundled.path(part))


def test_the_readme_quotes_the_true_counts_and_ceilings(sample):
    with open(os.path.join(DATA, "README.md")) as lines:
        text = lines.read()
    for line in synthetic.describe(sample):
        assert line in text


def test_the_command_repeats_its_bytes_and_another_seed_changes_them(tmp_path, capsys):
    for name, seed in (("a", "7"), ("b", "7"), ("c", "8")):
        assert synthetic.main(["--out", str(tmp_path / name), "--seed", seed, "--sessions",
                               "90"]) == 0
    out = capsys.readouterr().out
    assert "best Recall@20, any model:" in out and "best MRR@20, last item only:" in out
    for file in ("sample_train.tsv.gz", "sample_test.tsv.gz"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
        assert unzipped(tmp_path / "a" / file) != unzipped(tmp_path / "c" / file)


@pytest.mark.parametrize("flags,words",
                         [(["--seed", "-1"], "--seed -1"), (["--sessions", "1"], "1 sessions")])
def test_the_command_names_what_it_cannot_use(flags, words, tmp_path, capsys):
    assert synthetic.main(["--out", str(tmp_path)] + flags) == 2
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_sample_looks_like_a_click_log(sample):
    ends = sample.train.groupby("SessionId").Time.max()
    assert ends.max() < sample.test.Time.min()
    for part in (sample.train, sample.test):
        assert part.dtypes.astype(str).tolist() == ["int64"] * 3
        inside = np.diff(part.SessionId) == 0
        assert (np.diff(part.Time)[inside] > 0).all()
        lengths = part.groupby("SessionId").size()
        assert lengths.min() == 2 and lengths.max() == 20 and 5.5 < lengths.mean() < 6.5
    assert set(sample.test.ItemId) <= set(sample.train.ItemId)
    counts = sample.train.ItemId.value_counts().values
    assert counts[0] > 5 * counts[-1]


def test_memory_is_worth_a_fifth_of_the_ceiling(sample):
    assert sample.memoryless.expected < 0.8 * sample.oracle.expected
    assert sample.memoryless.mrr_expected < 0.8 * sample.oracle.mrr_expected
    # 14,781 targets: one standard error is below 0.004
    for ceiling in (sample.oracle, sample.memoryless):
        assert abs(ceiling.expected - ceiling.realised) < 0.012
        assert abs(ceiling.mrr_expected - ceiling.mrr_realised) < 0.012


def test_distributions_sum_to_one():
    process = click_process.make_process(3, **SMALL)
    last, before = np.divmod(np.arange(12 * 13), 13)
    for rows in (click_process.next_item(process, last, before - 1),
                 click_process.last_item_only(process)):
        assert (rows > 0).all()
        np.testing.assert_allclose(rows.sum(1), 1, rtol=1e-12)


def test_groups_are_a_partition():
    process = click_process.make_process(3, **SMALL)
    assert sorted(process.members.ravel()) == list(range(12))
    for group, members in enumerate(process.members):
        assert (process.group[members] == group).all()
    assert sorted(process.first) == sorted(process.second) == list(range(4))


def test_next_item_by_hand():
    process = click_process.Process(
        pop=np.array([3, 1, 2, 2]), group=np.array([0, 0, 1, 1]),
        members=np.array([[0, 1], [2, 3]]),
        first=np.array([1, 0]), second=np.array([0, 1]), shares=(0.2, 0.3, 0.5), go_on=0.5,
        max_len=4)
    # last item 0 -> group 1 (2: 1/2, 3: 1/2); item before it 1 -> group 0 (0: 3/4, 1: 1/4); pop
    # 3/8, 1/8, 1/4, 1/4
    rows = click_process.next_item(process, [0, 0], [1, -1])
    np.testing.assert_allclose(rows[0],
                               [0.2 * 3 / 8 + 0.5 * 3 / 4, 0.2 / 8 + 0.5 / 4, 0.05 + 0.15,
                                0.05 + 0.15])
    np.testing.assert_allclose(rows[1], [0.4 * 3 / 8, 0.4 / 8, 0.1 + 0.3, 0.1 + 0.3])


def test_drawn_sessions_follow_the_stated_distributions():
    process = click_process.make_process(5, num_groups=2, group_size=2)
    items, offsets = click_process.draw_sessions(process, 60000, 6)
    last, before, target = click_process.contexts(items, offsets)
    for i in range(4):
        for j in range(-1, 4):
            seen = target[(last == i) & (before == j)]
            true = click_process.next_item(process, [i], [j])[0]
            margin = 4.5 * np.sqrt(true * (1 - true) / len(seen))
            assert (np.abs(np.bincount(seen, minlength=4) / len(seen) - true) < margin).all()
        seen = target[last == i]
        assert np.abs(np.bincount(seen, minlength=4) / len(seen)
                      - click_process.last_item_only(process)[i]).max() < 0.015
    lengths = np.diff(offsets)
    assert lengths.min() == 2 and lengths.max() <= click_process.MAX_LEN
    assert np.mean(lengths == 2) == pytest.approx(1 - click_process.GO_ON, abs=0.01)


def test_ceilings_equal_brute_force():
    """Learn both tables by counting in one large draw, then recommend from them on another."""
    process = click_process.make_process(9, **SMALL)
    counts = np.zeros((13, 12, 12))
    last, before, target = click_process.contexts(*click_process.draw_sessions(process, 100000, 1))
    np.add.at(counts, (before, last, target), 1)  # row -1 holds the first targets of the sessions
    test = click_process.draw_sessions(process, 4000, 2)
    oracle, memoryless = click_process.ceilings(process, *test, k=5)
    hits, reciprocal = np.zeros(2), np.zeros(2)
    last, before, target = click_process.contexts(*test)
    for i, j, k in zip(last, before, target):
        for at, row in enumerate((counts[j, i], counts[:, i].sum(0))):
            rank = np.argsort(-row).tolist().index(k) + 1
            hits[at] += rank <= 5
            reciprocal[at] += 1.0 / rank if rank <= 5 else 0.0
    np.testing.assert_allclose(hits / len(target), [oracle.realised, memoryless.realised],
                               atol=0.01)
    np.testing.assert_allclose(reciprocal / len(target),
                               [oracle.mrr_realised, memoryless.mrr_realised], atol=0.01)
    assert oracle.realised == pytest.approx(oracle.expected, abs=0.015)
    assert oracle.mrr_realised == pytest.approx(oracle.mrr_expected, abs=0.015)
    assert memoryless.expected < 0.95 * oracle.expected
    assert memoryless.mrr_expected < 0.95 * oracle.mrr_expected


def test_no_order_of_the_items_has_a_larger_expectation_than_the_ceilings():
    """All 24 orders of four items are tried in every context; only the sessions are drawn."""
    process = click_process.make_process(4, num_groups=2, group_size=2)
    items, offsets = click_process.draw_sessions(process, 300, 5)
    orders = np.array(list(itertools.permutations(range(4))))
    last, before, target = click_process.contexts(items, offsets)
    true = click_process.next_item(process, last, before)
    for k in (1, 2, 3, 4):
        per_rank = (np.arange(4) < k) / np.arange(1.0, 5.0)
        recall = true[:, orders[:, :k]].sum(2).max(1).mean()
        mrr = true[:, orders].dot(per_rank).max(1).mean()
        oracle, _ = click_process.ceilings(process, items, offsets, k=k, chunk=77)
        assert (oracle.expected, oracle.mrr_expected) == pytest.approx((recall, mrr), rel=1e-12)
        order = np.argsort(-true, axis=1, kind="stable").tolist()
        ranks = np.array([1 + row.index(item) for row, item in zip(order, target)])
        assert oracle.realised == pytest.approx(np.mean(ranks <= k), rel=1e-12)
        assert oracle.mrr_realised == pytest.approx(np.mean((ranks <= k) / ranks), rel=1e-12)


def test_contexts_of_two_sessions():
    last, before, target = click_process.contexts(np.array([5, 6, 7, 8, 9]), np.array([0, 3, 5]))
    assert (last.tolist(), before.tolist(), target.tolist()) == ([5, 6, 8], [-1, 5, -1], [6, 7, 9])


def test_markov_sessions_follow_the_chain():
    frame = synthetic.markov_sessions(50, 7, seed=1)
    assert len(frame) == 300 and frame.SessionId.nunique() == 50
    for _, rows in frame.groupby("SessionId"):
        ids = rows.ItemId.tolist()
        assert all(after == before % 7 + 1 for before, after in zip(ids, ids[1:]))
        assert (np.diff(rows.Time) > 0).all()


def test_markov_sessions_of_noise_alone_are_uniform():
    ids = synthetic.markov_sessions(5000, 10, seed=2, noise=1.0).ItemId.values
    np.testing.assert_allclose(np.bincount(ids)[1:] / len(ids), 0.1, atol=0.01)
    pairs = ids.reshape(-1, 6)
    stays_in_chain = pairs[:, 1:] == pairs[:, :-1] % 10 + 1
    assert stays_in_chain.mean() == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("kwargs",
                         [dict(num_groups=0), dict(shares=(0.5, 0.6, -0.1)), dict(shares=(0, 0, 1)),
                                    dict(go_on=1.0), dict(max_len=1)])
def test_a_process_that_cannot_be_is_refused(kwargs):
    with pytest.raises(InputError):
        click_process.make_process(0, **kwargs)

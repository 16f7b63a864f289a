"""Every baseline against brute force: event by event, dense scores, Fractions."""

import json
import os
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from gru4rec import baselines as command
from gru4rec.data.reading.loader import Events, load_events
from gru4rec.data.sessions import index_test, index_train
from gru4rec.data.vocab import Vocabulary
from gru4rec.errors import CheckpointError
from gru4rec.evaluation import metrics
from gru4rec.evaluation.baselines import counting, neighbours, popularity, rules

NUM_ITEMS = 12


def random_sessions(seed, count=60, low=2, most=8, unknown=0.0):
    """Lists of item indices; few items, so that ties and repetitions are common; -1 is unknown."""
    random = np.random.RandomState(seed)
    return [np.where(random.uniform(size=n) < unknown, -1,
                     np.minimum(random.geometric(0.25, n) - 1, NUM_ITEMS - 1)).tolist()
            for n in random.randint(low, most, count)]


def events_of(lists):
    items = np.array(sum(lists, []), np.int64)
    session = np.repeat(np.arange(len(lists)), [len(s) for s in lists])
    return Events(session, np.where(items < 0, 999, items), np.arange(len(items), dtype=np.float64),
                  "t.tsv", "s")


def train_and_test(seed, unknown):
    """(training lists, Sessions, Vocabulary, test lists, EvalSessions)."""
    train = [list(range(NUM_ITEMS))] + random_sessions(seed)  # the first session makes index = id
    vocab, sessions, _ = index_train(events_of(train), "time")
    assert vocab.ids.tolist() == list(range(NUM_ITEMS))
    test = [[-1, 3, 4], [-1, -1, 5], [2], [7, -1]] + random_sessions(seed + 100, 40, 1, 9, 0.15)
    return train, sessions, vocab, test, index_test(events_of(test), vocab, unknown)[0]


def contexts(test, unknown):
    """Yields (known items before, target) of each target that is ranked."""
    for session in test:
        if unknown == "drop":
            session = [item for item in session if item >= 0]
        for at in range(1, len(session)):
            if session[at] >= 0:
                yield [item for item in session[:at] if item >= 0], session[at]


def support(train):
    return Counter(sum(train, []))


def pop(train, before):
    return [Fraction(support(train)[item]) for item in range(NUM_ITEMS)]


def spop(train, before):
    times, largest = Counter(before), max(support(train).values()) + 1
    return [times[item] + Fraction(support(train)[item], largest) for item in range(NUM_ITEMS)]


def rule_scores(window):
    def scores(train, before):
        out = [Fraction(0)] * NUM_ITEMS
        for session in train if before else ():
            for i, first in enumerate(session):
                for distance in range(1, window + 1):
                    if first == before[-1] and i + distance < len(session):
                        out[session[i + distance]] += Fraction(1, distance)
        return out
    return scores


def vsknn_scores(sample, k):
    def scores(train, before):
        weight = {item: Fraction(place, len(before)) for place, item in enumerate(before, 1)}
        shared = [session for session in train[::-1] if set(session) & set(before)][:sample]
        similarity = [(sum(weight.get(item, 0) for item in set(session)), session)
                      for session in shared]
        best = sorted(similarity, key=lambda pair: -pair[0])[:k]  # stable: the more recent first
        return [sum((value for value, session in best if item in session), Fraction(0))
                for item in range(NUM_ITEMS)]
    return scores


BASELINES = {
    "popularity": (lambda train, vocab, test: popularity.popularity(test, vocab.support), pop),
    "session popularity": (lambda train, vocab,
                           test: popularity.session_popularity(test, vocab.support), spop),
    "markov": (lambda train, vocab, test: rules.build(train, len(vocab), 1).counts(test),
               rule_scores(1)),
    "rules": (lambda train, vocab, test: rules.build(train, len(vocab)).counts(test),
              rule_scores(10)),
    "rules of window 3": (lambda train, vocab, test: rules.build(train, len(vocab), 3).counts(test),
                          rule_scores(3)),
    "vsknn": (lambda train, vocab,
              test: neighbours.vsknn(neighbours.Index(train, len(vocab), 9), test, 9, 4),
              vsknn_scores(9, 4)),
    "vsknn of all": (lambda train, vocab,
                     test: neighbours.vsknn(neighbours.Index(train, len(vocab)), test),
                     vsknn_scores(1000, 100)),
}


@pytest.mark.parametrize("unknown", ["drop", "miss"])
@pytest.mark.parametrize("name", sorted(BASELINES))
def test_counts_are_those_of_brute_force(name, unknown, monkeypatch):
    ours, scores_of = BASELINES[name]
    monkeypatch.setattr(counting, "BATCH", 50)
    train, sessions, vocab, test, eval_sessions = train_and_test(1, unknown)
    expected = []
    for before, target in contexts(test, unknown):
        scores = scores_of(train, before)
        expected.append((sum(s > scores[target] for s in scores),
                         sum(s >= scores[target] for s in scores)))
    found = ours(sessions, vocab, eval_sessions)
    assert list(zip(found.greater.tolist(), found.greater_equal.tolist())) == expected
    # the ties are there, and so are different ranks
    assert any(equal > more + 1 for more, equal in expected)
    assert len(set(expected)) > 8
    metrics.ranks_from_counts(found.greater, found.greater_equal)


def test_blocks_and_batches_change_nothing(monkeypatch):
    _, sessions, vocab, _, test = train_and_test(3, "miss")
    whole = [ours(sessions, vocab, test) for ours, _ in BASELINES.values()]
    monkeypatch.setattr(counting, "BATCH", 1)
    for (ours, _), first in zip(BASELINES.values(), whole):
        np.testing.assert_array_equal(np.stack(ours(sessions, vocab, test)), np.stack(first))


@pytest.mark.parametrize("factor", [1, 2 ** 57])
def test_weights_too_large_to_pack_rank_the_same(factor):
    """Rows times weights beyond 2^63, as a long window over many events makes them."""
    _, sessions, vocab, _, test = train_and_test(4, "miss")
    plain = rules.build(sessions, len(vocab), 1)
    large = plain._replace(weights=plain.weights * factor)
    assert (large.weights > 0).all()
    assert (factor == 1 or int(large.weights.max()) * len(vocab) > 2 ** 63)
    np.testing.assert_array_equal(np.stack(large.counts(test)), np.stack(plain.counts(test)))


def test_a_target_nobody_recommends_is_last_and_not_first():
    """Sessions 0 1 and 2 0: after 1 nothing is known to follow, so all items tie."""
    vocab, train, _ = index_train(events_of([[0, 1], [2, 0]]))
    test, _ = index_test(events_of([[1, 2], [0, 2], [0, 1]]), vocab)
    found = rules.build(train, len(vocab)).counts(test)
    assert metrics.ranks_from_counts(*found, tie="conservative").tolist() == [3, 3, 1]
    assert metrics.ranks_from_counts(*found, tie="standard").tolist() == [1, 2, 1]


def test_rule_weights_of_one_session_by_hand():
    vocab, train, _ = index_train(events_of([[0, 1, 0, 2]]))
    found = rules.build(train, 3)
    weights = dict(zip(found.keys.tolist(), (found.weights / 2520.0).tolist()))
    assert weights == {0 * 3 + 1: 1, 0 * 3 + 0: 1 / 2, 0 * 3 + 2: 1 / 3 + 1, 1 * 3 + 0: 1,
                       1 * 3 + 2: 1 / 2}


def test_rules_are_read_back_and_belong_to_their_vocabulary(tmp_path):
    vocab, train, _ = index_train(events_of(random_sessions(5)))
    saved, path = rules.build(train, len(vocab)), str(tmp_path / rules.FILE)
    rules.save(path, saved, vocab)
    again = rules.load(path, vocab)
    np.testing.assert_array_equal(again.keys, saved.keys)
    np.testing.assert_array_equal(again.weights, saved.weights)
    other = Vocabulary(vocab.ids[::-1].copy(), vocab.support.copy())
    with pytest.raises(CheckpointError, match="another training file"):
        rules.load(path, other)


def test_damaged_or_missing_rules_are_one_line(tmp_path):
    vocab, train, _ = index_train(events_of(random_sessions(5)))
    path = tmp_path / rules.FILE
    with pytest.raises(CheckpointError, match="no such file"):
        rules.load(str(path), vocab)
    rules.save(str(path), rules.build(train, len(vocab)), vocab)
    content = path.read_bytes()
    for damaged in (b"", content[:len(content) // 2], b"x" + content[1:],
                    content[:200] + b"\0" * 60 + content[260:]):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError) as caught:
            rules.load(str(path), vocab)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


# --- the command ----------------------------------------------------------------------------------

def tsv(path, lists):
    rows = ["%d\t%d\t%d" % (session, item, at)
            for session, items in enumerate(lists) for at, item in enumerate(items)]
    path.write_text("SessionId\tItemId\tTime\n" + "\n".join(rows) + "\n")
    return str(path)


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(str(tmp_path))
    lists = [list(range(NUM_ITEMS))] + random_sessions(1)
    return ["--train_path", tsv(tmp_path / "train.tsv", lists), "--test_path",
            tsv(tmp_path / "test.tsv", random_sessions(2))]


def test_the_command_prints_the_counts_and_one_line_each(files, capsys):
    assert command.main(files + ["--cut_off", "3,5", "--metrics", "recall,mrr,ndcg"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("events: ") and " sessions: 60 unknown items: 0 " in lines[0]
    assert [line.split(":")[0]
            for line in lines[1:]] == [name for name in command.NAMES.values() for _ in "35"]
    assert all(line.split(": ", 1)[1].startswith("Recall@") and "\tNDCG@" in line
               for line in lines[1:])


def test_the_printed_numbers_are_those_of_the_counts(files, capsys):
    assert command.main(files + ["--baseline", "rules", "--cut_off", "3", "--tie", "standard"]) == 0
    vocab, train, _ = index_train(load_events("train.tsv"))
    test, _ = index_test(load_events("test.tsv"), vocab)
    ranks = metrics.ranks_from_counts(*rules.build(train, len(vocab)).counts(test), tie="standard")
    (_, recall, mrr), = metrics.recall_mrr(ranks, [3])
    assert (capsys.readouterr().out.splitlines()[1]
            == "sequential rules: Recall@3: %.4f\tMRR@3: %.4f" % (recall, mrr))


@pytest.mark.parametrize("flags, words", [
    (["--baseline", "rules,gru"], ["--baseline", "gru"]),
    (["--baseline", "rules,rules"], ["--baseline"]),
    (["--metrics", "coverage"], ["--metrics coverage"]),
    (["--ranks_out", "a.csv"], ["--ranks_out a.csv", "--baseline"]),
    (["--ranks_out", "none/a.csv", "--baseline", "rules"], ["none/a.csv"]),
    (["--ranks_out", "table.csv", "--test_path", "table.csv", "--baseline", "rules"],
     ["table.csv", "replace"]),
    (["--metrics_dir", "none"], ["--metrics_dir none"]),
    (["--test", "1"], ["--test"]),
    (["--window", "0"], ["--window"]),
    (["--train_path", "missing.tsv"], ["missing.tsv"])])
def test_bad_flags_are_one_line_and_exit_2(files, capsys, flags, words):
    with open("test.tsv") as source, open("table.csv", "w") as copy:
        copy.write(source.read())
    before = {name: os.path.getsize(name) for name in os.listdir(".")}
    assert command.main(files + flags) == 2
    out, err = capsys.readouterr()
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert out == "" and len(errors) == 1 and all(word in errors[0] for word in words), err
    assert {name: os.path.getsize(name) for name in os.listdir(".")} == before


def test_splits_of_all_are_one_table_and_rows_of_metrics(files, capsys):
    assert command.main(files + ["--baseline", "rules,popularity", "--split", "repeat",
                                 "--metrics_dir", "."]) == 0
    table = [line.split("\t") for line in capsys.readouterr().out.splitlines()[3:]]
    assert table[0] == ["model", "split", "part", "events", "Recall@20", "MRR@20"]
    assert [line[:3] for line in table[1:]] == [[name, "repeat", part]
                                                for name in ("sequential rules", "popularity")
                                                for part in ("new", "repeated")]
    with open("metrics.jsonl") as file:
        rows = [json.loads(line) for line in file]
    assert [row["kind"] for row in rows] == ["eval", "split", "split"] * 2
    assert [[row["model"], row["split"], row["part"]]
            for row in rows if row["kind"] == "split"] == [
        line[:3] for line in table[1:]]


def test_a_signal_is_one_line(files, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt
    monkeypatch.setattr(command, "counts_of", interrupted)
    assert command.main(files) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "error: interrupted"


def test_one_path_without_the_other_is_refused(files, capsys):
    assert command.main(files[:2]) == 2
    assert "--test_path" in capsys.readouterr().err


@pytest.mark.realdata
def test_sequential_rules_on_rsc15_64(realdata):
    """Measured by others as well: 67.6 / 30.3 % over 55,400 targets."""
    directory = os.path.join(realdata, "rsc15_64")
    if not os.path.isdir(directory):
        pytest.skip("no real data at %s (set GRU4REC_REALDATA)" % directory)
    vocab, train, _ = index_train(load_events(os.path.join(directory, "train.tsv.gz")))
    test, _ = index_test(load_events(os.path.join(directory, "test.tsv.gz")), vocab)
    (_, recall,
     mrr), = metrics.recall_mrr(metrics.ranks_from_counts(*rules.build(train,
                                                                       len(vocab)).counts(test)),
                                [20])
    assert (round(recall, 3), round(mrr, 3)) == (0.676, 0.303)

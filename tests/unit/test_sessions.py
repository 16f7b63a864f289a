"""Sessions by hand and against a slow reference; what is dropped is counted."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gru4rec.data.reading.loader import Events
from gru4rec.data.sessions import index_test, index_train
from gru4rec.data.vocab import Vocabulary
from gru4rec.errors import DataError


def column(values):
    return np.array(values, object if isinstance(values[0], str) else np.int64)


def events(session, item, time=None):
    time = range(len(session)) if time is None else time
    return Events(column(list(session)), column(list(item)), np.array(list(time), np.float64),
                  "e.tsv", "s")


def lists(sessions):
    return [sessions.items[a:b].tolist() for a, b in zip(sessions.offsets, sessions.offsets[1:])]


def test_item_index_is_file_order_before_sorting_and_before_short_sessions_are_dropped():
    vocab, sessions, report = index_train(events([9, 2, 1, 2, 1], "zcabb", [0, 4, 3, 2, 1]))
    assert vocab.ids.tolist() == ["z", "c", "a", "b"] and vocab.support.tolist() == [1, 1, 1, 2]
    assert lists(sessions) == [[3, 2], [3, 1]]
    assert sessions.items.dtype == np.int32 and sessions.offsets.dtype == np.int64
    assert (sessions.num_sessions, sessions.num_events, sessions.num_targets) == (2, 4, 2)
    assert report == (5, 3, 4, 4, 2, 2, 1)


def test_ties_in_time_keep_file_order():
    _, sessions, _ = index_train(events([2, 1, 2, 1, 2], "abcde", [5, 5, 5, 5, 4]))
    assert lists(sessions) == [[1, 3], [4, 0, 2]]


@pytest.mark.parametrize("session, order", [
    ([10, 9, 10, 9, -1, -1], [[4, 5], [1, 3], [0, 2]]),             # numbers by value
    (["10", "9", "10", "9", "é", "é"], [[0, 2], [1, 3], [4, 5]]),   # text by code point
    (["a", "Z", "a", "Z", "\U0001f600", "\U0001f600"], [[1, 3], [0, 2], [4, 5]]),
    # span beyond one packed number
    ([2 ** 62, -2 ** 62, 2 ** 62, -2 ** 62, 5, 5], [[1, 3], [4, 5], [0, 2]]),
])
def test_order_of_session_ids(session, order):
    assert lists(index_train(events(session, range(6)))[1]) == order


def test_order_by_time_of_the_first_event_is_stable():
    _, sessions, _ = index_train(events([1, 2, 3, 1, 2, 3], range(6), [9, 5, 5, 1, 7, 6]), "time")
    assert lists(sessions) == [[3, 0], [1, 4], [2, 5]]
    with pytest.raises(ValueError, match="'size' is unknown"):
        index_train(events([1, 1], "ab"), "size")


def test_no_session_of_two_events():
    with pytest.raises(DataError, match="e.tsv: none of its 3 sessions has two events"):
        index_train(events([1, 2, 3], "abc"))


VOCAB = Vocabulary.build(column(list("ab")))


@pytest.mark.parametrize("session, kept, misses", [
    # session -> with "miss": (known items, leading_skip) or None, and misses
    ("ab", ("ab", False), 0), ("xab", ("ab", True), 0), ("xa", ("a", True), 0),
    ("xya", ("a", True), 1),
    ("axb", ("ab", False), 1), ("axxb", ("ab", False), 2), ("abx", ("ab", False), 1),
    ("ax", None, 1), ("xx", None, 1),
    ("a", None, 0), ("x", None, 0), ("xaxbx", ("ab", True), 2)])
def test_one_session_with_unknown_items(session, kept, misses):
    # A plain session follows, so that there is always something to rank.
    both = events([1] * len(session) + [2, 2], session + "ba")
    got, report = index_test(both, VOCAB, "miss")
    expected = ([kept[0]] if kept else []) + ["ba"]
    assert ["".join(VOCAB.decode(items)) for items in lists(got)] == expected
    assert got.leading_skip.tolist() == ([kept[1]] if kept else []) + [False]
    assert got.session_index.tolist() == ([0] if kept else []) + [1]
    assert got.num_misses == misses
    ranked = len(got.items) - len(got.leading_skip) + got.leading_skip.sum()
    assert ranked + misses == report.events == len(session) - 1 + 1
    assert report.unknown_events == sum(item not in "ab" for item in session)
    assert report.unknown_items == len(set(session) - set("ab"))
    assert report.sessions == (len(session) > 1) + 1
    assert report.short_sessions == (len(session) == 1)

    got, report = index_test(both, VOCAB, "drop")
    known = "".join(item for item in session if item in "ab")
    assert ["".join(VOCAB.decode(items))
            for items in lists(got)] == ([known] if len(known) > 1 else []) + ["ba"]
    assert not got.leading_skip.any() and got.num_misses == 0
    assert report.events == len(got.items) - len(got.leading_skip)
    assert report.sessions == len(got.leading_skip)
    assert report.sessions + report.short_sessions == report.sessions_read == 2


def test_recall_of_a_perfect_model_shows_the_two_denominators():
    both = events([1, 1, 1, 2, 2], "axbba")
    for unknown, expected in (("drop", Fraction(2, 2)), ("miss", Fraction(2, 3))):
        got, report = index_test(both, VOCAB, unknown)
        hits = len(got.items) - len(got.leading_skip) + int(got.leading_skip.sum())
        assert Fraction(hits, report.events) == expected


@pytest.mark.parametrize("unknown", ["drop", "miss"])
def test_nothing_to_rank(unknown):
    words = r"e.tsv: none of its 2 items is known to the model \(first one: 'x'\)"
    with pytest.raises(DataError, match=words):
        index_test(events([1, 1], "xy"), VOCAB, unknown)
    with pytest.raises(DataError, match="e.tsv: no session has two events"):
        index_test(events([1, 2], "ab"), VOCAB, unknown)
    with pytest.raises(ValueError, match="'skip' is unknown"):
        index_test(events([1, 1], "ab"), VOCAB, "skip")


def test_ids_are_cast_to_the_vocabulary():
    got, _ = index_test(events([1, 1, 1], ["7", "x", "8"]), Vocabulary.build(np.array([8, 7])))
    assert got.items.tolist() == [1, 0]
    got, _ = index_test(events([1, 1, 1], [7, 8, 9]), Vocabulary.build(column(["8", "7", "x"])))
    assert got.items.tolist() == [1, 0]


def slow_sessions(data):
    """[(session id, [item, ...]), ...] by id, each in order of time; by plain Python."""
    rows = sorted(zip(data.session.tolist(), data.time.tolist(), range(len(data.time)),
                      data.item.tolist()))
    found = {}
    for session, time, _, item in rows:
        found.setdefault(session, []).append((time, item))
    return sorted(found.items())


EVENTS = st.lists(st.tuples(st.integers(-3, 6), st.integers(0, 5), st.integers(0, 4)), min_size=1,
                  max_size=40)


@given(EVENTS, st.booleans(), st.sampled_from(["id", "time"]))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_index_train_agrees_with_a_slow_reference(rows, as_text, order):
    convert = str if as_text else int
    data = events([convert(r[0]) for r in rows], [convert(r[1]) for r in rows],
                  [r[2] for r in rows])
    slow = [pairs for _, pairs in slow_sessions(data) if len(pairs) > 1]
    if not slow:
        with pytest.raises(DataError):
            index_train(data)
        return
    if order == "time":
        slow.sort(key=lambda pairs: pairs[0][0])
    vocab, sessions, report = index_train(data, order)
    assert [vocab.decode(items).tolist()
            for items in lists(sessions)] == [[item for _, item in p] for p in slow]
    assert sessions.num_targets == sum(len(pairs) - 1 for pairs in slow) == report.targets


@given(EVENTS, st.sampled_from(["drop", "miss"]))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_index_test_agrees_with_a_slow_reference(rows, unknown):
    data, vocab = events(*zip(*rows)), Vocabulary.build(np.array([3, 1, 2]))
    expected, total, misses = [], 0, 0
    for place, (_, pairs) in enumerate(slow_sessions(data)):
        items = [item for _, item in pairs]
        if unknown == "drop":
            items = [item for item in items if item in (1, 2, 3)]
        total += max(len(items) - 1, 0)
        targets = [item for item in items[1:] if item in (1, 2, 3)]
        misses += len(items[1:]) - len(targets)
        if targets:
            expected.append((place, [item for item in items if item in (1, 2, 3)], targets))
    if not expected:
        with pytest.raises(DataError):
            index_test(data, vocab, unknown)
        return
    got, report = index_test(data, vocab, unknown)
    found = [vocab.decode(items).tolist() for items in lists(got)]
    assert list(zip(got.session_index, found)) == [(place, items) for place, items, _ in expected]
    assert [f[0 if lead else 1:] for f,
            lead in zip(found, got.leading_skip)] == [t for _, _, t in expected]
    assert (report.events, got.num_misses) == (total, misses)

"""Holding out the latest sessions: by share, by days, ties, too few; and joining two files."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gru4rec.data.reading.loader import Events
from gru4rec.data.split import DAY_SECONDS, join, split
from gru4rec.errors import DataError

START = 1.4e9


def column(values):
    return np.array(list(values), object if isinstance(values[0], str) else np.int64)


def events(session, time, item=None, unit="s", path="e.tsv"):
    return Events(column(session), column(item or list(range(len(session)))),
                  np.array(time, np.float64), path, unit)


def pairs(ends, start=START):
    """Sessions 0, 1, ... of two events each, a second apart; the last at start + ends[s]."""
    return events(np.repeat(np.arange(len(ends)), 2).tolist(),
                  [start + end + d for end in ends for d in (-1, 0)])


def held_out(found):
    """Ids of the sessions on each side."""
    return [sorted(set(part.session.tolist())) for part in found]


@pytest.mark.parametrize("fraction, expected", [
    (0.5, [1, 3, 5]), (0.34, [1, 3]), (0.4, [1, 3]), (0.6, [1, 2, 3, 5])])
def test_the_last_share_of_the_sessions_by_their_last_event(fraction, expected):
    train, valid = held_out(split(pairs([10, 60, 30, 50, 20, 40]), fraction))
    assert valid == expected and sorted(train + valid) == list(range(6))


def test_sessions_of_equal_time_are_in_the_order_of_their_ids():
    assert held_out(split(pairs([5, 5, 5, 5, 5]), 0.4)) == [[0, 1, 2], [3, 4]]
    text = events(["10", "10", "9", "9", "a", "a", "b", "b"], [0, 5] * 4)
    assert held_out(split(text, 0.5)) == [["10", "9"], ["a", "b"]]


def test_the_time_of_a_session_is_its_latest_wherever_it_stands_in_the_file():
    shuffled = events([1, 2, 3, 4, 4, 3, 2, 1], [90, 10, 20, 70, 5, 60, 50, 40])
    assert held_out(split(shuffled, 0.5)) == [[2, 3], [1, 4]]


def test_sessions_of_one_event_do_not_count_and_go_where_their_time_says():
    found = split(events([1, 1, 2, 2, 3, 4, 4, 5, 5, 6, 7, 8], range(12)), 0.5)
    assert held_out(found) == [[1, 2, 3], [4, 5, 6, 7, 8]]


def test_days_count_back_from_the_last_event_of_the_file_and_include_the_border():
    day = DAY_SECONDS
    found = pairs([0, 1, day - 1, day, 2 * day, 2 * day])
    assert held_out(split(found, days=1)) == [[0, 1, 2], [3, 4, 5]]
    assert held_out(split(found, days=0.5)) == [[0, 1, 2, 3], [4, 5]]
    single = events([9, 0, 0, 1, 1, 2, 2, 3, 3],
                    [START + 3 * day] + [START + d * day for d in (0, 0, 1, 1, 2, 2, 2.5, 3)])
    # the file's last event may be in a short session
    assert held_out(split(single, days=1)) == [[0, 1], [2, 3, 9]]


@pytest.mark.parametrize("options, words", [
    (dict(fraction=0.01), ["--valid_fraction 0.01", "6 sessions", "0 to validate"]),
    (dict(fraction=0.2), ["--valid_fraction 0.2", "5 sessions", "1 to validate"]),
    (dict(fraction=0.8), ["--valid_fraction 0.8", "leaves 1 sessions", "5 to validate"]),
    (dict(fraction=0.99), ["leaves 0 sessions", "6 to validate"]),
    (dict(days=1), ["--valid_days 1", "leaves 0 sessions", "6 to validate"]),
    (dict(days=1e-4), ["--valid_days 0.0001", "5 sessions", "1 to validate"])])
def test_one_session_or_none_on_a_side_is_refused(options, words):
    with pytest.raises(DataError) as caught:
        split(pairs([0, 10, 20, 30, 40, 50]), **options)
    assert str(caught.value).startswith("e.tsv: ") and "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_days_of_a_file_whose_times_are_no_dates_are_refused():
    day = DAY_SECONDS
    counted = pairs([0, 1, day, day], start=1)
    with pytest.raises(DataError,
                       match="no seconds since 1970.*--valid_days; use --valid_fraction"):
        split(counted, days=0.5)
    assert held_out(split(counted, 0.5)) == [[0, 1], [2, 3]]
    # 1970 itself
    assert held_out(split(counted._replace(time_unit="iso-8601"), days=0.5)) == [[0, 1], [2, 3]]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), min_size=1, max_size=40),
       st.floats(0.05, 0.95))
@settings(max_examples=200, deadline=None)
def test_every_event_is_on_one_side_in_file_order_and_no_session_on_both(rows, fraction):
    whole = events([s for s, _ in rows], [t for _, t in rows])
    try:
        parts = split(whole, fraction)
    except DataError:
        return
    assert not set(parts[0].session) & set(parts[1].session)
    for part in parts:
        assert (np.diff(part.item) > 0).all()  # items of `events` are row numbers
        assert (whole.time[part.item] == part.time).all()
        assert (whole.session[part.item] == part.session).all()
    assert sorted(np.concatenate([part.item for part in parts]).tolist()) == list(range(len(rows)))
    last = {s: max(t for other, t in rows if other == s) for s, _ in rows}
    ends = [[last[s] for s in part.session.tolist()] for part in parts]
    assert max(ends[0]) <= min(ends[1])


def test_two_files_are_joined_as_if_they_were_one():
    both = join(events([1, 2], [5, 6], [7, 8]), events([3, 4], [1, 2], [9, 7], path="v.tsv"))
    assert (both.session.tolist(), both.item.tolist(),
            both.time.tolist()) == ([1, 2, 3, 4], [7, 8, 9, 7], [5, 6, 1, 2])
    assert both.session.dtype == np.int64 and "e.tsv" in both.path and "v.tsv" in both.path
    mixed = join(events([1, 2], [5, 6], ["x", "7"]), events([3, 4], [1, 2], [9, 7]))
    assert mixed.item.tolist() == ["x", "7", "9", "7"] and mixed.item.dtype == object
    assert mixed.session.dtype == np.int64


@pytest.mark.parametrize("ids", [[3, 2], ["2", "c"]])
def test_a_session_id_in_both_files_is_refused(ids):
    with pytest.raises(DataError) as caught:
        join(events([1, 2], [5, 6]), events(ids, [1, 2], path="v.tsv"))
    assert "v.tsv: 1 session ids are in e.tsv too (first one: %r)" % (ids[0]
                                                                      if isinstance(ids[0], str)
                                                                      else 2) in str(
        caught.value)

"""The vectorised schedule against the one-lane-one-step twin, and the cells of the test layout."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gru4rec.data import schedule
from tests.parity import reference

MANY = settings(max_examples=300, deadline=None)


def numbered(lengths):
    """Sessions of these lengths whose items are 1, 2, 3, ...: every event tells where it came from.
    """
    ends = np.cumsum(lengths)
    return [list(range(end - length + 1, end + 1)) for length, end in zip(lengths, ends)]


def flat(sessions):
    return (np.array(sum(sessions, []), np.int32),
            np.concatenate([[0], np.cumsum([len(s) for s in sessions])]).astype(np.int64))


def build(sessions, num_lanes):
    return schedule.build(*flat(sessions), num_lanes=num_lanes)


@given(st.lists(st.integers(2, 9), min_size=1, max_size=40), st.integers(1, 12))
@example([2], 1)
@example([2], 12)
@example([2] * 9, 4)           # all lanes finish in the same step, and the last round is not full
@example([4, 2, 3, 2, 2, 5], 3)  # lanes 1 and 2 finish at different steps, then two at once
@example([9, 2, 2, 2, 2, 2, 2, 2], 2)
@MANY
def test_equal_to_the_slow_reference(lengths, num_lanes):
    sessions = numbered(lengths)
    epoch = build(sessions, num_lanes)
    expected = reference.schedule(sessions, num_lanes)
    for name, array, wanted in zip(epoch._fields, epoch, expected):
        np.testing.assert_array_equal(array, np.array(wanted).reshape(-1, num_lanes), err_msg=name)
    assert epoch.x.dtype == epoch.y.dtype == np.int32
    assert epoch.reset.dtype == epoch.weight.dtype == bool
    assert (epoch.num_steps, epoch.num_lanes) == epoch.x.shape


@given(st.lists(st.integers(2, 30), min_size=1, max_size=60), st.integers(1, 70))
@MANY
def test_every_target_is_there_exactly_once(lengths, num_lanes):
    sessions = numbered(lengths)
    epoch = build(sessions, num_lanes)
    assert epoch.weight.sum() == sum(lengths) - len(lengths)
    assert (sorted(epoch.y[epoch.weight].tolist())
            == sorted(item for s in sessions for item in s[1:]))
    # never across two sessions
    np.testing.assert_array_equal(epoch.y[epoch.weight], epoch.x[epoch.weight] + 1)
    assert epoch.reset.sum() == len(lengths) and epoch.weight[epoch.reset].all()
    assert not epoch.x[~epoch.weight].any() and not epoch.y[~epoch.weight].any()
    assert epoch.weight.any(1).all()  # no empty step


def test_the_example_of_the_docstring():
    epoch = build([[1, 2, 3], [4, 5], [6, 7]], 2)
    assert epoch.x.tolist() == [[1, 4], [2, 6]] and epoch.y.tolist() == [[2, 5], [3, 7]]
    assert epoch.reset.tolist() == [[True, True], [False, True]] and epoch.weight.all()


def test_one_lane_takes_the_sessions_one_after_the_other():
    epoch = build([[1, 2, 3], [4, 5], [6, 7]], 1)
    assert epoch.x.tolist() == [[1], [2], [4], [6]] and epoch.y.tolist() == [[2], [3], [5], [7]]
    assert epoch.reset[:, 0].tolist() == [True, False, True, True]


def test_lanes_without_a_session_stay_at_weight_zero():
    epoch = build([[1, 2, 3]], 4)
    assert epoch.weight.tolist() == [[True, False, False, False]] * 2
    assert epoch.reset.tolist() == [[True, False, False, False], [False] * 4]


def test_lanes_that_finish_together_take_the_next_sessions_in_lane_order():
    # Lanes 0 and 2 finish after one step: 0 takes [7 8 9], 2 takes [10 11]; then 1 and 2 finish
    # together.
    sessions = [[1, 2], [3, 4, 5], [5, 6], [7, 8, 9], [10, 11], [12, 13], [14, 15]]
    epoch = build(sessions, 3)
    assert epoch.x.tolist() == [[1, 3, 5], [7, 4, 10], [8, 12, 14]]


def test_no_session_is_an_empty_epoch():
    epoch = schedule.build(np.zeros(0, np.int32), np.zeros(1, np.int64), 3)
    assert epoch.x.shape == epoch.weight.shape == (0, 3)


@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=30),
       st.integers(1, 8))
@MANY
def test_longest_first_maps_every_target_to_its_cell(drawn, num_lanes):
    # A session of one event has a target only if it is predicted from the zero state.
    sessions = numbered([length for length, _ in drawn])
    leading = np.array([skip or length == 1 for length, skip in drawn])
    epoch, cells = schedule.build_longest_first(*flat(sessions), num_lanes=num_lanes,
                                                leading_skip=leading)
    inputs = [([-1] if skip else []) + s[:-1] for s, skip in zip(sessions, leading)]
    targets = [s if skip else s[1:] for s, skip in zip(sessions, leading)]
    assert len(cells) == len(set(cells.tolist())) == epoch.weight.sum() == sum(map(len, targets))
    assert epoch.weight.ravel()[cells].all()
    assert epoch.x.ravel()[cells].tolist() == sum(inputs, [])
    assert epoch.y.ravel()[cells].tolist() == sum(targets, [])
    at = 0
    for wanted in targets:  # one lane, consecutive steps, zeroed at its first step only
        mine = cells[at:at + len(wanted)]
        assert len(set((mine % num_lanes).tolist())) == 1
        np.testing.assert_array_equal(np.diff(mine), num_lanes)
        assert epoch.reset.ravel()[mine].tolist() == [True] + [False] * (len(wanted) - 1)
        at += len(wanted)
    assert epoch.reset.sum() == len(sessions)


def test_longest_first_wastes_little():
    random = np.random.RandomState(3)
    sessions = numbered((2 + random.geometric(0.2, 400)).tolist())
    epoch, _ = schedule.build_longest_first(*flat(sessions), num_lanes=32,
                                            leading_skip=np.zeros(400, bool))
    assert epoch.num_steps <= epoch.weight.sum() / 32 + 1.0 + 0.02 * epoch.num_steps


@pytest.mark.parametrize("num_lanes", [1, 50])
def test_a_large_epoch_takes_a_moment(num_lanes):
    import time
    lengths = 2 + np.random.RandomState(0).geometric(0.4, 200000)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    items = np.arange(offsets[-1], dtype=np.int32)
    start = time.perf_counter()
    epoch = schedule.build(items, offsets, num_lanes)
    assert time.perf_counter() - start < 5.0
    assert epoch.weight.sum() == lengths.sum() - len(lengths)

"""Item indices of a warm start: old items keep theirs, new ones are appended. No TensorFlow."""

import numpy as np
import pytest

from gru4rec.data.sessions import Sessions
from gru4rec.data.vocab import Vocabulary
from gru4rec.training import warm_start


def text(*ids):
    out = np.empty(len(ids), object)
    out[:] = ids
    return out


@pytest.mark.parametrize("old, new, ids, index", [
    (np.array([30, 10]), np.array([20, 10, 40]), [30, 10, 20, 40], [2, 1, 3]),
    (text("b", "a"), text("a", "c"), ["b", "a", "c"], [1, 2]),
    (np.array([3, 1]), text("1", "x"), ["3", "1", "x"], [1, 2]),
    (text("1", "x"), np.array([1, 3]), ["1", "x", "3"], [0, 2])])
def test_new_items_are_appended_and_vanished_ones_stay(old, new, ids, index):
    ours = Vocabulary(old, np.full(len(old), 9))
    found, places = ours.extended(Vocabulary(new, np.arange(1, len(new) + 1)))
    assert list(found.ids) == ids and list(places) == index and places.dtype == np.int32
    assert found.is_integer == (ids[0] == 30)
    assert [found.support[i] for i in index] == list(range(1, len(new) + 1))
    assert found.support.sum() == sum(range(len(new) + 1))
    assert list(ours.ids) == list(old)


def test_sessions_are_counted_in_the_old_indices():
    base = Vocabulary(np.array([30, 10]), np.array([1, 1]))
    vocabulary, sessions = warm_start.onto(base, Vocabulary(np.array([10, 20]), np.array([2, 1])),
                                           Sessions(np.array([0, 1, 0], np.int32),
                                                    np.array([0, 3])))
    assert list(sessions.items) == [1, 2, 1] and sessions.items.dtype == np.int32
    assert list(vocabulary.support) == [0, 2, 1]

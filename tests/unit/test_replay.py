"""Test sessions through a stand-in for an exported prefix graph. No TensorFlow."""

import numpy as np
import pytest

from gru4rec.data.sessions import EvalSessions
from gru4rec.errors import DivergenceError
from gru4rec.export import signature
from gru4rec.offline import replay

SESSIONS = EvalSessions(np.array([0, 3, 1], np.int32), np.array([0, 3]), np.array([False]), 0,
                        np.array([0]))


class Runner:
    """Every prefix gets the list 1, 2, 3 with these scores."""

    lanes = 4
    signature = signature.of_prefix(9, None, 5, 3)

    def __init__(self, scores):
        self._scores = scores

    def run(self, values):
        return {"top_ids": np.tile(np.array([1, 2, 3], np.int32), (4, 1)),
                "top_scores": np.tile(np.array(self._scores, np.float32), (4, 1))}


@pytest.mark.parametrize("scores, ranks", [
    ((3, 2, 1), [3, 1]), ((1, 1, 1), [3, 3]), ((2, 1, 1), [3, 1]), ((2, 2, 1), [3, 2])])
def test_a_target_has_the_last_place_among_equal_scores(scores, ranks):
    assert replay.by_prefix(Runner(scores), SESSIONS, 9).rank.tolist() == ranks


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_score_that_is_not_finite_is_no_hit(bad):
    with pytest.raises(DivergenceError, match="not finite"):
        replay.by_prefix(Runner((bad, 2, 1)), SESSIONS, 9)

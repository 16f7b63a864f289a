"""Ranks and metrics against a one-row-at-a-time twin and answers worked out by hand."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gru4rec.errors import DivergenceError, InputError
from gru4rec.evaluation.metrics import TIES, ranks_from_counts, recall_mrr


def ranks_of_targets(scores, targets, tie):
    """[N] float64 ranks of targets [N] among all items, from scores [N, I]."""
    scores = np.asarray(scores)
    own = scores[np.arange(len(targets)), targets][:, None]
    return ranks_from_counts((scores > own).sum(1), (scores >= own).sum(1), tie)


def slow_rank(row, target, tie):
    """Sort the items by falling score and read off the places that share the target's score."""
    ordered = sorted(row, reverse=True)
    places = [place for place, score in enumerate(ordered, start=1) if score == row[target]]
    return {"standard": Fraction(places[0]), "conservative": Fraction(places[-1]),
            "median": Fraction(places[0] + places[-1], 2)}[tie]


def slow_recall_mrr(ranks, cut_off, num_misses):
    terms = [Fraction(1) / rank for rank in ranks if rank <= cut_off]
    return Fraction(len(terms),
                    len(ranks) + num_misses), sum(terms, Fraction(0)) / (len(ranks) + num_misses)


@st.composite
def scored_rows(draw):
    """Few distinct scores, so that ties are common."""
    num_items = draw(st.integers(1, 8))
    rows = draw(st.lists(st.lists(st.integers(-2, 2), min_size=num_items, max_size=num_items),
                         min_size=1, max_size=6))
    return rows, [draw(st.integers(0, num_items - 1)) for _ in rows]


@pytest.mark.parametrize("tie", TIES)
@given(rows_and_targets=scored_rows(), num_misses=st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_ranks_and_metrics_equal_the_slow_twin(tie, rows_and_targets, num_misses):
    rows, targets = rows_and_targets
    expected = [slow_rank(row, target, tie) for row, target in zip(rows, targets)]
    ranks = ranks_of_targets(np.array(rows, dtype=np.float32), np.array(targets), tie)
    assert ranks.dtype == np.float64
    assert [Fraction(rank) for rank in ranks] == expected
    for cut_off, recall, mrr in recall_mrr(ranks, (1, 2, 5), num_misses):
        slow_recall, slow_mrr = slow_recall_mrr(expected, cut_off, num_misses)
        assert recall == pytest.approx(float(slow_recall), abs=1e-12)
        assert mrr == pytest.approx(float(slow_mrr), abs=1e-12)


@given(rows_and_targets=scored_rows())
@settings(max_examples=60, deadline=None)
def test_median_is_the_mean_of_first_and_last_place(rows_and_targets):
    rows, targets = rows_and_targets
    first, median, last = (ranks_of_targets(rows, targets, tie)
                           for tie in ("standard", "median", "conservative"))
    assert (first <= last).all() and (first >= 1).all() and (last <= len(rows[0])).all()
    np.testing.assert_array_equal(median, (first + last) / 2)


@pytest.mark.parametrize("tie,rank", [("conservative", 2), ("median", 1.5), ("standard", 1)])
def test_the_docstring_example(tie, rank):
    assert ranks_of_targets([[3, 3, 1]], [1], tie).tolist() == [rank]
    assert ranks_from_counts([0], [2], tie).tolist() == [rank]


@pytest.mark.parametrize("tie,rank", [("conservative", 5), ("median", 3), ("standard", 1)])
def test_all_scores_tied(tie, rank):
    assert ranks_of_targets(np.zeros((2, 5)), np.array([0, 4]), tie).tolist() == [rank, rank]


def test_recall_and_mrr_by_hand():
    mrr_20 = float((1 + Fraction(1, 4) + Fraction(1, 20)) / 5)
    rows = recall_mrr([1, 4, 20, 21], (3, 20), num_misses=1)
    assert rows == [(3, 1 / 5, 1 / 5), (20, 3 / 5, pytest.approx(mrr_20))]


def test_rank_equal_to_the_cut_off_counts():
    assert recall_mrr([20], (19, 20)) == [(19, 0, 0), (20, 1, 1 / 20)]


def test_a_median_rank_between_two_cut_offs():
    assert recall_mrr([1.5], (1, 2)) == [(1, 0, 0), (2, 1, pytest.approx(2 / 3))]


def test_only_misses_is_zero_and_nothing_at_all_is_an_error():
    assert recall_mrr([], (20,), num_misses=2) == [(20, 0, 0)]
    with pytest.raises(InputError, match="no target"):
        recall_mrr([], (20,))


def test_a_target_that_does_not_equal_itself_is_an_error():
    with pytest.raises(DivergenceError, match="target 1"):
        ranks_from_counts([0, 0], [1, 0])
    with pytest.raises(DivergenceError, match="rank 1 is nan"):
        recall_mrr([1, np.nan], (20,))


@pytest.mark.parametrize("call,words", [
    (lambda: ranks_from_counts([1], [2], "best"),
     "'best' is unknown; use one of: conservative, median, standard"),
    (lambda: ranks_from_counts([1], [2], None), "None is unknown"),
    (lambda: ranks_from_counts([3, -1], [4, 1]), r"greater\[1\] = -1"),
    (lambda: ranks_from_counts([3], [4, 1]), r"\(1,\) and \(2,\)"),
    (lambda: recall_mrr([1, 0.5], (20,)), "rank 1 is 0.5"),
    (lambda: recall_mrr([1], (20, 0)), "cut-off 0"),
    (lambda: recall_mrr([1], (2.5,)), "cut-off 2.5"),
    (lambda: recall_mrr([1], (20,), -1), "num_misses -1"),
])
def test_unusable_input_is_named(call, words):
    with pytest.raises(InputError, match=words):
        call()

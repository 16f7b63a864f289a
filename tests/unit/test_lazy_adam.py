"""Lazy rows in float64 numpy against dense Adam that moves every row at every step."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gru4rec.model import lazy_adam
from gru4rec.model.learning_rate import learning_rate
from tests.tolerance import assert_ulps


def rates(lr=0.001, decay=0.96, decay_steps=1000):
    return lambda step: learning_rate(step, lr, decay, decay_steps)


def dense_adam(p, gradients, rate_of_step):
    """What TF1 does: all rows, every step. gradients: per step (rows, [n, D]). Returns (p, m, v).
    """
    p, m, v = p.copy(), np.zeros_like(p), np.zeros_like(p)
    b1, b2 = lazy_adam.BETA1, lazy_adam.BETA2
    for step, (rows, values) in enumerate(gradients, start=1):
        g = np.zeros_like(p)
        g[rows] = values
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        lr = float(rate_of_step(step)) * np.sqrt(1 - b2 ** step) / (1 - b1 ** step)
        p -= lr * m / (np.sqrt(v) + lazy_adam.EPSILON)
    return p, m, v


def lazy(p, gradients, tables):
    """Only the rows touched; returns (p, m, v, last), not caught up."""
    p, m, v, last = p.copy(), np.zeros_like(p), np.zeros_like(p), np.zeros(len(p), np.int32)
    for step, (rows, values) in enumerate(gradients, start=1):
        read = lazy_adam.catch_up(lazy_adam.NUMPY, tables, p[rows], m[rows], v[rows], last[rows],
                                  step - 1)
        p[rows], m[rows], v[rows] = lazy_adam.update(lazy_adam.NUMPY, *read, gradient=values,
                                                     lr=tables.lr[step])
        last[rows] = step
    return p, m, v, last


def caught_up(p, gradients, tables):
    *rows, last = lazy(p, gradients, tables)
    return lazy_adam.caught_up(tables, *rows, last=last, now=len(gradients))


def touches(random, num_steps, num_rows, width, share, decades=7.0):
    """Per step a random set of rows (maybe none) and gradients.

    Sizes of gradients are spread over so many decades.
    """
    out = []
    for _ in range(num_steps):
        rows = np.flatnonzero(random.uniform(size=num_rows) < share)
        scale = 10.0 ** random.uniform(-decades, 0, (len(rows), width))
        out.append((rows, scale * random.choice([-1.0, 1.0], (len(rows), width))))
    return out


@given(st.integers(0, 2 ** 31 - 1), st.integers(1, 400), st.sampled_from([0.003, 0.02, 0.2, 0.9]),
       st.integers(1, 120), st.sampled_from([0.3, 0.96, 1.0]))
@settings(max_examples=40, deadline=None)
def test_equal_to_dense_adam_on_any_schedule(seed, num_steps, share, decay_steps, decay):
    random = np.random.RandomState(seed)
    p = random.uniform(-0.1, 0.1, (5, 3))
    gradients = touches(random, num_steps, 5, 3, share)
    rate = rates(decay=decay, decay_steps=decay_steps)
    found = caught_up(p, gradients, lazy_adam.tables(rate, num_steps))
    expected = dense_adam(p, gradients, rate)
    # the second order of epsilon
    np.testing.assert_allclose(found[0], expected[0], rtol=0, atol=3e-7)
    for ours, theirs in zip(found[1:], expected[1:]):
        np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-300)


def test_four_thousand_steps_over_seven_decades():
    random = np.random.RandomState(11)
    p, gradients = random.uniform(-0.1, 0.1, (40, 4)), touches(random, 4000, 40, 4, 0.01)
    expected = dense_adam(p, gradients, rates())[0]
    found = caught_up(p, gradients, lazy_adam.tables(rates(), 4000))[0]
    assert np.abs(found - expected).max() < 1e-6
    # Gradients far above epsilon leave only float64 rounding.
    gradients = touches(random, 4000, 40, 4, 0.01, decades=1.0)
    expected = dense_adam(p, gradients, rates())[0]
    assert np.abs(caught_up(p, gradients,
                            lazy_adam.tables(rates(), 4000))[0] - expected).max() < 1e-9


def test_the_correction_of_epsilon_is_needed():
    """Without eps' the same data differ a hundred times more, so the tests above see that term."""
    random = np.random.RandomState(11)
    p, gradients = random.uniform(-0.1, 0.1, (40, 4)), touches(random, 4000, 40, 4, 0.01)
    expected = dense_adam(p, gradients, rates())[0]
    tables = lazy_adam.tables(rates(), 4000)
    # With D = 0 what is left of Dk, -k rho^k A(now), all but vanishes for large k.
    without = caught_up(p, gradients, tables._replace(d=np.zeros_like(tables.d)))[0]
    assert np.abs(without - expected).max() > 1e-5


def test_one_gap_by_hand():
    """One row, one gradient, then three steps without: the four terms added one by one."""
    b1, b2, eps = lazy_adam.BETA1, lazy_adam.BETA2, lazy_adam.EPSILON
    rate, g = rates(lr=0.01, decay=0.5, decay_steps=2), 0.3
    p, m, v = 1.0, 0.0, 0.0
    for step, gradient in enumerate([g, 0.0, 0.0, 0.0], start=1):
        m, v = b1 * m + (1 - b1) * gradient, b2 * v + (1 - b2) * gradient ** 2
        p -= float(rate(step)) * np.sqrt(1 - b2 ** step) / (1 - b1 ** step) * m / (np.sqrt(v) + eps)
    tables = lazy_adam.tables(rate, 4)
    gradients = [([0], [[g]]), ([], np.zeros((0, 1))), ([], np.zeros((0, 1))),
                 ([], np.zeros((0, 1)))]
    gradients = [(np.array(rows, int), np.array(values)) for rows, values in gradients]
    found = [float(a[0, 0]) for a in caught_up(np.ones((1, 1)), gradients, tables)]
    np.testing.assert_allclose(found, [p, m, v], rtol=1e-14)


def test_nothing_missed_changes_nothing():
    random = np.random.RandomState(0)
    p, m, v = random.randn(3, 2), random.randn(3, 2), random.uniform(size=(3, 2))
    tables = lazy_adam.tables(rates(), 10)
    for now in (0, 7, 10):
        out = lazy_adam.catch_up(lazy_adam.NUMPY, tables, p, m, v, np.full(3, now), now)
        for ours, before in zip(out, (p, m, v)):
            np.testing.assert_array_equal(ours, before)


def test_a_row_never_touched_stays_where_it_is():
    p = np.random.RandomState(0).randn(3, 2)
    zero = np.zeros_like(p)
    out = lazy_adam.caught_up(lazy_adam.tables(rates(), 5000), p, zero, zero, np.zeros(3, np.int32),
                              5000)
    np.testing.assert_array_equal(out[0], p)
    assert not out[1].any() and not out[2].any()


def test_catching_up_in_two_goes_is_catching_up_at_once():
    random = np.random.RandomState(1)
    p, m, v = random.randn(4, 2), random.randn(4, 2), random.uniform(0.1, 1, (4, 2))
    last, tables = np.array([0, 3, 50, 999]), lazy_adam.tables(rates(), 3000)
    halfway = lazy_adam.catch_up(lazy_adam.NUMPY, tables, p, m, v, last, 1001)
    twice = lazy_adam.catch_up(lazy_adam.NUMPY, tables, *halfway, last=np.full(4, 1001), now=2500)
    for ours, at_once in zip(twice,
                             lazy_adam.catch_up(lazy_adam.NUMPY, tables, p, m, v, last, 2500)):
        np.testing.assert_allclose(ours, at_once, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("rate",
                         [rates(), rates(lr=0.05, decay=0.3, decay_steps=37), rates(decay=1.0)])
@pytest.mark.parametrize("num_steps", [1, 5, 999, 2500])
def test_a_longer_run_has_the_same_tables(rate, num_steps):
    short, long = lazy_adam.tables(rate, num_steps), lazy_adam.tables(rate, 2 * num_steps)
    for name, ours, theirs in zip(short._fields, short, long):
        assert ours.shape == (num_steps + 1,) and ours.dtype == np.float64
        np.testing.assert_allclose(ours, theirs[:num_steps + 1], rtol=1e-14, err_msg=name)
        assert_ulps(ours.astype(np.float32), theirs[:num_steps + 1].astype(np.float32), 1, name)


def test_tables_are_their_definition():
    rate = rates(decay=0.5, decay_steps=20)
    tables = lazy_adam.tables(rate, 60)
    steps = np.arange(1, 1500)
    lr = rate(steps) * np.sqrt(1 - lazy_adam.BETA2 ** steps) / (1 - lazy_adam.BETA1 ** steps)
    np.testing.assert_allclose(tables.lr[1:], lr[:60], rtol=1e-11)
    j = np.arange(1, 1000)
    for t in (0, 1, 19, 20, 21, 60):
        terms = lazy_adam.RHO ** j * lr[t:t + 999]
        assert tables.a[t] == pytest.approx(terms.sum(), rel=1e-11)
        assert tables.d[t] == pytest.approx((j * terms).sum(), rel=1e-11)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_caught_up_leaves_its_input_alone(dtype):
    random = np.random.RandomState(2)
    given_arrays = [random.uniform(0.1, 1, (7, 3)).astype(dtype) for _ in range(3)]
    last = np.array([0, 1, 2, 3, 10, 20, 20], np.int32)
    kept = [a.copy() for a in given_arrays + [last]]
    for array in given_arrays + [last]:
        array.setflags(write=False)
    tables = lazy_adam.tables(rates(), 20)
    out = lazy_adam.caught_up(tables, *given_arrays, last=last, now=20)
    for ours, before, after in zip(out, kept, given_arrays):
        assert ours.dtype == dtype and not np.shares_memory(ours, after)
        np.testing.assert_array_equal(before, after)
        assert (ours[5:] == before[5:]).all() and (ours[:5] != before[:5]).all()
    np.testing.assert_array_equal(last, kept[3])


@pytest.mark.machine
@pytest.mark.parametrize("rows", [1, 2, 3, 100])
def test_caught_up_does_not_depend_on_the_tile(rows):
    random = np.random.RandomState(2)
    arrays = [random.uniform(0.1, 1, (7, 3)).astype(np.float32) for _ in range(3)]
    last, tables = np.arange(7, dtype=np.int32), lazy_adam.tables(rates(), 20)
    whole = lazy_adam.caught_up(tables, *arrays, last=last, now=20)
    for ours, expected in zip(lazy_adam.caught_up(tables, *arrays, last=last, now=20, rows=rows),
                              whole):
        # numpy may take the last elements of a row of numbers by another way
        assert_ulps(ours, expected, 1)

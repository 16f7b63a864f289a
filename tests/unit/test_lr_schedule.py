"""The staircase, by hand and against the published training log."""

import csv
import os

import numpy as np
import pytest

from gru4rec.model.learning_rate import learning_rate
from tests.parity import reference


@pytest.mark.parametrize("step, expected", [
    (0, 1e-3), (1, 1e-3), (2, 1e-3), (1000, 1e-3), (1001, 0.96e-3), (2000, 0.96e-3),
    (2001, 0.96 ** 2 * 1e-3)])
def test_update_s_uses_the_count_of_updates_before_it(step, expected):
    assert learning_rate(step, 0.001, 0.96, 1000) == pytest.approx(expected, rel=1e-14)


def test_never_below_the_floor():
    assert learning_rate(10 ** 9, 0.001, 0.96, 1000) == 1e-5
    # 0.96 ** 112 * 1e-3 = 1.034e-5, 0.96 ** 113 * 1e-3 = 0.99e-5
    assert learning_rate(112001, 0.001, 0.96, 1000) > 1e-5
    assert learning_rate(113001, 0.001, 0.96, 1000) == 1e-5
    assert learning_rate(1, 1e-7, 0.5, 10) == 1e-5


def test_no_decay_is_constant():
    assert set(learning_rate(np.arange(1, 50), 0.01, 1.0, 3).tolist()) == {0.01}


def test_arrays_are_the_scalars():
    steps = np.arange(1, 4000)
    rates = learning_rate(steps, 0.01, 0.7, 123)
    assert rates.dtype == np.float64
    np.testing.assert_allclose(rates,
                               [reference.learning_rate(s, 0.01, 0.7, 123) for s in steps.tolist()],
                               rtol=1e-14)


@pytest.mark.realdata
def test_every_rate_of_the_published_log(realdata):
    with open(os.path.join(realdata, "seed_log.csv")) as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 62
    for row in rows:
        step, shown = int(row["step"]), row["lr"]
        assert "%f" % learning_rate(step, 0.001, 0.96, 1000) == "%f" % float(shown), row

"""The script that puts a run beside a published log: which sessions it takes, and when it says no.
"""

import importlib.util
import os

import numpy as np
import pytest


@pytest.fixture(scope="module")
def script():
    path = os.path.join(os.path.dirname(__file__), os.pardir, os.pardir, "scripts",
                        "compare_seed_log.py")
    spec = importlib.util.spec_from_file_location("compare_seed_log", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _row(step, epoch, lr, loss):
    return dict(step=step, epoch=epoch, lr=lr, loss=loss)


LOG = [_row(1, 0, 0.001, 3.912), _row(1000, 1, 0.001, 2.0), _row(2000, 2, 0.00096, 1.0)]


def test_the_oldest_sessions_are_those_with_the_earliest_first_event(script):
    session = np.array([7, 7, 7, 3, 3, 5, 5, 5])
    time = np.array([9.0, 2.0, 3.0, 1.0, 8.0, 4.0, 5.0, 6.0])
    mask, held = script.oldest_sessions(session, time, 3)  # 3 has 1 target, 7 has 2, 5 has 2
    assert (sorted(set(session[mask])), held) == ([3, 7], 3)
    mask, held = script.oldest_sessions(session, time, 2)
    assert (sorted(set(session[mask])), held) == ([3, 7], 3)
    mask, held = script.oldest_sessions(session, time, 1000)
    assert (mask.all(), held) == (True, 5)


def test_late_epochs_may_differ(script):
    rows, verdicts = script.compare(LOG[:2] + [_row(2000, 2, 0.00096, 9.0)], LOG)
    assert [row["step"] for row in rows] == [1, 1000, 2000]
    assert rows[2]["relative"] == pytest.approx(8.0)
    assert all(good for good, _ in verdicts.values())


@pytest.mark.parametrize("at,change,fails", [
    (0, dict(loss=3.9225), "step 1"), (1, dict(loss=2.31), "loss"), (1, dict(lr=0.001001), "lr")])
def test_each_demand_can_fail(script, at, change, fails):
    ours = [dict(row) for row in LOG]
    ours[at].update(change)
    _, verdicts = script.compare(ours, LOG)
    assert [name for name, (good, _) in verdicts.items() if not good] == [fails]


def test_a_missing_row_is_a_failure_of_the_learning_rate_column(script):
    _, verdicts = script.compare(LOG[:2], LOG)
    assert verdicts["lr"] == (False, "equal in 2 of 3 rows")

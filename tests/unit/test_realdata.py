"""Counts of the real files, as their description states them."""

import os

import numpy as np
import pytest

from gru4rec.data.reading.loader import load_events
from gru4rec.data.sessions import index_test, index_train

pytestmark = pytest.mark.realdata
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def load(*parts):
    path = os.path.join(os.environ.get("GRU4REC_REALDATA")
                        or os.path.join(ROOT, os.pardir, "shared", "data"), *parts)
    if not os.path.exists(path):
        pytest.skip("no real data at %s (set GRU4REC_REALDATA)" % path)
    return load_events(path)


def test_rsc15_64_counts():
    vocab, sessions, report = index_train(load("rsc15_64", "train.tsv.gz"))
    assert report == (486026, 116167, 17376, 486026, 116167, 369859, 0)
    assert len(vocab) == 17376 and vocab.support.sum() == 486026 and sessions.num_targets == 369859
    test = load("rsc15_64", "test.tsv.gz")

    dropped, report = index_test(test, vocab, "drop")
    assert (report.events_read, report.sessions_read) == (71222, 15324)
    assert (report.unknown_events, report.events) == (531, 55400)
    assert len(dropped.items) - len(dropped.leading_skip) == 55400

    missed, report = index_test(test, vocab, "miss")
    assert report.events == 55898 and report.sessions == 15324
    ranked = len(missed.items) - len(missed.leading_skip) + missed.leading_skip.sum()
    assert ranked + missed.num_misses == 55898


def test_rsc15_test_day_counts():
    events = load("rsc15_test_day", "rsc15_test.txt.gz")
    assert events.time_unit == "s" and events.item.dtype == np.int64
    _, _, report = index_train(events)
    assert (report.events_read, report.sessions_read, report.items,
            report.targets) == (71222, 15324, 6751, 55898)

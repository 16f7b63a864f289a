"""Shared by all tests: import path, real data, one TensorFlow set-up, and a count of the marked
tests that ran.
"""

import importlib.util
import logging
import os
import signal
import sys
from collections import Counter

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)
# `python -m gru4rec.main` in a subprocess finds this checkout from any directory.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [ROOT, os.environ.get("PYTHONPATH")]))

# What a user's shell, launcher or machine may have set, and what tests set themselves where they
# mean it. Flags of libraries (XLA_FLAGS, TF_ENABLE_ONEDNN_OPTS, ...) stay: scripts/test_machines.sh
# runs the suite under them.
OF_THE_USER = ("TF_CONFIG", "TF_CPP_MIN_LOG_LEVEL", "TF_CPP_MAX_VLOG_LEVEL", "COLUMNS", "NO_COLOR",
               "FORCE_COLOR", "REALDATA",
               "PYTHON", "RANK_SIZE", "RANK_ID", "RANK_TABLE_FILE", "JOB_ID", "CM_WORKER_SIZE",
               "CM_CHIEF_IP", "SOC_VERSION",
               "ASCEND_SET_ENV", "ASCEND_DEVICE_ID", "DEVICE_ID", "ASCEND_OPP_PATH",
               "GRU4REC_OUTPUT", "GRU4REC_SERVE_TOKEN",
               "GRU4REC_SKIP_DAVINCI_CHECK")
for _name in OF_THE_USER:
    os.environ.pop(_name, None)

# A suite started in the background (nohup, `&` in a script) inherits an ignored SIGINT, and so does
# each process it starts; the tests send that signal and wait for its effect.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# looked up, not imported: tests/unit runs without it
HAS_TF = importlib.util.find_spec("tensorflow") is not None
TF_DIRECTORIES = tuple(os.path.join(ROOT, "tests", name) + os.sep
                       for name in ("graph", "parity", "e2e"))
COUNTED = ("realdata", "slow", "once", "once_on_1", "release", "user", "gpu", "npu")
LEFT_OUT = Counter()  # marked tests that `-m` or `-k` left out
IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0

_tf_ready = []


@pytest.fixture(scope="session")
def repo_root():
    """str, the checkout; tests read from it and never write to it."""
    return ROOT


@pytest.fixture(scope="session")
def realdata():
    """str, directory of the real data; skips where there is none. Tests that use it carry the
    marker `realdata`.
    """
    path = os.environ.get("GRU4REC_REALDATA") or os.path.join(ROOT, os.pardir, "shared", "data")
    if not os.path.isdir(path):
        pytest.skip("no real data in %s (set GRU4REC_REALDATA)" % path)
    return os.path.abspath(path)


@pytest.fixture(autouse=True)
def _tensorflow_set_up(request):
    """Global TensorFlow switches, once, before the first test of the directories that use it."""
    if HAS_TF and not _tf_ready and str(request.node.fspath).startswith(TF_DIRECTORIES):
        from gru4rec import tf_compat

        tf_compat.setup()
        _tf_ready.append(True)


_LOGGER = logging.getLogger("gru4rec")
_UNTOUCHED = _LOGGER.handlers[:], _LOGGER.level, _LOGGER.propagate


@pytest.fixture(autouse=True)
def _logger_left_alone():
    """No test finds what another, or a fixture of its module, did to the package's logger
    (`process.setup_logging`).
    """
    _reset_logger()
    yield
    _reset_logger()


def _reset_logger():
    _LOGGER.handlers[:], _LOGGER.propagate = _UNTOUCHED[0], _UNTOUCHED[2]
    _LOGGER.setLevel(_UNTOUCHED[1])


def pytest_runtest_setup(item):
    if not HAS_TF and item.get_closest_marker("tf"):
        pytest.skip("TensorFlow is not installed")
    if item.get_closest_marker("user") and (IS_ROOT or not hasattr(os, "geteuid")):
        pytest.skip("root may read and write everywhere; sh scripts/test_machines.sh user runs it "
                    "as another user")


def pytest_deselected(items):
    LEFT_OUT.update(marker for item in items
                    for marker in COUNTED if item.get_closest_marker(marker))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    """With pytest-xdist each process leaves out the same tests."""
    LEFT_OUT.update({name: count for name,
                     count in getattr(node, "workeroutput", {}).get("left_out", {}).items()
                     if not LEFT_OUT[name]})


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = dict(LEFT_OUT)


def pytest_terminal_summary(terminalreporter):
    """One line: how many of the marked tests ran, were skipped, and were left out by `-m`."""
    ran, skipped = Counter(), Counter()
    for outcome, reports in terminalreporter.stats.items():
        for report in reports:
            for marker in COUNTED:
                if marker not in getattr(report, "keywords", ()):
                    continue
                if outcome == "skipped":
                    skipped[marker] += 1
                elif getattr(report, "when", "") == "call":
                    ran[marker] += 1
    text = ", ".join("%s %d ran %d skipped" % (marker, ran[marker], skipped[marker])
                     + (" %d left out" % LEFT_OUT[marker] if LEFT_OUT[marker] else "")
                     for marker in COUNTED)
    terminalreporter.write_line("marked tests: " + text)

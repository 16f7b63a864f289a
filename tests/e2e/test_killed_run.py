"""SIGKILL at random moments, inside saves too: scripts/kill_test.py with few sessions, as forks of one process."""

import os
import re
import subprocess
import sys

import pytest

from gru4rec import tf_compat

pytestmark = [pytest.mark.tf, pytest.mark.slow]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.skipif(tf_compat.IS_TF2 and bool(os.environ.get("GRU4REC_OTHER_PYTHON")),
                    reason="it takes a while, and CI runs it on TensorFlow 1.15, where that is there")
def test_after_25_kills_nothing_is_lost(repo_root):
    """Of a run with validation and refit, in all its parts."""
    script = os.path.join(repo_root, "scripts", "kill_test.py")
    flags = ["--kills", "25", "--fork", "1", "--sessions", "120", "--", "--valid_fraction", "0.2", "--refit", "1"]
    done = subprocess.run([sys.executable, script] + flags, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.match(r"(\d+) kills survived: (\d+) in a save, .* bit for bit; nothing lost", done.stdout)
    assert found and int(found.group(1)) == 25 and int(found.group(2)) > 0, done.stdout

"""SIGKILL at random moments, inside saves too: scripts/kill_test.py with few sessions and forks."""

import os
import re
import subprocess
import sys

import pytest

from gru4rec import tf_compat

pytestmark = [pytest.mark.tf, pytest.mark.slow]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.skipif(tf_compat.IS_TF2 and bool(os.environ.get("GRU4REC_OTHER_PYTHON")),
                    reason="it takes a while, and CI runs it on TensorFlow 1.15, where that is "
                           "there")
@pytest.mark.parametrize("kills", [5, pytest.param(25, marks=pytest.mark.release)])
def test_after_many_kills_nothing_is_lost(repo_root, kills):
    """Of a run with validation and refit, in all its parts."""
    script = os.path.join(repo_root, "scripts", "kill_test.py")
    flags = ["--kills", str(kills), "--fork", "1", "--sessions", "120", "--", "--valid_fraction",
             "0.2", "--refit", "1"]
    done = subprocess.run([sys.executable, script] + flags, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.match(r"(\d+) kills survived: (\d+) in a save, .* bit for bit; nothing lost",
                     done.stdout)
    assert found and int(found.group(1)) == kills, done.stdout
    assert kills < 25 or int(found.group(2)) > 0, done.stdout  # the moments are random

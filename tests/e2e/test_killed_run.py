"""SIGKILL at random moments, inside saves too: scripts/kill_test.py with few sessions, as forks of one process."""

import os
import re
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.tf, pytest.mark.slow]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("seed, flags", [(0, []), (1, ["--valid_fraction", "0.2", "--refit", "1"])])
def test_after_25_kills_nothing_is_lost(repo_root, seed, flags):
    """13 kills of a plain run, 12 of one with validation and refit."""
    kills = 13 - seed
    script = os.path.join(repo_root, "scripts", "kill_test.py")
    done = subprocess.run([sys.executable, script, "--kills", str(kills), "--seed",
                           str(seed), "--fork", "1", "--sessions", "120", "--"] + flags, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.match(r"(\d+) kills survived: (\d+) in a save, .* bit for bit; nothing lost", done.stdout)
    assert found and int(found.group(1)) == kills and int(found.group(2)) > 0, done.stdout

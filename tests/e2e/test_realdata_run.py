"""One epoch on real clicks by the real command: what is counted, and a floor."""

import os
import re
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.tf, pytest.mark.realdata, pytest.mark.slow, pytest.mark.once]


def command(cwd, *flags):
    done = subprocess.run([sys.executable, "-m", "gru4rec.main"] + list(flags), cwd=str(cwd),
                          stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.mark.release
def test_one_epoch_on_rsc15_64(tmp_path, realdata):
    files = [os.path.join(realdata, "rsc15_64", name) for name in ("train.tsv.gz", "test.tsv.gz")]
    for path in files:
        if not os.path.exists(path):
            pytest.skip("no real data at %s (set GRU4REC_REALDATA)" % path)
    out, err = command(tmp_path, "--epoch", "1", "--train_path", files[0], "--test_path", files[1])
    assert ("486026 events, 116167 sessions, 17376 items, 369859 targets; 0 sessions of one event "
            "dropped" in err)
    assert re.match(r"Epoch 0\tStep 1\tlr: 0\.001000\tloss: 3\.9[012]\d{4}\n", out)

    out, err = command(tmp_path, "--train", "0")
    counts, metrics, rules = out.splitlines()
    assert counts.startswith("events: 55400 sessions: ") and "(in 531 events, dropped)" in counts
    recall, mrr = re.fullmatch(r"Recall@20: (\S+)\tMRR@20: (\S+)", metrics).groups()
    # Measured with TensorFlow 1.15 and 2.21: 0.5501 and 0.1921.
    assert float(recall) > 0.535 and float(mrr) > 0.183
    assert rules == "sequential rules: Recall@20: 0.6756\tMRR@20: 0.3034"
    assert "below sequential rules" in err
    counts, metrics = command(tmp_path, "--train", "0", "--unknown", "miss", "--compare_rules",
                              "0")[0].splitlines()
    assert counts.startswith("events: 55898 sessions: 15324 ")
    assert "(in 531 events, misses" in counts
    missed = re.fullmatch(r"Recall@20: (\S+)\tMRR@20: (\S+)", metrics).group(1)
    assert float(missed) == pytest.approx(float(recall) * 55400 / 55898, abs=0.003)

"""Processes of TF_CONFIG on this machine: training, a death, resuming, evaluating.

scripts/launch_local.sh starts them.
"""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from gru4rec import checkpoint, main
from gru4rec.checkpoint import names
from gru4rec.errors import ClusterError
from tests import tolerance

pytestmark = [pytest.mark.tf, pytest.mark.slow, pytest.mark.once]

FLAGS = ["--device", "cpu", "--batch_size", "8", "--size", "12", "--epoch", "2", "--n_sample", "16",
         "--optimizer", "adagrad", "--embedding", "shared", "--lr", "0.05", "--xla", "off",
         "--log_every", "50", "--steps_per_run", "5", "--cluster_timeout", "300"]


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    path = tmp_path_factory.mktemp("events") / "events.tsv"
    random = np.random.RandomState(0)
    rows = ["%d\t%d\t%d" % (s, (7 * s + i * i + random.randint(3)) % 50, 1000 * s + i)
            for s in range(1500) for i in range(random.randint(2, 8))]
    path.write_text("SessionId\tItemId\tTime\n" + "\n".join(rows) + "\n")
    return str(path)


def launch(repo_root, size, *flags):
    environment = dict(os.environ, PYTHON=sys.executable)
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)  # these tests set it, users do not
    return subprocess.Popen(["sh", os.path.join(repo_root, "scripts", "launch_local.sh"),
                             str(size)] + list(flags),
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True,
                            env=environment)


def children(process):
    with open("/proc/%d/task/%d/children" % (process.pid, process.pid)) as file:
        return [int(word) for word in file.read().split()]


def steps_logged(directory):
    try:
        with open(os.path.join(directory, "metrics.jsonl")) as rows:
            return sum(1 for _ in rows)
    except OSError:
        return 0


@pytest.fixture(scope="module")
def died(repo_root, events, tmp_path_factory):
    """(checkpoint directory, exit status, stderr); worker 1 of 2 was killed in the first epoch."""
    out = str(tmp_path_factory.mktemp("died") / "run")
    process = launch(repo_root, 2, "--train_path", events, "--checkpoint_dir", out, "--save_every",
                     "100", *FLAGS)
    until = time.time() + 600
    while steps_logged(out) < 3 and time.time() < until and process.poll() is None:
        time.sleep(0.05)
    os.kill(children(process)[1], signal.SIGKILL)
    _, err = process.communicate(timeout=600)
    return out, process.returncode, err


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="the workers are found by /proc")
def test_a_worker_that_dies_is_named_and_what_was_trained_is_saved(died):
    out, status, err = died
    ours = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(ours) == 1 and "worker 1 (127.0.0.1:" in ours[0], err
    assert "is gone; saved " + out in ours[0], err
    assert "Traceback" not in err and status in (4, 137)
    name, manifest = checkpoint.newest(out, lambda n: (n, checkpoint.verified(out, n)))
    size, lanes, steps = manifest["position"].divisions[-1]
    assert (size, lanes, manifest["position"].steps) == (2, 8, 0) and 0 < steps == manifest["step"]
    assert not name.is_epoch


@pytest.mark.release
@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="the workers are found by /proc")
def test_the_run_goes_on_with_three_and_is_evaluated_by_two_as_by_one(died, events, repo_root,
                                                                      capfd):
    out = died[0]
    process = launch(repo_root, 3, "--checkpoint_dir", out, "--resume", "1", "--train_path", events,
                     *FLAGS)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    # the checkpoint gave up its lanes already
    assert "was begun by" not in err and "rank 0 of 3 devices" in err
    with open(os.path.join(out, "metrics.jsonl")) as rows:
        ended = [row for row in map(json.loads, rows) if row["kind"] == "epoch"]
    assert [row["epoch"] for row in ended] == [0, 1]
    made = checkpoint.newest(out, lambda n: checkpoint.verified(out, n))
    assert made["position"].divisions == () and made["position"].workers == 3
    flags = ["--train", "0", "--checkpoint_dir", out, "--test_path", events, "--device", "cpu",
             "--metrics", "recall,mrr,coverage"]
    capfd.readouterr()
    assert main.main(flags) == 0
    alone = capfd.readouterr().out
    process = launch(repo_root, 2, *flags)
    together, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    assert alone.count("\n") >= 2
    # each ranks its share, in products of other sizes
    tolerance.assert_same_evaluation(together, alone)


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_process_that_dies_when_an_epoch_is_over_costs_nothing(inline, events, tmp_path,
                                                                 monkeypatch, epoch):
    """In one process, whose engine says at the end of an epoch that another is gone."""
    from gru4rec.engine import loop
    real, asked, out = loop.LoopEngine.arrays, [], tmp_path / "run"

    def arrays(self):
        asked.append(1)
        if len(asked) == epoch + 1:
            raise ClusterError("worker 7 is gone")
        return real(self)

    flags = ["--train_path", events, "--checkpoint_dir", out, "--batch_size", "8", "--size", "4",
             "--epoch", "2", "--xla", "off", "--device", "cpu"]
    monkeypatch.setattr(loop.LoopEngine, "arrays", arrays)
    monkeypatch.setattr(loop.LoopEngine, "rescued", real)
    status, _, err = inline(*flags)
    assert status == 4 and "worker 7 is gone; saved " in err
    status, _, err = inline(*(flags + ["--resume", "1"]))
    assert status == 0 and "epoch %d: nothing was left to train" % epoch in err
    assert names.epochs(str(out)) == [0, 1]
    assert all(name.is_epoch for name in names.listing(str(out)))


@pytest.mark.once
@pytest.mark.release
def test_a_stop_is_obeyed_by_all_after_the_same_step_and_resumed_bit_for_bit(repo_root, events,
                                                                             tmp_path):
    whole, cut = str(tmp_path / "whole"), str(tmp_path / "cut")
    for out in (whole, cut):
        process = launch(repo_root, 2, "--train_path", events, "--checkpoint_dir", out, *FLAGS)
        if out == cut:
            until = time.time() + 600
            while steps_logged(out) < 3 and time.time() < until and process.poll() is None:
                time.sleep(0.05)
            process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=600)
        assert process.returncode == (143 if out == cut else 0), err
    assert "interrupted; saved " + cut in err and "worker 1: error: interrupted" in err
    process = launch(repo_root, 2, "--train_path", events, "--checkpoint_dir", cut, "--resume", "1",
                     *FLAGS)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    one, other = checkpoint.load(whole).arrays, checkpoint.load(cut).arrays
    assert sorted(one) == sorted(other)
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@pytest.mark.once
def test_other_training_events_are_refused_though_the_items_are_the_same(repo_root, events,
                                                                         tmp_path):
    with open(events) as file:
        rows = file.readlines()
    other = tmp_path / "other.tsv"
    parts = [row.split("\t", 1) for row in rows[1:]]
    other.write_text(rows[0] + "".join("%d\t%s" % (9999 - int(session), rest)
                                       for session, rest in parts))
    wrapper = tmp_path / "python"  # stands for Python: worker 1 reads the other file
    wrapper.write_text('#!/bin/sh\ncase "$TF_CONFIG" in *\'"index": 1\'*) set -- "$@" --train_path '
                       '"%s" ;; esac\n'
                       'exec "%s" "$@"\n' % (other, sys.executable))
    wrapper.chmod(0o755)
    script = os.path.join(repo_root, "scripts", "launch_local.py")
    code = ("import runpy, sys; sys.executable = %r; sys.argv = sys.argv[1:]; "
            "runpy.run_path(sys.argv[0], run_name='__main__')" % str(wrapper))
    done = subprocess.run([sys.executable, "-c", code, script, "2", "--train_path", events,
                           "--checkpoint_dir", str(tmp_path / "x")] + FLAGS,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True,
                          timeout=600)
    assert done.returncode == 2 and "worker 1 (127.0.0.1:" in done.stderr, done
    assert "has other training events" in done.stderr, done
    assert not os.path.exists(str(tmp_path / "x" / "vocabulary.npz"))


@pytest.mark.once
def test_all_end_at_the_same_step_of_a_run_that_has_diverged(repo_root, events, tmp_path):
    """--lr 1e30: the losses are absurd or not finite (see test_diverged_run.py), on all alike."""
    out = str(tmp_path / "x")
    flags = ["--train_path", events, "--checkpoint_dir", out] + FLAGS + ["--lr", "1e30"]
    process = launch(repo_root, 2, *flags)
    _, err = process.communicate(timeout=200)
    assert process.returncode == 3, err
    said = [line for line in err.splitlines() if "error: " in line]
    assert len(said) == 2 and len({line[line.index("error: "):] for line in said}) == 1, err
    assert "error: the loss is " in said[0] and " at step " in said[0] and "Traceback" not in err
    assert not [name for name in os.listdir(out) if name.startswith("gru-model")]


@pytest.mark.once
def test_a_file_that_is_missing_is_one_line(repo_root, events, tmp_path):
    flags = ["--train_path", str(tmp_path / "none.tsv"), "--checkpoint_dir",
             str(tmp_path / "x")] + FLAGS
    process = launch(repo_root, 2, *flags)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 2 and "none.tsv" in err and "Traceback" not in err, err

"""A run that has diverged ends with status 3, and what was saved before stays; it is made to."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from gru4rec import checkpoint
from gru4rec import engine as engine_module
from gru4rec.checkpoint import names
from gru4rec.data import synthetic
from gru4rec.tf_compat import has_xla
from tests import helpers

pytestmark = pytest.mark.tf

SMALL = ["--train_path", "clicks.tsv", "--size", 8, "--batch_size", 4, "--epoch", 3, "--lr", 0.02]
LOOP = ["--xla", "off"]
FINITE = re.compile(r"error: the loss is (\S+) at step (\d+) \(epoch (\d+)\) and its running mean "
                    r"(\S+), more than (\S+) times the loss of chance \((\S+)\) and the best "
                    r"so far \((\S+)\)(, \S+ is not finite)?; checkpoints saved before are "
                    r"intact, train again with a lower --lr or with --grad_cap$")
NOT_FINITE = re.compile(r"error: the loss is (nan|inf) at step (\d+) \(epoch (\d+)\).*; "
                        r"checkpoints saved before are intact, train again with a lower --lr or "
                        r"with --grad_cap$")


@pytest.fixture
def clicks(tmp_path):
    frame = synthetic.markov_sessions(80, 30, 1, noise=0.4)
    frame.to_csv(str(tmp_path / "clicks.tsv"), sep="\t", index=False)
    return tmp_path


class Changed:
    """An engine whose weights are changed before a step, as if the steps before had led there."""

    def __init__(self, make, arrays, at, change):
        self._make, self._at, self._change, self.is_done = make, at, change, False
        self._real = make(arrays)

    def __getattr__(self, name):
        return getattr(self._real, name)

    def run(self, chunk):
        if not self.is_done and chunk.first_step >= self._at:
            arrays, self.is_done = self._real.arrays(), True
            self._change(arrays)
            self._real.close()
            self._real = self._make(arrays)
        return self._real.run(chunk)


@pytest.fixture
def changed(monkeypatch):
    """function (step, change): `change(arrays)` is done to the weights before a call from it on."""
    real, made = engine_module.create, []

    def ask(at, change):
        def create(config, device, arrays, num_steps, support=None):
            made.append(Changed(lambda a: real(config, device, a, num_steps, support), arrays, at,
                                change))
            return made[-1]

        monkeypatch.setattr(engine_module, "create", create if change else real)

    yield ask
    assert made and all(engine.is_done for engine in made)


def huge(arrays):
    """Scores of some 1e15: on no processor does one of them, or its square, leave float32."""
    arrays["softmax_w"] = arrays["softmax_w"] * np.float32(1e15)
    arrays["softmax_b"] = arrays["softmax_b"] + np.float32(1e15) * np.arange(
        len(arrays["softmax_b"]), dtype=np.float32)


def not_a_number(arrays):
    arrays["softmax_b"] = np.full_like(arrays["softmax_b"], np.nan)


def saved(directory):
    """{file: bytes} of every checkpoint in a directory."""
    found = {}
    for name in sorted(os.listdir(directory)):
        if name.startswith("gru-model"):
            with open(os.path.join(directory, name), "rb") as file:
                found[name] = file.read()
    return found


ENGINES = {"loop": LOOP, "plain": ["--engine", "plain"]}
if has_xla():
    ENGINES["xla"] = ["--xla", "on"]


@pytest.mark.parametrize("engine", helpers.engines(sorted(ENGINES)))
def test_lr_1e30_on_the_bundled_sample(tmp_path, engine):
    """Status 3 on any processor, though not everywhere for the same reason.

    Adam moves each weight with a gradient by 1e30 in the first step. The scores of the next steps
    are 0 for items not seen yet, or of some 1e30 or more with either sign; or a product
    overflowed, and the loss is NaN or infinite: status 3. If not, a lane whose target is not its
    best column has a loss of some 1e30, more than 1e24 times the limit even after its share in the
    mean over the lanes and in the running mean. None of thousands of lanes may have that, or the
    run is over; but sessions are noisy, and no model can have every next item in the first place.
    """
    done = subprocess.run(
        [sys.executable, "-m", "gru4rec.main", "--train", "1", "--epoch", "1", "--lr", "1e30"]
        + ENGINES[engine], cwd=str(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        universal_newlines=True)
    assert done.returncode == 3, done.stderr
    last = done.stderr.splitlines()[-1]
    found = FINITE.match(last)
    assert found or NOT_FINITE.match(last), last
    if found:
        assert float(found.group(1)) > 1e9 and found.group(6) == "3.912"
    assert not saved(str(tmp_path / "checkpoint")) and "Traceback" not in done.stderr


# Compiled, each case takes ten seconds.
@pytest.mark.parametrize("engine", helpers.engines(sorted(ENGINES), release=["xla"]))
@pytest.mark.parametrize("change, pattern", [(huge, FINITE), (not_a_number, NOT_FINITE)],
                         ids=["huge", "nan"])
def test_a_later_epoch_leaves_the_checkpoint_of_the_one_before(inline, clicks, changed, engine,
                                                               change, pattern):
    flags = SMALL + ENGINES[engine] + ["--steps_per_run", 1 if engine == "plain" else 7]
    status, _, err = inline("--checkpoint_dir", "one", *(flags + ["--epoch", 1]))
    assert status == 0, err
    length = checkpoint.load("one").step
    changed(length + 15, change)
    status, out, err = inline("--checkpoint_dir", "run", "--log_every", 5, *flags)
    last = err.splitlines()[-1]
    found = pattern.match(last)
    assert status == 3 and found, err
    step, epoch = int(found.group(2)), int(found.group(3))
    assert length + 15 <= step < length + 15 + 7 and epoch == 1
    assert names.listing("run") == [names.Name(0)]
    ours, theirs = checkpoint.load("run"), checkpoint.load("one")
    for name in theirs.arrays:
        np.testing.assert_array_equal(ours.arrays[name], theirs.arrays[name], err_msg=name)
    changed(None, None)
    before = saved("run")
    assert inline("--train", 0, "--checkpoint_dir", "run", "--test_path", "clicks.tsv")[0] == 0
    status, _, err = inline("--checkpoint_dir", "run", "--resume", 1)  # nothing stands in its way
    assert status == 0, err
    assert {name: content for name, content in saved("run").items() if name in before} == before


@pytest.mark.release
@pytest.mark.once
@pytest.mark.parametrize("flags", [
    [], ["--loss", "full-cross-entropy"], ["--loss", "bpr", "--final_act", "linear"],
    ["--loss", "bpr-max"], ["--loss", "bpr-max", "--final_act", "linear"],
    ["--score", "cosine"], ["--n_sample", 16, "--logq", 1, "--embedding", "shared"],
    ["--label_smoothing", 0.2, "--optimizer", "adagrad"], ["--loss_scale", "dynamic"]],
    ids=lambda flags: "-".join(map(str, flags)).replace("--", ""))
def test_every_loss_without_a_bound_is_found_absurd(inline, clicks, changed, flags):
    changed(20, huge)
    status, _, err = inline(*(SMALL + LOOP + ["--steps_per_run", 5] + flags))
    found = FINITE.match(err.splitlines()[-1])
    assert status == 3 and found, err
    assert 20 <= int(found.group(2)) < 26 and float(found.group(1)) > 1e9
    assert not saved("checkpoint")


@pytest.mark.release
@pytest.mark.once
@pytest.mark.parametrize("flags", [
    ["--loss", "top1", "--final_act", "linear"], ["--loss", "top1-max", "--final_act", "linear"],
    ["--final_act", "tanh"], ["--loss", "bpr"]],
    ids=lambda flags: "-".join(map(str, flags)).replace("--", ""))
def test_a_loss_with_a_bound_has_no_such_end_but_nan_is_found(inline, clicks, changed, flags):
    changed(20, huge)
    status, _, err = inline(*(SMALL + LOOP + ["--epoch", 1, "--steps_per_run", 5] + flags))
    assert status == 0 and "the loss is" not in err, err
    changed(20, not_a_number)
    status, _, err = inline(*(SMALL + LOOP + ["--epoch", 1, "--steps_per_run", 5] + flags))
    assert status == 3 and NOT_FINITE.match(err.splitlines()[-1]), err


@pytest.mark.once_on_1
@pytest.mark.parametrize("engine", ["loop", "plain"])
def test_a_run_that_goes_on_is_ended_at_the_step_of_the_uninterrupted_one(inline, clicks,
                                                                          monkeypatch, engine):
    """The losses rise to twice the limit; what decides is the mean of many steps before the cut."""
    real, stop = engine_module.create, {"at": None}

    def create(*args):
        trainer = real(*args)
        run, agree = trainer.run, trainer.agree

        def risen(chunk):
            stop["next"] = chunk.first_step + len(chunk.x)
            found = np.array(run(chunk), np.float32)
            found[np.arange(len(found)) + chunk.first_step > 70] = 2000 * np.log(4)
            return found

        def asked(*votes):
            due = stop["at"] is not None and stop.get("next", 0) > stop["at"]
            return [15 if due else votes[0]] + agree(*votes)[1:]

        trainer.run, trainer.agree = risen, asked
        return trainer

    monkeypatch.setattr(engine_module, "create", create)
    flags = SMALL + ENGINES[engine] + ["--steps_per_run", 1 if engine == "plain" else 4]
    status, _, err = inline("--checkpoint_dir", "whole", *flags)
    expected = err.splitlines()[-1]
    assert status == 3 and 130 < int(FINITE.match(expected).group(2)) < 150, err
    for at in (30, 90, 120):
        stop.update(at=at, next=0)
        status, _, err = inline("--checkpoint_dir", "parts", *flags)
        assert status == 143, err
        manifest = checkpoint.newest("parts", lambda n: checkpoint.verified("parts", n))
        assert at <= manifest["step"] < at + 5 and manifest["position"].mean_loss is not None
        stop.update(at=None)
        status, _, err = inline("--checkpoint_dir", "parts", "--resume", 1)
        assert (status, err.splitlines()[-1]) == (3, expected)


def test_a_high_rate_that_comes_back_is_let_go_on(inline, clicks):
    """The loss is several times chance (ln 4) for some time, and below where it was in the end."""
    flags = SMALL + LOOP + ["--optimizer", "adagrad", "--lr", 10, "--log_every", 1, "--epoch", 5]
    status, out, err = inline(*flags)
    assert status == 0, err
    rows = [json.loads(line) for line in (clicks / "checkpoint" / "metrics.jsonl").open()]
    epochs = [row["loss"] for row in rows if row["kind"] == "epoch"]
    assert epochs[0] > 3 * np.log(4) and epochs[-1] < epochs[0]

"""Loss scaling: no effect without overflow; skipped steps and their count; how the scale moves."""

import logging
import os
import sys

import numpy as np
import pytest

from gru4rec import config, device, tf_compat
from gru4rec.device import npu
from gru4rec.engine import create
from gru4rec.engine.base import chunk_of
from gru4rec.errors import DivergenceError
from gru4rec.graph import loss_scale
from gru4rec.graph import step as net
from gru4rec.model import state
from gru4rec.tf_compat import tf
from gru4rec.training import log as log_module
from tests import helpers

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import fake_npu  # noqa: E402

ITEMS, LANES, STEPS = 7, 4, 12
# Twelve steps, each of which rounds some thirty sums and products once more or once less. Seen: up
# to 4, with TensorFlow 2.6 to 2.21 and instructions from SSE4.2 to AVX-512.
ULPS = 64
# a scale, and a size of weights, whose gradients together exceed float32
HUGE, LARGE = 2.0 ** 127, 8.0


@pytest.fixture(scope="module")
def epoch():
    return helpers.lengths_to_epoch([5] * 12, ITEMS, LANES)


def run(epoch, engine, scale=None, steps=STEPS, weights=0.5, **flags):
    """(losses, arrays, (scale, skipped)) of a run; `scale` is what the state starts with.

    None: what the flag says.
    """
    cfg = helpers.make_config(engine, size=6, batch_size=LANES, dropout=0, lr=0.05, **flags)
    arrays = helpers.start_arrays(cfg, ITEMS, weights)
    if scale:
        arrays[state.LOSS_SCALE[0]] = np.float32(scale)
    trainer = create(cfg, helpers.cpu(), arrays, epoch.num_steps)
    try:
        return helpers.run_steps(trainer, epoch, 0, steps), trainer.arrays(), trainer.scaling
    finally:
        trainer.close()


@pytest.mark.machine
@pytest.mark.parametrize("engine", helpers.engines(sorted(helpers.ENGINES)))
@pytest.mark.parametrize("setting", ["dynamic", pytest.param(1024, marks=pytest.mark.release)])
def test_where_nothing_overflows_a_power_of_two_changes_nothing_but_rounding(epoch, engine,
                                                                             setting):
    """A scaled graph may be compiled to other instructions; the test below is of the scale."""
    losses, arrays, scaling = run(epoch, engine)
    assert scaling is None and not set(state.LOSS_SCALE) & set(arrays)
    scaled_losses, scaled, scaling = run(epoch, engine, loss_scale=setting)
    assert scaling == ({"dynamic": state.FIRST_SCALE, 1024: 1024.0}[setting], 0)
    assert [int(scaled.pop(name)) for name in state.LOSS_SCALE] == [scaling[0], STEPS, 0]
    helpers.assert_ulps(losses, scaled_losses, ULPS)
    helpers.assert_ulps_of_all(arrays, scaled, ULPS)


@pytest.mark.machine
@pytest.mark.parametrize("exponent", [0, 10, 15, 24])
def test_a_power_of_two_goes_into_a_gradient_and_out_of_it_without_rounding(exponent):
    """A product with a power of two is exact on every machine, so here the bits are compared."""
    gradients = [np.float32(10.0 ** np.random.RandomState(i).uniform(-20, 5, [4, 3]))
                 for i in range(3)]
    with tf.Graph().as_default(), tf.Session() as session:
        scale = tf.constant(np.float32(2 ** exponent))
        variables = [tf.Variable(value) for value in (np.float32(2 ** exponent), 0, 0)]
        session.run(tf.global_variables_initializer())
        given = [tf.constant(g * np.float32(2 ** exponent)) for g in gradients]
        step = net.Step(loss=tf.constant(0.0), dense=tuple(given[:2]), rows=(given[2],), states=())
        settled, _, _ = loss_scale.LossScale("dynamic",
                                             variables).settle(step, scale, helpers.cpu())
        found = session.run(list(settled.dense) + list(settled.rows))
    for ours, gradient in zip(found, gradients):
        np.testing.assert_array_equal(ours, gradient)


@pytest.mark.machine
@pytest.mark.parametrize("optimizer", [pytest.param("sgd", marks=pytest.mark.once_on_1), "adam"])
def test_steps_that_overflow_change_no_fresh_weight_and_halve_the_scale(epoch, optimizer):
    results = {engine: run(epoch, engine, HUGE, weights=LARGE, loss_scale="dynamic",
                           optimizer=optimizer)
               for engine in helpers.ENGINES}
    for losses, _, (scale, skipped) in results.values():
        assert 0 < skipped < STEPS and scale == 2.0 ** (127 - skipped) and np.isfinite(losses).all()
    cfg = helpers.make_config("plain", size=6, batch_size=LANES, dropout=0, lr=0.05,
                              loss_scale="dynamic",
                              optimizer=optimizer)
    start = helpers.start_arrays(cfg, ITEMS, LARGE)
    _, arrays, scaling = run(epoch, "plain", HUGE, 1, LARGE, loss_scale="dynamic",
                             optimizer=optimizer)
    assert scaling == (HUGE / 2, 1)
    for name in state.weight_shapes(cfg.model, ITEMS):
        np.testing.assert_array_equal(arrays[name], start[name])  # no update yet
    for engine, (losses, arrays, scaling) in results.items():
        assert scaling == results["plain"][2]
        np.testing.assert_allclose(losses, results["plain"][0], rtol=2e-4, err_msg=engine)
        caught_up = state.caught_up(cfg, arrays)
        # Adam divides a gradient by its own size: where a sum cancels, what is left of rounding
        # moves the weight too. A step that was skipped by one engine alone would move it by 0.05.
        atol = cfg.training.lr / 10 if optimizer == "adam" else 1e-4
        np.testing.assert_allclose(caught_up["softmax_w"], results["plain"][1]["softmax_w"],
                                   rtol=1e-3, atol=atol)
    assert np.abs(results["plain"][1]["softmax_w"] - start["softmax_w"]).max() > 1e-3


@pytest.mark.parametrize("engine", helpers.engines(sorted(helpers.ENGINES), release=["xla"]))
def test_a_fixed_scale_skips_and_stays(epoch, engine):
    _, arrays, (scale, skipped) = run(epoch, engine, HUGE, steps=2, weights=LARGE, loss_scale=1024)
    assert (scale, skipped) == (HUGE, 2) and int(arrays["loss_scale/good_steps"]) == 0


@pytest.mark.release
@pytest.mark.parametrize("engine", sorted(helpers.ENGINES))
def test_the_scale_grows_after_good_steps_up_to_its_limit(epoch, engine, monkeypatch):
    monkeypatch.setattr(loss_scale, "GROWTH_STEPS", 5)
    _, arrays, scaling = run(epoch, engine, 4.0, loss_scale="dynamic")
    assert scaling == (16.0, 0) and int(arrays["loss_scale/good_steps"]) == STEPS % 5
    assert run(epoch, engine, loss_scale.LARGEST, loss_scale="dynamic")[2][0] == loss_scale.LARGEST
    assert run(epoch, engine, loss_scale=4)[2][0] == 4.0


# --- an NPU that clamps


class Clamping:
    """A fake NPU of the oldest kind; `trainer` makes one step with it."""

    def __init__(self, fake, epoch):
        self.fake, self._epoch = fake, epoch
        cfg = config.parse(["--size", "6", "--batch_size", str(LANES), "--dropout", "0",
                            "--loss_scale", "dynamic"])
        self.trainer = create(cfg, device.choose("npu"), state.initial(cfg, ITEMS), epoch.num_steps)

    def step(self):
        self.trainer.run(chunk_of(self._epoch, 0, 1, 0))
        return self.trainer.scaling


@pytest.fixture(params=fake_npu.ADAPTERS)
def adapter(request, monkeypatch):
    monkeypatch.setattr(tf_compat, "IS_TF2", request.param == "npu_device")
    monkeypatch.setattr(npu, "device_nodes", lambda: ["/dev/davinci0"])
    return request.param


@pytest.mark.parametrize("status", ["v2", "v1"])
def test_a_clamping_npu_is_asked_for_its_float_status(adapter, status, epoch):
    with fake_npu.installed(adapter) as fake:
        fake.float_status_api, fake.float_status = status, 1.0
        assert Clamping(fake, epoch).step() == (state.FIRST_SCALE / 2, 1)
        fake.float_status = 0.0
        assert Clamping(fake, epoch).step() == (state.FIRST_SCALE, 0)
        assert ("float_status", status) in fake.calls
        # TensorFlow 2's adapter has none
        assert not [name for name in fake.imported if "npu_loss_scale" in name]


def test_an_npu_with_infinities_is_not_asked(adapter, epoch):
    with fake_npu.installed(adapter) as fake:
        fake.inf_nan, fake.float_status = True, 1.0
        assert Clamping(fake, epoch).step() == (state.FIRST_SCALE, 0)
        assert not [call for call in fake.calls if call[0] == "float_status"]


def test_an_adapter_without_float_status_is_said_to_be_blind(adapter, epoch, caplog):
    with fake_npu.installed(adapter) as fake:
        fake.float_status_api = None
        assert Clamping(fake, epoch).step() == (state.FIRST_SCALE, 0)
    assert "has no float status" in caplog.text


# --- the log


@pytest.fixture
def log(tmp_path):
    log = log_module.TrainLog(config.parse(["--checkpoint_dir", str(tmp_path), "--log_every",
                                            "200"]))
    log.start_epoch(0)
    return log


def test_skipped_steps_are_logged_and_counted(log, tmp_path, caplog, capsys):
    weight = np.ones((199, 2), bool)
    with caplog.at_level(logging.WARNING, "gru4rec"):
        log.scaling = (32768.0, 0)
        log.add(0, np.ones(1), weight[:1], 0.0)
        log.scaling = (8192.0, 2)
        log.add(1, np.ones(199), weight, 0.0)
    text, = [record.getMessage() for record in caplog.records]
    assert (text
            == "step 200: gradients of 2 of the last 199 steps overflowed and count as zero; the "
               "loss scale is 8192")
    rows = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert '"skipped_steps": 2' in rows[1] and '"loss_scale": 8192.0' in rows[1]
    assert len(capsys.readouterr().out.splitlines()) == 4  # the lines of the seed, and no others


def test_a_training_that_only_skips_is_given_up(log):
    weight = np.ones((199, 2), bool)
    log.scaling = (1.0, 1)
    log.add(0, np.ones(1), weight[:1], 0.0)  # one step alone is no proof
    log.scaling = (1.0, 200)
    with pytest.raises(DivergenceError,
                       match="all 199 steps up to step 200 overflowed .*--loss_scale"):
        log.add(1, np.ones(199), weight, 0.0)

"""Many steps a session call on an NPU, against a fake that repeats the op as the device would."""

import contextlib
import json
import os
import sys

import numpy as np
import pytest

from gru4rec import config, device, main, tf_compat
from gru4rec.device import npu
from gru4rec.engine import create, device_loop
from gru4rec.errors import ConfigError, DeviceError
from gru4rec.model import state
from gru4rec.tf_compat import tf
from tests import helpers

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import fake_npu  # noqa: E402

ITEMS, LANES = 7, 4
# Some twenty steps, each of which rounds some thirty sums and products once more or once less.
# Seen: up to 4, with TensorFlow 2.6 to 2.21 and instructions from SSE4.2 to AVX-512.
ULPS = 64


@pytest.fixture(params=fake_npu.ADAPTERS)
def each(request, monkeypatch):
    """Each adapter in turn."""
    monkeypatch.setattr(tf_compat, "IS_TF2", request.param == "npu_device")
    monkeypatch.setattr(npu, "device_nodes", lambda: ["/dev/davinci0"])
    with fake_npu.installed(request.param) as installed:
        yield installed


@pytest.fixture
def fake(monkeypatch):
    """The adapter of this TensorFlow."""
    monkeypatch.setattr(npu, "device_nodes", lambda: ["/dev/davinci0"])
    with fake_npu.installed("npu_device" if tf_compat.IS_TF2 else "npu_bridge") as installed:
        yield installed


@pytest.fixture(scope="module")
def epoch():
    made = helpers.lengths_to_epoch([5] * 6 + [7] * 5, ITEMS, LANES)
    assert made.num_steps % 5 and made.num_steps > 10  # the last call is not full
    return made


def train(epoch, steps, epochs=2, scale=None, **flags):
    """(losses, arrays, scaling, engine) of whole epochs."""
    flags = dict(dict(size=6, batch_size=LANES, dropout=0, lr=0.05, device="npu",
                      steps_per_run=steps), **flags)
    cfg = config.from_flags({name: str(value) for name, value in flags.items()})
    arrays = helpers.start_arrays(cfg, ITEMS, 0.5)
    if scale:
        arrays[state.LOSS_SCALE[0]] = np.float32(scale)
    chosen = device.choose("npu", steps_per_run=config.npu_steps(cfg.run))
    engine = create(cfg, chosen, arrays, epochs * epoch.num_steps, np.ones(ITEMS, int))
    losses = []
    with contextlib.closing(engine):
        for number in range(epochs):
            before, start = number * epoch.num_steps, 0
            engine.start_epoch(epoch, before)
            while start < epoch.num_steps:
                end = min(start + engine.steps_per_run, epoch.num_steps)
                losses.append(engine.run(helpers.chunk_of(epoch, start, end, before)))
                start = end
        return np.concatenate(losses), engine.arrays(), engine.scaling, engine


FLAGS = {"adam": {},
         "momentum": dict(optimizer="rmsprop", momentum=0.5, loss="bpr-max", grad_cap=0.5),
         "shared": dict(optimizer="adagrad", embedding="shared"),
         "scaled": dict(loss_scale="dynamic", scale=2.0 ** 127)}


@pytest.mark.parametrize("flags",
                         [pytest.param(name, marks=[pytest.mark.once_on_1] if FLAGS[name] else [])
                                   for name in sorted(FLAGS)])
def test_a_loop_on_the_device_is_single_steps_and_what_fills_it_up_changes_nothing(fake, epoch,
                                                                                   flags):
    single = train(epoch, 1, **FLAGS[flags])
    looped = train(epoch, 5, **FLAGS[flags])
    assert isinstance(looped[3], device_loop.DeviceLoopEngine)
    assert not isinstance(single[3], device_loop.DeviceLoopEngine)
    # TensorFlow rewrites the two graphs differently
    np.testing.assert_allclose(single[0], looped[0], rtol=1e-5)
    for name, value in single[1].items():
        np.testing.assert_allclose(value, looped[1][name], rtol=1e-4, atol=1e-5, err_msg=name)
    assert single[2] == looped[2]
    calls = [call for call in fake.calls if call[0] == "device loop"]
    assert calls == [("device loop", 5)] * (2 * -(-epoch.num_steps // 5))
    assert [call for call in fake.calls
            if call[0] == "set_iteration_per_loop"] == [("set_iteration_per_loop", 5)]
    full = train(epoch, epoch.num_steps, **FLAGS[flags])
    helpers.assert_ulps(full[0], looped[0], ULPS)  # another number of steps is another program
    helpers.assert_ulps_of_all(full[1], looped[1], ULPS)
    assert full[2] == looped[2]


@pytest.mark.once_on_1
def test_a_loss_that_is_not_finite_is_in_its_place(fake, epoch, monkeypatch):
    real = device_loop.DeviceLoopEngine._finish_step

    def spoilt(self, loss, after, updates):
        spoils = tf.equal(self._place_of_test, 7.0)
        # or the variable may be read after it was counted up
        with tf.control_dependencies([spoils]):
            counted = tf.assign_add(self._place_of_test, 1.0).op
        return real(self, tf.where(spoils, loss * np.nan, loss), after, updates + [counted])

    def inputs(self):
        self._place_of_test = tf.Variable(0.0, trainable=False, use_resource=False)
        return real_inputs(self)

    real_inputs = device_loop.DeviceLoopEngine._inputs
    monkeypatch.setattr(device_loop.DeviceLoopEngine, "_inputs", inputs)
    monkeypatch.setattr(device_loop.DeviceLoopEngine, "_finish_step", spoilt)
    prepare = device_loop.DeviceLoopEngine._prepare
    monkeypatch.setattr(device_loop.DeviceLoopEngine, "_prepare", lambda self, device: (
        self._session.run(self._place_of_test.initializer), prepare(self, device)))
    losses = train(epoch, 5, epochs=1)[0]
    assert np.isnan(losses[7]) and np.isfinite(np.delete(losses, 7)).all()


@pytest.mark.once_on_1
def test_a_run_that_has_diverged_is_ended(fake, tmp_path, capsys):
    """Of a call of eight steps the first absurd loss is named, the call after it is not made."""
    events = tmp_path / "events.tsv"
    events.write_text("SessionId\tItemId\tTime\n" + "".join(
        "%d\t%d\t%d\n" % (s, (s + i * i * s) % 29, s * 100 + i)
        for s in range(80) for i in range(6)))
    out = tmp_path / "out"
    status = main.main(["--train_path", str(events), "--batch_size", "4", "--size", "8",
                        "--epoch", "2", "--device", "npu", "--steps_per_run", "8",
                        "--checkpoint_dir", str(out), "--lr", "1e30"])
    last = capsys.readouterr().err.splitlines()[-1]
    assert status == 3 and last.startswith("error: the loss is ") and " at step " in last
    assert int(last.split(" at step ")[1].split()[0]) <= 16
    assert not [name for name in os.listdir(str(out)) if name.startswith("gru-model")]


def test_a_loop_of_another_name_is_refused(each, epoch):
    with tf.Graph().as_default(), tf.Session() as session:
        chosen = device.choose("npu", steps_per_run=2)
        with tf.name_scope("scope"), pytest.raises(DeviceError, match="scope/IterationOp"):
            chosen.loop(session, tf.no_op(), 2)


def test_a_session_that_evaluates_is_set_up_for_no_loop(each):
    chosen = device.choose("npu", steps_per_run=5)
    assert (chosen.without_loop().session_config()
            == device.choose("npu").session_config() != chosen.session_config())


def test_single_steps_need_no_loop(each, epoch):
    assert (device.choose("npu").session_config()
            == device.choose("npu", steps_per_run=1).session_config())
    train(epoch, 1, epochs=1)
    assert not [call for call in each.calls if "loop" in call[0]]
    with pytest.raises(ConfigError, match="--steps_per_run 5 needs --engine loop"):
        create(config.parse(["--engine", "plain", "--steps_per_run", "5"]), helpers.cpu(), {}, 1)


def test_the_command_trains_in_a_loop_and_logs_every_line(each, tmp_path, capsys):
    events = tmp_path / "events.tsv"
    events.write_text("SessionId\tItemId\tTime\n" + "".join(
        "%d\t%d\t%d\n" % (s, (s + i) % 6, s * 100 + i) for s in range(40) for i in range(6)))
    assert main.main(["--train_path", str(events), "--batch_size", "4", "--size", "8", "--dropout",
                      "0", "--epoch", "2",
                      "--device", "npu", "--steps_per_run", "8", "--log_every", "20",
                      "--checkpoint_dir",
                      str(tmp_path / "out"), "--lr", "0.05"]) == 0
    lines = [line.split("\t")
             for line in capsys.readouterr().out.splitlines() if line.startswith("Epoch")]
    assert [line[:2] for line in lines] == [["Epoch %d" % (s > 50), "Step %d" % s]
                                            for s in (1, 20, 40, 60, 80, 100)]
    rows = [json.loads(line)
            for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert [row["events"] for row in rows if row["kind"] == "epoch"] == [200, 200]
    assert {call for call in each.calls if call[0] == "device loop"} == {("device loop", 8)}

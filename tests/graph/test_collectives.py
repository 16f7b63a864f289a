"""Devices that train together through a fake adapter.

Workers are threads of this process; the collectives of the fake make them meet.
"""

import contextlib
import json
import os
import sys

import numpy as np
import pytest

from gru4rec import checkpoint, config, device, main, tf_compat
from gru4rec.data import schedule
from gru4rec.data.sessions import Sessions
from gru4rec.device import npu, rank_table
from gru4rec.engine import create
from gru4rec.engine.base import chunk_of
from gru4rec.model import state
from gru4rec.parallel import workers
from gru4rec.tf_compat import tf
from tests import helpers
from tests.data_helpers import epoch_of

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import fake_npu  # noqa: E402

ITEMS, LANES, STEPS = 9, 3, 4
ADAPTER = "npu_device" if tf_compat.IS_TF2 else "npu_bridge"


@pytest.fixture(scope="module")
def sessions():
    random = np.random.RandomState(0)
    lengths = random.randint(2, 7, 41)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Sessions(random.randint(0, ITEMS, offsets[-1]).astype(np.int32), offsets)


def environment(monkeypatch, tmp_path, size, rank):
    """What the launcher of a rank sets."""
    table = tmp_path / "table.json"
    table.write_text(json.dumps(rank_table.make("10.0.0.1", range(size), {})))
    for name, value in (("RANK_SIZE", size), ("RANK_ID", rank), ("JOB_ID", 1),
                        ("RANK_TABLE_FILE", table)):
        monkeypatch.setenv(name, str(value))


@pytest.fixture
def together(monkeypatch, tmp_path):
    """function (size, job of a rank's device and Ranks) -> list of what each rank's job gave."""
    monkeypatch.setattr(npu, "device_nodes", lambda: ["/dev/davinci0"])
    real = npu.Npu.session_config

    def config_with_threads(self):
        # collectives of all ranks wait at the same time, each in a thread of its own session
        made = real(self)
        made.use_per_session_threads, made.inter_op_parallelism_threads = True, 4
        return made

    monkeypatch.setattr(npu.Npu, "session_config", config_with_threads)

    def run(size, job):
        environment(monkeypatch, tmp_path, size, 0)
        with fake_npu.installed(ADAPTER, rank_size=size) as fake:
            fake.collective = fake_npu.Collective(size)
            first = device.choose("npu")
            fake.module("hccl.hccl_ops")

            def of(rank):
                fake.collective.me.rank = rank
                speaker = npu.communicator(workers.Workers(size, rank), ADAPTER)
                return job(npu.Npu("", speaker, first.options, first.npu_ops, first.adapter))

            return helpers.on_threads(size, of)
    return run


def make(size_of_all=1, **flags):
    flags = dict(dict(size=5, batch_size=LANES * size_of_all, dropout=0, optimizer="sgd", lr=0.3,
                      engine="plain"), **flags)
    return config.from_flags({name: str(value) for name, value in flags.items()})


def train(cfg, dev, epoch, arrays, steps=STEPS):
    """(losses, arrays) of the first steps."""
    with contextlib.closing(create(cfg, dev, arrays, epoch.num_steps,
                                   np.ones(ITEMS, int))) as engine:
        losses = [engine.run(chunk_of(epoch, step, step + 1, 0))[0] for step in range(steps)]
        return np.array(losses), engine.arrays(), engine.scaling


def joined(epochs):
    """The epochs of all ranks side by side, as one process would see them."""
    return schedule.Epoch(*[np.concatenate(arrays, 1) for arrays in zip(*epochs)])


@pytest.mark.parametrize("size", [2, pytest.param(8, marks=pytest.mark.once_on_1)])
def test_ranks_are_one_process_with_the_joined_batch(together, sessions, size):
    """With every item as a negative no lane sees another, so the joined batch is the same model."""
    epochs = [epoch_of(sessions, LANES, workers.Workers(size, rank)) for rank in range(size)]
    assert len({epoch.num_steps for epoch in epochs}) == 1
    cfg, whole = make(loss="full-cross-entropy"), make(size, loss="full-cross-entropy")
    start = helpers.start_arrays(cfg, ITEMS, 0.5)
    results = together(size, lambda dev: train(cfg, dev, epochs[dev.workers.rank], start))
    losses, arrays, _ = train(whole, helpers.cpu(), joined(epochs), dict(start, **{
        state.hidden_state(0): np.zeros((LANES * size, 5), np.float32)}))
    for rank, (own_losses, own, _) in enumerate(results):
        np.testing.assert_allclose(own_losses, losses, rtol=1e-5)
        for name in state.weight_shapes(cfg.model, ITEMS):
            np.testing.assert_array_equal(own[name], results[0][1][name])  # all ranks, bit for bit
            np.testing.assert_allclose(own[name], arrays[name], rtol=1e-4, atol=1e-6, err_msg=name)
        lanes = slice(rank * LANES, (rank + 1) * LANES)
        np.testing.assert_allclose(own[state.hidden_state(0)], arrays[state.hidden_state(0)][lanes],
                                   rtol=1e-4, atol=1e-6)


@pytest.mark.once_on_1
def test_with_negatives_of_the_batch_a_step_is_the_mean_of_the_ranks_steps(together, sessions):
    size, cfg = 2, make(loss="bpr-max")
    epochs = [epoch_of(sessions, LANES, workers.Workers(size, rank)) for rank in range(size)]
    start = helpers.start_arrays(cfg, ITEMS, 0.5)
    results = together(size, lambda dev: train(cfg, dev, epochs[dev.workers.rank], start, 1))
    alone = [train(cfg, helpers.cpu(), epoch, start, 1) for epoch in epochs]
    np.testing.assert_allclose(results[0][0], np.mean([losses for losses, _, _ in alone], 0),
                               rtol=1e-5)
    for name in state.weight_shapes(cfg.model, ITEMS):
        np.testing.assert_allclose(results[0][1][name],
                                   np.mean([own[name] for _, own, _ in alone], 0), rtol=1e-4,
                                   atol=1e-6)


def test_weights_of_rank_0_are_everyones(together, sessions):
    cfg, epoch = make(), epoch_of(sessions, LANES, workers.Workers(2, 0))
    starts = [helpers.start_arrays(cfg, ITEMS, 0.5, seed) for seed in (1, 2)]
    results = together(2, lambda dev: train(cfg, dev, epoch, starts[dev.workers.rank], 0))
    for name in state.weight_shapes(cfg.model, ITEMS):
        np.testing.assert_array_equal(results[1][1][name], starts[0][name])


def test_an_overflow_on_one_rank_is_skipped_on_all(together, sessions):
    cfg = make(loss_scale="dynamic", optimizer="adam", grad_cap=1)
    epoch = epoch_of(sessions, LANES, workers.Workers(2, 0))
    start = helpers.start_arrays(cfg, ITEMS, 0.5)

    class Overflowing(npu.Npu):
        def no_overflow(self, gradients):
            return tf.constant(False)

    def job(dev):
        if dev.workers.rank == 1:
            dev = Overflowing("", dev.communicator, dev.options, dev.npu_ops, dev.adapter)
        return train(cfg, dev, epoch, start, 2)

    for _, arrays, scaling in together(2, job):
        assert scaling == (state.FIRST_SCALE / 4, 2)
        for name in state.weight_shapes(cfg.model, ITEMS):
            np.testing.assert_array_equal(arrays[name], start[name])


def test_one_process_builds_no_collective(monkeypatch, sessions):
    monkeypatch.setattr(npu, "device_nodes", lambda: ["/dev/davinci0"])
    with fake_npu.installed(ADAPTER) as fake:
        chosen = device.choose("npu")
        train(make(), chosen, epoch_of(sessions, LANES, chosen.workers),
              helpers.start_arrays(make(), ITEMS), 1)
        assert not [name for name in fake.imported if "hccl" in name]


@pytest.fixture
def command(monkeypatch, tmp_path, capsys):
    """function (rank, flags) -> what one of two workers leaves.

    That is (exit status, stdout, stderr, files of the checkpoint directory).
    """
    monkeypatch.setattr(npu, "device_nodes", lambda: ["/dev/davinci0"])
    events = tmp_path / "events.tsv"
    events.write_text("SessionId\tItemId\tTime\n" + "".join(
        "%d\t%d\t%d\n" % (s, (s + i) % 6, s * 100 + i) for s in range(20) for i in range(4)))

    def run(rank, *flags):
        environment(monkeypatch, tmp_path, 2, rank)
        out = tmp_path / ("rank %d" % rank)
        with fake_npu.installed(ADAPTER, rank_size=2):  # the other rank gives what this one does
            status = main.main(["--train_path", str(events), "--batch_size", "3", "--size", "4",
                                "--epoch", "2",
                                "--checkpoint_dir", str(out)] + list(flags))
        said = capsys.readouterr()
        return status, said.out, said.err, sorted(os.listdir(str(out))) if out.exists() else []
    return run


def test_rank_0_alone_writes_what_can_be_read_and_both_print(command, tmp_path):
    status, out, err, files = command(0, "--device", "npu", "--npu_nums", "2")
    assert status == 0 and "gru-model-1.json" in files and "metrics.jsonl" in files, err
    assert "rank 0 of 2 devices: 3 lanes on each" in err
    assert "--lr 0.001 is used as it is given" in err
    assert out.startswith("Epoch 0\tStep 1\t")
    assert len(checkpoint.load(str(tmp_path / "rank 0")).arrays[state.hidden_state(0)]) == 3
    status, other_out, err, files = command(1, "--device", "npu")
    assert (status, files) == (0, []), err
    assert other_out.startswith("Epoch 0\tStep 1\t") and "rank 1 of 2" in err


@pytest.mark.parametrize("flags, words", [
    (["--device", "npu", "--npu_nums", "8"], "--npu_nums 8 contradicts RANK_SIZE 2"),
    (["--device", "cpu", "--npu_nums", "2"], "--npu_nums 2 needs --device npu"),
    (["--device", "npu", "--engine", "loop"], "--engine loop cannot train on 2 devices"),
    (["--device", "npu", "--valid_fraction", "0.2"], "a validation is not possible on 2 devices"),
    (["--device", "npu", "--save_every", "5"], "--resume and --save_every")])
def test_what_several_devices_cannot_do_is_one_line(command, flags, words):
    status, out, err, files = command(0, *flags)
    assert (status, out, files) == (2, "", []) and words in err.splitlines()[-1]


def test_a_wrong_rank_table_is_found_before_training(command, tmp_path, monkeypatch):
    monkeypatch.setattr(rank_table, "make", lambda *_: {"group_list": []})
    status, _, err, files = command(0, "--device", "npu")
    assert (status, files) == (2, []) and "older form (group_list)" in err.splitlines()[-1]

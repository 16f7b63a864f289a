"""Training and evaluation through a fake adapter: the graph an NPU would get builds and learns."""

import os
import sys

import numpy as np
import pytest

from gru4rec import config, device, engine, tf_compat
from gru4rec.data import schedule
from gru4rec.data.sessions import EvalSessions
from gru4rec.device import npu
from gru4rec.engine import base
from gru4rec.engine.plain import PlainEngine
from gru4rec.evaluation import evaluator
from gru4rec.graph import duplicates
from gru4rec.model import state
from tests import helpers

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import fake_npu  # noqa: E402

FLAGS = {
    "defaults": ["--lr", "0.05"],
    "family": ["--optimizer", "adagrad", "--lr", "0.3", "--momentum", "0.1", "--n_sample", "2",
               "--embedding", "shared", "--cell", "official", "--logq", "1",
               "--embed_dropout", "0.1"]}


@pytest.mark.parametrize("flags", sorted(FLAGS))
@pytest.mark.parametrize("adapter", fake_npu.ADAPTERS)
def test_plain_engine_trains_and_evaluates_on_a_fake_npu(adapter, flags, monkeypatch):
    monkeypatch.setattr(duplicates, "PAIRS", 10)
    monkeypatch.setattr(tf_compat, "IS_TF2", adapter == "npu_device")
    monkeypatch.setattr(npu, "device_nodes", lambda: ["/dev/davinci0"])
    cfg = config.parse(["--size", "8", "--batch_size", "4", "--dropout", "0.1", "--seed",
                        "1"] + FLAGS[flags])
    # The cycle 0 1 2 3 4 5, each session from another start, so that the lanes are each other's
    # negatives.
    items = ((np.arange(6) + np.arange(40)[:, None]) % 6).ravel().astype(np.int32)
    offsets = np.arange(0, 241, 6)
    epoch = schedule.build(items, offsets, 4)
    with fake_npu.installed(adapter):
        chosen = device.choose("npu")
        trainer = engine.create(cfg, chosen, state.initial(cfg, 6), 3 * epoch.num_steps,
                                np.full(6, 40))
        assert isinstance(trainer, PlainEngine)
        losses = [trainer.run(base.chunk_of(epoch, t, t + 1, n * epoch.num_steps))[0]
                  for n in range(3) for t in range(epoch.num_steps)]
        arrays = trainer.arrays()
        trainer.close()
        ranker = evaluator.Evaluator(cfg, chosen, arrays, 4)
        sessions = EvalSessions(items, offsets, np.zeros(40, bool), 0, np.arange(40))
        (_, recall, _), = helpers.recall_mrr(ranker, sessions, "conservative", [1])
        ranker.close()
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])
    assert recall > 0.9

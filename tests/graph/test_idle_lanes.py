"""A lane without a session takes part in nothing, whatever its state would grow to with a relu."""

import dataclasses

import numpy as np
import pytest

from gru4rec import config, device, engine
from gru4rec.data.sessions import EvalSessions
from gru4rec.engine import base
from gru4rec.evaluation import evaluator
from gru4rec.model import state

LANES = 2


def growing(loss="cross-entropy"):
    """(config, state) of one relu unit that more than doubles at every step: past float32 after
    128, not after 70.
    """
    cfg = config.parse(["--size", "1", "--batch_size", str(LANES), "--hidden_act", "relu",
                        "--dropout", "0", "--loss", loss])
    arrays = state.initial(cfg, 4)
    for name in state.weight_shapes(cfg.model, 4):
        arrays[name] = np.zeros_like(arrays[name])
    arrays["gru_layer_0/gates/bias"][:] = [30.0, -30.0]  # r = 1, u = 0
    arrays["gru_layer_0/candidate/kernel"][1] = 2.1
    arrays["gru_layer_0/candidate/bias"][:] = 1.0
    return cfg, arrays


@pytest.mark.once_on_1
@pytest.mark.parametrize("flags", [["--engine", "plain"], ["--engine", "loop", "--xla", "off"]])
@pytest.mark.parametrize("loss", ["cross-entropy", "bpr", "top1"])
def test_a_drained_lane_never_spoils_the_loss(flags, loss):
    cfg, arrays = growing(loss)
    cfg = dataclasses.replace(cfg, run=config.parse(flags).run)
    steps = 150
    live = np.zeros((steps, LANES), bool)
    live[:, 0] = True
    items = np.tile(np.array([[1, 0]], np.int32), (steps, 1))
    trainer = engine.create(cfg, device.choose("cpu"), arrays, steps)
    for start in range(0, steps, trainer.steps_per_run):
        part = slice(start, start + trainer.steps_per_run)
        losses = trainer.run(base.Chunk(items[part], items[part], live[part], live[part],
                                        start + 1))
        assert np.isfinite(losses).all()
    after = trainer.arrays()
    trainer.close()
    assert all(np.isfinite(value).all() for value in after.values())


def test_padding_of_a_tile_is_no_score():
    """Lane 0 is idle from step 70 on and is what the last tile is padded with; no target is in it.
    """
    cfg, arrays = growing()
    lengths = np.array([71, 70, 69])
    sessions = EvalSessions(np.ones(lengths.sum(), np.int32),
                            np.concatenate([[0], np.cumsum(lengths)]),
                            np.zeros(3, bool), 0, np.arange(3))
    ranker = evaluator.Evaluator(cfg, device.choose("cpu"), arrays, LANES)
    ranked = ranker.run(sessions)
    ranker.close()
    np.testing.assert_array_equal(ranked.greater_equal, 4)  # all scores are 0
    np.testing.assert_array_equal(ranked.greater, 0)

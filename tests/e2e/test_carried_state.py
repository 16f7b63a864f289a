"""The bundled sample tells a model that carries its state from one that does not."""

import numpy as np
import pytest

from gru4rec import config, device, engine
from gru4rec.data import sample, schedule, sessions
from gru4rec.data.reading import loader
from gru4rec.engine import base
from gru4rec.evaluation import evaluator
from gru4rec.model import state
from tests import helpers

pytestmark = pytest.mark.once

BEST, BEST_WITHOUT_MEMORY = 0.8670, 0.6650  # realised ceilings, data/README.md


def _pairs(items, offsets):
    """Every target with its last item alone: sessions of two events, so that nothing is carried."""
    target = np.ones(len(items), bool)
    target[offsets[:-1]] = False
    at = np.flatnonzero(target)
    return np.stack([items[at - 1], items[at]], 1).ravel(), np.arange(0, 2 * len(at) + 1, 2)


@pytest.mark.release
@pytest.mark.slow
def test_a_model_without_carried_state_misses_the_ceiling():
    def events(part):
        return loader.load_events(sample.path(part))

    vocabulary, train, _ = sessions.index_train(events("train"))
    test, _ = sessions.index_test(events("test"), vocabulary)
    cfg = config.parse([])
    cpu = device.choose("cpu")
    epoch = schedule.build(*_pairs(train.items, train.offsets), num_lanes=cfg.training.batch_size)
    trainer = engine.create(cfg, cpu, state.initial(cfg, len(vocabulary)), 3 * epoch.num_steps)
    for number in range(3):
        for start in range(0, epoch.num_steps, trainer.steps_per_run):
            stop = min(start + trainer.steps_per_run, epoch.num_steps)
            trainer.run(base.chunk_of(epoch, start, stop, number * epoch.num_steps))
    ranker = evaluator.Evaluator(cfg, cpu, state.caught_up(cfg, trainer.arrays()), 512)
    items, offsets = _pairs(test.items, test.offsets)
    blind = sessions.EvalSessions(items, offsets, np.zeros(len(offsets) - 1, bool), 0,
                                  np.arange(len(offsets) - 1))
    (_, recall, _), = helpers.recall_mrr(ranker, blind, "conservative", [20])
    trainer.close()
    ranker.close()
    assert 0.6 < recall < BEST_WITHOUT_MEMORY + 0.01 < 0.8 * BEST

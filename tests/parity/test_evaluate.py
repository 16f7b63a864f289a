"""Ranks counted in the graph against brute force, on weights whose scores are exact in float32."""

import os
import signal

import numpy as np
import pytest

from gru4rec import device
from gru4rec.data.reading.loader import Events
from gru4rec.data.sessions import EvalSessions, index_test
from gru4rec.data.vocab import Vocabulary
from gru4rec.engine import variables
from gru4rec.errors import DivergenceError, Interrupted
from gru4rec.evaluation import evaluator as evaluator_module
from gru4rec.evaluation import metrics
from gru4rec.model import state
from tests.parity import reference

pytest.importorskip("gru4rec.tf_compat", reason="TensorFlow is not installed")
from gru4rec.graph import scorer  # noqa: E402
from gru4rec.tf_compat import has_xla  # noqa: E402
from tests import helpers  # noqa: E402

NUM_ITEMS = 23


def exact_arrays(config, seed=0, num_items=NUM_ITEMS):
    """Weights for which every score is a fraction that float32 holds, and many scores are equal.

    Gate kernels and biases are 0, so both gates are exactly 1/2; the candidate is a relu of small
    whole numbers and halves. A session of seven events stays far inside 24 bits.
    """
    random = np.random.RandomState(seed)
    arrays = state.initial(config, num_items)
    for name in state.dense_shapes(config.model):
        arrays[name][...] = 0.0
        if name.endswith("candidate/kernel"):
            half = len(arrays[name]) - config.model.size[-1]
            arrays[name][:half] = random.randint(-1, 2, arrays[name][:half].shape)
            arrays[name][half:] = random.randint(-1, 2, arrays[name][half:].shape) * 0.5
        elif name.endswith("candidate/bias"):
            arrays[name][...] = random.randint(0, 2, arrays[name].shape)
    arrays[state.EMBEDDING][...] = random.randint(-2, 3, arrays[state.EMBEDDING].shape)
    arrays[state.SOFTMAX_W][...] = random.randint(-1, 2, arrays[state.SOFTMAX_W].shape)
    arrays[state.SOFTMAX_B][...] = random.randint(-1, 2, num_items)
    # planted ties
    arrays[state.SOFTMAX_W][num_items // 2:] = arrays[state.SOFTMAX_W][:num_items - num_items // 2]
    arrays[state.SOFTMAX_B][num_items // 2:] = arrays[state.SOFTMAX_B][:num_items - num_items // 2]
    return arrays


def weights_of(config, arrays):
    return {name: arrays[name].astype(np.float64) for name in state.weight_shapes(config.model, 0)}


def random_lists(num_sessions, seed=3, unknown=0.2):
    """Sessions of 1 to 7 events, a fifth of them unknown (-1); the first few are edge cases."""
    random = np.random.RandomState(seed)
    awkward = [[-1, 4], [-1, -1, 5, 6], [3, -1], [-1, 7, -1, 8], [-1, -1], [9], [-1], [1, -1, 2],
               [2, 2, 2]]
    return awkward + [np.where(random.uniform(size=n) < unknown, -1,
                               random.randint(0, NUM_ITEMS, n)).tolist()
                      for n in random.randint(1, 8, num_sessions)]


def sessions_of(lists, unknown):
    """EvalSessions of lists of item indices, by sessions.index_test; -1 becomes an unknown id."""
    vocab = Vocabulary(np.arange(NUM_ITEMS, dtype=np.int64), np.ones(NUM_ITEMS, np.int64))
    items = np.array(sum(lists, []), np.int64)
    session = np.repeat(np.arange(len(lists)), [len(s) for s in lists]).astype(np.int64)
    return index_test(Events(session, np.where(items < 0, 999, items),
                             np.arange(len(items), dtype=np.float64), "t.tsv",
                             "s"), vocab, unknown)


def set_tile(monkeypatch, targets):
    monkeypatch.setattr(evaluator_module, "SCORE_BYTES", 0)
    monkeypatch.setattr(evaluator_module, "MIN_TILE", targets)


def rank(config, arrays, sessions, lanes, progress=None):
    evaluator = evaluator_module.Evaluator(config, helpers.cpu(), arrays, lanes)
    try:
        return evaluator.run(sessions, progress)
    finally:
        evaluator.close()


@pytest.fixture(params=["plain", "compiled"] if has_xla() else ["plain"])
def counting(request, monkeypatch):
    """Both ways of counting, with several blocks and a rest in NUM_ITEMS."""
    monkeypatch.setattr(evaluator_module, "COMPILE_FROM",
                        0 if request.param == "compiled" else 10 ** 18)
    monkeypatch.setattr(scorer, "BLOCK", 5)


@pytest.fixture(params=["one layer", "two layers"])
def config(request):
    return helpers.make_config(hidden_act="relu",
                               size={"one layer": "4", "two layers": "5,3"}[request.param])


@pytest.mark.machine
@pytest.mark.parametrize("unknown", ["drop", "miss"])
def test_counts_and_metrics_are_those_of_brute_force(config, unknown, counting):
    arrays, lists = exact_arrays(config), random_lists(60)
    expected = reference.evaluate(weights_of(config, arrays), lists, unknown, "relu")
    sessions, report = sessions_of(lists, unknown)
    ranked = rank(config, arrays, sessions, lanes=4)
    counts = np.array(expected.counts)
    np.testing.assert_array_equal(ranked.greater, counts[:, 0])
    np.testing.assert_array_equal(ranked.greater_equal, counts[:, 1])
    assert (counts[:, 1] > counts[:, 0] + 1).mean() > 0.5  # the ties are there
    assert len(set(counts[:, 0].tolist())) > 5             # and so are different ranks
    assert sessions.num_misses == expected.num_misses
    assert report.events == len(counts) + expected.num_misses
    assert report.sessions == expected.num_sessions
    evaluator = evaluator_module.Evaluator(config, helpers.cpu(), arrays, 7)
    for tie in metrics.TIES:
        for cut_off, recall, mrr in helpers.recall_mrr(evaluator, sessions, tie,
                                                       [1, 3, 10, 20]):
            wanted = expected.recall_mrr(cut_off, tie)
            assert recall == float(wanted[0]) and mrr == pytest.approx(float(wanted[1]), rel=1e-14)
    evaluator.close()


def test_a_session_that_begins_unknown_is_predicted_from_the_zero_state():
    config = helpers.make_config(hidden_act="relu", size="4")
    arrays = exact_arrays(config)
    sessions, _ = sessions_of([[1, 2, 3], [-1, 4]], "miss")
    ranked = rank(config, arrays, sessions, lanes=1)
    bias = arrays[state.SOFTMAX_B]  # all there is to the score at the zero state
    assert ranked.greater[2] == (bias > bias[4]).sum()
    assert ranked.greater_equal[2] == (bias >= bias[4]).sum()


@pytest.mark.once
def test_nothing_depends_on_lanes_and_tiles(config, counting, monkeypatch):
    arrays = exact_arrays(config, seed=2)
    sessions, _ = sessions_of(random_lists(60), "miss")
    first = rank(config, arrays, sessions, lanes=5)
    for lanes, tile, steps_per_run in ((1, 7, 3), (200, 1, 64), (8, 50, 1), (3, 16, 5)):
        set_tile(monkeypatch, tile)
        monkeypatch.setattr(evaluator_module, "STEPS_PER_RUN", steps_per_run)
        again = rank(config, arrays, sessions, lanes)
        np.testing.assert_array_equal(again.greater, first.greater)
        np.testing.assert_array_equal(again.greater_equal, first.greater_equal)


def test_one_evaluator_ranks_twice_alike():
    config = helpers.make_config(hidden_act="relu", size="4")
    evaluator = evaluator_module.Evaluator(config, helpers.cpu(), exact_arrays(config), 3)
    lists = random_lists(40)
    sessions, other = sessions_of(lists, "drop")[0], sessions_of(lists[::-1], "miss")[0]
    first = evaluator.run(sessions)
    evaluator.run(other)  # leaves states behind
    again = evaluator.run(sessions)
    evaluator.close()
    np.testing.assert_array_equal(first.greater, again.greater)
    np.testing.assert_array_equal(first.greater_equal, again.greater_equal)


@pytest.mark.machine
def test_trained_weights_rank_nearly_as_in_float64():
    """Ordinary weights and tanh: almost every rank is that of the float64 twin, none below 1."""
    config = helpers.make_config(size="8,6")
    arrays = helpers.start_arrays(config, NUM_ITEMS, 0.5)
    lists = random_lists(60)
    counts = np.array(reference.evaluate(weights_of(config, arrays), lists, "drop").counts)
    ranked = rank(config, arrays, sessions_of(lists, "drop")[0], lanes=6)
    assert (ranked.greater_equal == counts[:, 1]).mean() > 0.99
    assert (ranked.greater_equal >= 1).all() and (ranked.greater < ranked.greater_equal).all()


def test_the_cosine_ranks_as_in_float64(monkeypatch):
    config = helpers.make_config(size="8,6", score="cosine", score_scale=3)
    arrays, lists = helpers.start_arrays(config, NUM_ITEMS, 0.5), random_lists(60)
    by_product = np.array(reference.evaluate(weights_of(config, arrays), lists, "drop").counts)

    def cosine(h, weights, items):
        length = [np.sqrt((x ** 2).sum(1, keepdims=True) + 1e-6)
                  for x in (h, weights["softmax_w"][items])]
        return (3 * (h / length[0]).dot((weights["softmax_w"][items] / length[1]).T)
                + weights["softmax_b"][items])
    monkeypatch.setattr(reference, "score_matrix", cosine)
    counts = np.array(reference.evaluate(weights_of(config, arrays), lists, "drop").counts)
    ranked = rank(config, arrays, sessions_of(lists, "drop")[0], lanes=6)
    assert (ranked.greater_equal == counts[:, 1]).mean() > 0.99
    assert (by_product[:, 1] == counts[:, 1]).mean() < 0.5


@pytest.mark.once
@pytest.mark.parametrize("num_items", [23, 32, 300 * 32 + 7])
@pytest.mark.parametrize("compile_from", [0, 10 ** 18])
def test_equal_scores_everywhere_are_the_last_place(num_items, compile_from, monkeypatch):
    """Also where blocks of rows are counted: none of them, no rest, and more than a byte of each.
    """
    monkeypatch.setattr(evaluator_module, "COMPILE_FROM", compile_from)
    config = helpers.make_config(size="4")
    arrays = exact_arrays(config, num_items=num_items)
    arrays[state.SOFTMAX_W][...] = 0.0
    arrays[state.SOFTMAX_B][...] = 2.0
    arrays[state.SOFTMAX_B][7:] = 3.0  # all but seven are greater than the targets
    sessions, _ = sessions_of([[1, 2, 3], [4, 5]], "drop")
    ranked = rank(config, arrays, sessions, lanes=2)
    assert ranked.greater.tolist() == [num_items - 7] * 3
    assert ranked.greater_equal.tolist() == [num_items] * 3


@pytest.mark.once
def test_other_weights_can_be_loaded(config, counting):
    sessions, _ = sessions_of(random_lists(60), "miss")
    evaluator = evaluator_module.Evaluator(config, helpers.cpu(), exact_arrays(config, seed=1), 5)
    for seed in (2, 3):
        arrays = exact_arrays(config, seed=seed)
        evaluator.load(arrays)
        for ours, theirs in zip(evaluator.run(sessions)[:2],
                                rank(config, arrays, sessions, lanes=5)):
            np.testing.assert_array_equal(ours, theirs)
    arrays[state.SOFTMAX_W][0, 0] = np.nan
    with pytest.raises(DivergenceError, match="softmax_w"):
        evaluator.load(arrays)
    evaluator.close()


def test_xla_off_compiles_no_evaluation(monkeypatch):
    """Not even one that is large enough for it to pay."""
    monkeypatch.setattr(evaluator_module, "COMPILE_FROM", 0)

    def refuse(_):
        raise AssertionError("compiled")
    monkeypatch.setattr(evaluator_module, "jit_function", refuse)
    config = helpers.make_config(size="4")
    sessions, _ = sessions_of([[1, 2, 3]], "drop")
    evaluator = evaluator_module.Evaluator(config, helpers.cpu(), exact_arrays(config), 2,
                                           xla=False)
    assert len(evaluator.run(sessions).greater) == 2
    evaluator.close()


def test_more_lanes_than_sessions_and_a_session_of_one_event():
    config = helpers.make_config(hidden_act="relu", size="4")
    arrays = exact_arrays(config)
    sessions = EvalSessions(np.array([6], np.int32), np.array([0, 1]), np.array([True]), 0,
                            np.array([0]))
    ranked = rank(config, arrays, sessions, lanes=50)
    bias = arrays[state.SOFTMAX_B]
    assert ranked.greater.tolist() == [(bias > bias[6]).sum()]


class _Progress:
    count = 0

    def update(self, n):
        self.count += n


def test_progress_counts_every_target():
    config, progress = helpers.make_config(hidden_act="relu", size="4"), _Progress()
    sessions, _ = sessions_of(random_lists(40), "miss")
    assert progress.count == 0
    ranked = rank(config, exact_arrays(config), sessions, 4, progress)
    assert progress.count == len(ranked.greater)


@pytest.mark.once
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name",
                         [state.EMBEDDING, state.SOFTMAX_W, state.SOFTMAX_B,
                          "gru_layer_0/gates/kernel",
                                  "gru_layer_0/candidate/bias"])
def test_a_weight_that_is_not_finite_is_an_error(name, bad):
    config = helpers.make_config(size="4")
    arrays = exact_arrays(config)
    arrays[name].flat[-1] = bad
    sessions, _ = sessions_of([[1, 2, 3], [4, 5]], "drop")
    with pytest.raises(DivergenceError) as caught:
        rank(config, arrays, sessions, 2)
    assert name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [state.SOFTMAX_W, state.EMBEDDING])
def test_scores_that_overflow_are_an_error(name):
    """Every weight is finite, yet the score is not: never rank 1."""
    config = helpers.make_config(hidden_act="relu", size="4")
    arrays = exact_arrays(config)
    arrays[name][...] = 3e38
    arrays["gru_layer_0/candidate/kernel"][...] = 1.0
    sessions, _ = sessions_of([[1, 2, 3], [4, 5]], "drop")
    with pytest.raises(DivergenceError):
        rank(config, arrays, sessions, 2)


def test_a_signal_stops_an_evaluation_between_two_tiles():
    """Raised inside a session call it could end the process by a segmentation fault."""
    cfg = helpers.make_config(size="4")
    ranker = evaluator_module.Evaluator(cfg, device.choose("cpu"), state.initial(cfg, 30), 2)

    class Progress:
        def update(self, _):
            os.kill(os.getpid(), signal.SIGINT)

    sessions = EvalSessions(np.arange(200, dtype=np.int32) % 30, np.array([0, 100, 200]),
                            np.zeros(2, bool), 0, np.arange(2))
    with pytest.raises(Interrupted):
        ranker.run(sessions, Progress())
    assert len(ranker.run(sessions).greater) == 198
    ranker.close()


def test_a_signal_while_an_evaluator_is_made_stops_it(monkeypatch):
    cfg = helpers.make_config(size="4")
    monkeypatch.setattr(variables.Variables, "initialise",
                        lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted):
        evaluator_module.Evaluator(cfg, device.choose("cpu"), state.initial(cfg, 30), 2)


def test_only_wanted_targets_are_ranked(config):
    arrays, (sessions, _) = exact_arrays(config), sessions_of(random_lists(60), "miss")
    everything = rank(config, arrays, sessions, lanes=4)
    wanted = np.random.RandomState(0).uniform(size=len(everything.greater)) < 0.4
    evaluator, progress = evaluator_module.Evaluator(config, helpers.cpu(), arrays, 4), _Progress()
    some = evaluator.run(sessions, progress, wanted)
    evaluator.close()
    np.testing.assert_array_equal(some.greater, everything.greater[wanted])
    np.testing.assert_array_equal(some.greater_equal, everything.greater_equal[wanted])
    assert progress.count == wanted.sum()


def _lists_by_brute_force(config, arrays, lists, length):
    """The best items of every target of unknown="drop": by score, then the lower index first."""
    weights, found = weights_of(config, arrays), []
    for session in lists:
        session, states = [item for item in session if item >= 0], reference.zero_states(weights, 1)
        for item in session[:-1]:
            _, states = reference.advance(weights, [item], states, "relu")
            scores = reference.score_matrix(states[-1], weights, np.arange(NUM_ITEMS))[0]
            found.append(np.argsort(-scores, kind="stable")[:length])
    return np.array(found)


@pytest.mark.once
@pytest.mark.parametrize("some", [False, True])
def test_items_of_the_recommended_lists_are_counted(config, some, monkeypatch):
    set_tile(monkeypatch, 7)  # with padding
    arrays, lists = exact_arrays(config), random_lists(60)
    sessions, _ = sessions_of(lists, "drop")
    expected = _lists_by_brute_force(config, arrays, lists, NUM_ITEMS)
    wanted = np.arange(len(expected)) % 3 == 0 if some else None
    evaluator = evaluator_module.Evaluator(config, helpers.cpu(), arrays, 4, (3, 10, 1000))
    recommended = evaluator.run(sessions, wanted=wanted).recommended
    evaluator.close()
    expected = expected[wanted] if some else expected
    for row, length in zip(recommended, (3, 10, NUM_ITEMS)):
        np.testing.assert_array_equal(row,
                                      np.bincount(expected[:, :length].ravel(),
                                                  minlength=NUM_ITEMS))


def test_lists_are_no_part_of_the_graph_unless_asked_for():
    config = helpers.make_config(hidden_act="relu", size="4")
    for lengths in ((), (20,)):
        evaluator = evaluator_module.Evaluator(config, helpers.cpu(), exact_arrays(config), 2,
                                               lengths)
        definition = evaluator._session.graph.as_graph_def()
        nodes = list(definition.node) + [node for function in definition.library.function
                                         for node in function.node_def]
        assert ("TopKV2" in {node.op for node in nodes}) == (lengths != ())
        assert (evaluator.run(sessions_of([[1, 2, 3]], "drop")[0]).recommended
                is None) == (lengths == ())
        evaluator.close()

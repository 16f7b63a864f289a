"""The numpy network against TensorFlow's graph and files."""

import subprocess
import sys

import numpy as np
import pytest

import gru4rec
from gru4rec import checkpoint
from gru4rec.model import state
from tests import serving_helpers as helpers
from tests.unit.test_serving import FAMILY, random_sessions

pytestmark = [pytest.mark.tf, pytest.mark.once]
pytest.importorskip("gru4rec.tf_compat", reason="TensorFlow is not installed")
from gru4rec.graph import scorer  # noqa: E402
from gru4rec.tf_compat import tf  # noqa: E402


def graph_states(config, current, items_kb):
    """[K, B, H] of scorer.hidden_states."""
    on_cpu = tf.ConfigProto(device_count={"GPU": 0})
    with tf.Graph().as_default(), tf.Session(config=on_cpu) as session:
        lanes = items_kb.shape[1]
        dense = [tf.constant(current[name]) for name in state.dense_shapes(config.model)]
        found, _ = scorer.hidden_states(config.model, dense,
                                        tf.constant(state.input_rows(config.model, current)),
                                        tf.constant(items_kb), tf.zeros(items_kb.shape, tf.bool),
                                        [tf.zeros([lanes, hidden]) for hidden in config.model.size])
        return session.run(found)


@pytest.mark.parametrize("case", sorted(FAMILY))
def test_states_and_scores_are_those_of_the_evaluation(tmp_path, case):
    config = helpers.make_config(**FAMILY[case])
    arrays, vocab = helpers.random_arrays(config, 40), helpers.vocabulary(40)
    checkpoint.save(str(tmp_path), config, vocab, arrays, 0, 100)
    current = state.caught_up(config, arrays)
    items = np.random.RandomState(1).randint(0, 40, (12, 5)).astype(np.int32)
    expected = graph_states(config, current, items)
    model = gru4rec.load(str(tmp_path))
    one = [model.start() for _ in range(5)]
    for row, states in zip(items, expected):
        for session, item, hidden in zip(one, row, states):
            assert session.click(vocab.ids[item])
            np.testing.assert_allclose(session.vector[:-1], hidden, rtol=1e-5, atol=1e-5)
    rows = state.output_rows(config.model, current)
    scores = expected[-1].dot(rows[:, :-1].T) + rows[:, -1]
    for lane in range(5):
        ids, found = model.recommend(vocab.ids[items[:, lane]], k=40)
        np.testing.assert_allclose(found, scores[lane, vocab.encode(ids)], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", ["plain", "cosine-shared", "none-official-layers"])
def test_both_backends_agree(tmp_path, case):
    config = helpers.make_config(**FAMILY[case])
    checkpoint.save(str(tmp_path), config, helpers.vocabulary(40),
                    helpers.random_arrays(config, 40), 0, 100)
    ours, theirs = gru4rec.load(str(tmp_path)), gru4rec.load(str(tmp_path), backend="tf")
    sessions = random_sessions(list(ours.ids) + [1], 20)
    for options in ({}, dict(exclude_seen=True, exclude=[1007]),
                    dict(candidates=[1007, 1014, 1000])):
        for one, other in zip(ours.recommend_batch(sessions, 40, **options),
                              theirs.recommend_batch(sessions, 40, **options)):
            np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
            assert set(one.ids) == set(other.ids) and one.unknown == other.unknown
            assert one.by_popularity == other.by_popularity
            apart = np.flatnonzero(-np.diff(one.scores) > 1e-4)
            for mine, his in zip(np.split(one.ids, apart + 1), np.split(other.ids, apart + 1)):
                assert set(mine) == set(his)


def test_the_tf_backend_leaves_global_tensorflow_alone(tmp_path):
    """In a process of its own: no default graph or session, and eager execution as it was."""
    config = helpers.make_config(size="6,4")
    checkpoint.save(str(tmp_path), config, helpers.vocabulary(40),
                    helpers.random_arrays(config, 40), 0, 100)
    code = ("import sys, gru4rec\nimport tensorflow.compat.v1 as tf\nbefore = "
            "tf.executing_eagerly()\n"
            "model = gru4rec.load(sys.argv[1], backend='tf')\nfound = model.recommend([1007, "
            "1014], k=40)\n"
            "session = model.start()\nsession.click(1007), session.click(1014)\n"
            "assert abs(session.top(40).scores - found.scores).max() < 1e-5\n"
            "assert tf.executing_eagerly() == before and tf.get_default_session() is None\n"
            "assert len(tf.get_default_graph().get_operations()) == "
            "0\nprint(found.ids.tolist()[:3])")
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code, str(tmp_path)],
                          stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True)
    assert (done.stdout == "%s\n"
            % gru4rec.load(str(tmp_path)).recommend([1007, 1014], k=3).ids.tolist()), done.stderr


def test_the_command_with_either_backend(tmp_path, capfd):
    from gru4rec.recommend import cli
    config = helpers.make_config(size="6,4")
    checkpoint.save(str(tmp_path), config, helpers.vocabulary(40),
                    helpers.random_arrays(config, 40), 0, 100)
    found = []
    for backend in ("numpy", "tf"):
        flags = ["--checkpoint_dir", str(tmp_path), "--items", "1007,1014", "-k", "5", "--backend",
                 backend]
        assert cli.main(flags) == 0
        found.append([line.split("\t") for line in capfd.readouterr()[0].splitlines()])
    assert [row[0] for row in found[0]] == [row[0] for row in found[1]] and len(found[0]) == 5
    np.testing.assert_allclose(*[[float(row[1]) for row in rows] for rows in found], atol=1e-4)

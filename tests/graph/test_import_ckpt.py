"""A checkpoint as the older port saved it, imported and evaluated by the real commands."""

import os
import subprocess
import sys

import numpy as np
import pytest

from gru4rec import checkpoint, import_ckpt, tf_compat
from gru4rec.graph import cell
from gru4rec.tf_compat import tf

HIDDEN, ITEMS = 5, 4
CELL = "gru_layer/multi_rnn_cell/cell_0/gru_cell/"


def old_arrays(random):
    shapes = {"gru_layer/embedding": [ITEMS, HIDDEN], "gru_layer/softmax_w": [ITEMS, HIDDEN],
              "gru_layer/softmax_b": [ITEMS], CELL + "gates/kernel": [2 * HIDDEN, 2 * HIDDEN],
              CELL + "gates/bias": [2 * HIDDEN], CELL + "candidate/kernel": [2 * HIDDEN, HIDDEN],
              CELL + "candidate/bias": [HIDDEN], "gru_layer/embedding/Adam": [ITEMS, HIDDEN],
              "global_step": []}
    return {name: random.standard_normal(shape).astype(np.float32) for name,
            shape in shapes.items()}


@pytest.fixture
def old(tmp_path):
    """(directory of an old checkpoint, its arrays, its training file)."""
    arrays = old_arrays(np.random.RandomState(0))
    with tf.Graph().as_default():
        variables = [tf.Variable(value, name=name, use_resource=False) for name,
                     value in arrays.items()]
        saver = tf.train.Saver(variables)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            os.makedirs(str(tmp_path / "old"))
            saver.save(session, str(tmp_path / "old" / "gru-model"), global_step=2)
    events = tmp_path / "train.txt"
    events.write_text("SessionId\tItemId\tTime\n" + "".join(
        "%d\t%d\t%d\n" % (session, item, time) for session, item, time in
        [(9, 30, 1), (9, 10, 2), (1, 20, 1), (1, 30, 2), (1, 40, 3)]))
    return str(tmp_path / "old"), arrays, str(events)


def imported(old, out, *flags):
    return import_ckpt.main(["--old", old[0], "--train_path", old[2], "--checkpoint_dir",
                             str(out)] + list(flags))


def test_weights_arrive_under_our_names_and_the_model_can_be_evaluated(old, tmp_path, capsys):
    assert imported(old, tmp_path / "new") == 0
    assert "4 items, 1 layers of 5" in capsys.readouterr().out
    found = checkpoint.load(str(tmp_path / "new"))
    for ours, theirs in [("embedding", "gru_layer/embedding"), ("softmax_w", "gru_layer/softmax_w"),
                         ("softmax_b", "gru_layer/softmax_b")] + [
            ("gru_layer_0/" + part, CELL + part)
                             for part in ("gates/kernel", "gates/bias", "candidate/kernel",
                                                              "candidate/bias")]:
        np.testing.assert_array_equal(found.arrays[ours], old[1][theirs])
    # order of first appearance
    assert found.vocabulary.ids.tolist() == [30, 10, 20, 40] and found.step == 0
    done = subprocess.run([sys.executable, "-m", "gru4rec.main", "--train", "0", "--checkpoint_dir",
                           str(tmp_path / "new"), "--test_path", old[2], "--device", "cpu",
                           "--cut_off", "4"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    assert done.returncode == 0, done.stderr
    assert "Recall@4: 1.0000" in done.stdout


def test_layers_of_the_old_model_share_one_cell(old, tmp_path):
    assert imported(old, tmp_path / "new", "--layer", "2") == 0
    found = checkpoint.load(str(tmp_path / "new"))
    np.testing.assert_array_equal(found.arrays["gru_layer_1/gates/kernel"],
                                  found.arrays["gru_layer_0/gates/kernel"])
    assert found.config.model.size == (5, 5)


def test_another_training_file_or_no_checkpoint_is_one_line(old, tmp_path, capsys):
    with open(old[2], "a") as out:
        out.write("1\t50\t4\n")
    assert imported(old, tmp_path / "new") == 2
    assert "trained on 4 items, --train_path has 5" in capsys.readouterr().err
    for path, words in [(str(tmp_path), "holds no TensorFlow checkpoint"),
                        (str(tmp_path / "none"), "cannot be read")]:
        assert import_ckpt.main(["--old", path, "--train_path", old[2], "--checkpoint_dir",
                                 str(tmp_path / "new")]) == 2
        err = capsys.readouterr().err
        assert words in err and err.count("error: ") == 1 and "Traceback" not in err
    assert import_ckpt.main(["--old", "x"]) == 2
    assert "--train_path is missing" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(tf_compat.IS_TF2, reason="TensorFlow 1 has the cell that the older port used")
def test_the_old_cell_has_these_names_and_is_ours(old):
    random = np.random.RandomState(1)
    x, state = random.standard_normal((2, 3, HIDDEN)).astype(np.float32)
    with tf.Graph().as_default():
        with tf.variable_scope("gru_layer"):
            cells = tf.nn.rnn_cell.MultiRNNCell([tf.nn.rnn_cell.GRUCell(HIDDEN,
                                                                        activation=tf.tanh)])
            theirs, _ = cells(tf.constant(x), (tf.constant(state),))
        variables = {v.op.name: v for v in tf.global_variables()}
        assert sorted(variables) == sorted(name for name in old[1] if name.startswith(CELL))
        _, parts = import_ckpt._weights(old[1], "old")
        weights = cell.GRUWeights(*[tf.constant(parts[0][part]) for part in (
            "gates/kernel", "gates/bias", "candidate/kernel", "candidate/bias")])
        ours = cell.gru_step(tf.constant(x), tf.constant(state), weights, tf.tanh)
        with tf.Session() as session:
            for name, variable in variables.items():
                variable.load(old[1][name], session)
            np.testing.assert_allclose(*session.run([ours, theirs]), rtol=1e-5, atol=1e-5)

"""Gradients of stock-Adam steps, recorded and fed to the lazy tables: weights are the same.

The plain engine trains (`tf.train.AdamOptimizer`, every row at every step) and its gradients are
taken down on their way to the optimizer, duplicates summed. Fed open loop, the two optimizers see
the same numbers; a closed loop would not
stay comparable, as Adam makes the rounding of tiny gradients large.
"""

import os
from unittest import mock

import numpy as np
import pytest

from gru4rec.data import schedule
from gru4rec.engine import create
from gru4rec.model import lazy_adam, state

tf = pytest.importorskip("gru4rec.tf_compat", reason="TensorFlow is not installed").tf
from tests import helpers  # noqa: E402


def recorder(steps):
    """A subclass of TensorFlow's Adam that also adds the gradients of the tables to a list."""
    def note(x, inputs, y, outputs, bias):
        outputs = np.concatenate([outputs, bias[:, None]], 1)
        steps.append(_summed(x, inputs) + _summed(y, outputs))

    class Recorder(tf.train.AdamOptimizer):
        def apply_gradients(self, gradients):
            """gradients: dense weights first, then slices of embedding, softmax_w, softmax_b."""
            slices = [g for g, _ in gradients if isinstance(g, tf.IndexedSlices)]
            assert len(slices) == 3
            inputs, outputs, bias = slices
            noted = tf.py_func(note, [inputs.indices, inputs.values, outputs.indices,
                                      outputs.values, bias.values], [])
            return tf.group(super().apply_gradients(gradients), noted)

    return Recorder


def _summed(index, gradient):
    """(index [n], gradient [n, D]) with a row's whole gradient at its first occurrence, else 0."""
    _, first, which = np.unique(index, return_index=True, return_inverse=True)
    out = np.zeros_like(gradient)
    np.add.at(out, first[which.ravel()], gradient)
    return index.copy(), out


def record(config, arrays, epoch, num_steps):
    """(recorded steps, state after them) of the plain engine."""
    steps = []
    with mock.patch.object(tf.train, "AdamOptimizer", recorder(steps)):
        engine = create(config, helpers.cpu(), arrays, num_steps)
    try:
        helpers.run_steps(engine, epoch, 0, num_steps)
        return steps, engine.arrays()
    finally:
        engine.close()


def replay(p, adam, steps):
    """(p, m, v, last) of a lazy table that starts at p without moments; (p, m, v) caught up."""
    zero = np.zeros_like(p)
    table = helpers.LazyTable(p, zero, zero, np.zeros(len(p), np.int32), adam,
                              num_rows=len(steps[0][0]))
    try:
        for number, (index, gradient) in enumerate(steps, start=1):
            table.step(index, gradient.astype(p.dtype), number)
        return table.unpack(), table.caught_up(len(steps))
    finally:
        table.close()


def stock_adam(p, config, steps):
    """p in float64 after the stock optimizer, fed the same gradients as dense ones.

    Every row moves every step.
    """
    with tf.Graph().as_default():
        start_ph = tf.placeholder(tf.float64, p.shape)
        var = tf.Variable(start_ph, use_resource=True)
        index_ph, rate_ph = tf.placeholder(tf.int32, [None]), tf.placeholder(tf.float64, [])
        gradient_ph = tf.placeholder(tf.float64, [None, p.shape[1]])
        optimizer = tf.train.AdamOptimizer(rate_ph, lazy_adam.BETA1, lazy_adam.BETA2,
                                           lazy_adam.EPSILON)
        train_op = optimizer.apply_gradients([(tf.math.unsorted_segment_sum(gradient_ph, index_ph,
                                                                            len(p)), var)])
        with tf.Session(config=helpers.cpu().session_config()) as session:
            session.run(tf.global_variables_initializer(), {start_ph: p})
            for number, (index, gradient) in enumerate(steps, start=1):
                session.run(train_op, {index_ph: index, gradient_ph: gradient,
                                       rate_ph: helpers.rate(config, number)})
            return session.run(var)


def both_tables(arrays):
    """(embedding [I, E], softmax rows with the bias last [I, H + 1])."""
    return arrays[state.EMBEDDING], np.concatenate([arrays[state.SOFTMAX_W],
                                                    arrays[state.SOFTMAX_B][:, None]], 1)


def check(config, arrays, epoch, num_steps):
    """Record, replay in both precisions, compare every weight.

    Returns: how many rows of each table were touched.
    """
    steps, ended = record(config, arrays, epoch, num_steps)
    assert len(steps) == num_steps
    adam, counts = helpers.adam_tables(config, num_steps), []
    for which, (start, stock) in enumerate(zip(both_tables(arrays), both_tables(ended))):
        mine = [step[2 * which:2 * which + 2] for step in steps]
        (_, _, _, last), (found, _, _) = replay(start, adam, mine)
        assert found.dtype == np.float32
        assert np.abs(found - stock).max() <= 2e-6
        # Rows without a gradient stay where they are in both, bit for bit; float64 is compared on
        # the others.
        touched = np.flatnonzero(last)
        idle = np.flatnonzero(last == 0)
        np.testing.assert_array_equal(found[idle], start[idle])
        np.testing.assert_array_equal(stock[idle], start[idle])
        place = np.zeros(len(start), np.int32)
        place[touched] = np.arange(len(touched))
        mine = [(place[index], gradient) for index, gradient in mine]
        start = start[touched].astype(np.float64)
        _, (found, _, _) = replay(start, adam, mine)
        assert np.abs(found - stock_adam(start, config, mine)).max() <= 1e-6
        # the steps moved the weights far beyond the tolerance
        assert np.abs(found - start).max() > 100 * 2e-6
        counts.append(len(touched))
    return counts


def test_small():
    """Two hundred items of Zipf popularity, three decays, gaps of one to hundreds of steps."""
    config = helpers.make_config("plain", size="12,8", batch_size=10, decay=0.5, decay_steps=100)
    random = np.random.RandomState(4)
    offsets = np.concatenate([[0], np.cumsum(2 + random.geometric(0.4, 2000))]).astype(np.int64)
    popularity = 1.0 / np.arange(1, 201) ** 1.3
    items = random.choice(200, offsets[-1], p=popularity / popularity.sum()).astype(np.int32)
    epoch = schedule.build(items, offsets, 10)
    counts = check(config, state.initial(config, 201), epoch, 350)
    assert all(100 < count < 201 for count in counts)


@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.release
def test_two_thousand_steps_of_rsc15_64(realdata):
    from gru4rec.data import sessions
    from gru4rec.data.reading import loader
    path = os.path.join(realdata, "rsc15_64", "train.tsv.gz")
    if not os.path.exists(path):
        pytest.skip("no real data at %s" % path)
    vocab, train, _ = sessions.index_train(loader.load_events(path))
    config = helpers.make_config("plain")
    epoch = schedule.build(train.items, train.offsets, config.training.batch_size)
    num_steps = 2 * config.training.decay_steps + 50  # the rate decays at updates 1001 and 2001
    check(config, state.initial(config, len(vocab)), epoch, num_steps)

"""Wide rows: packing, sums of duplicates, and reading and writing them against dense Adam."""

import numpy as np
import pytest

from gru4rec.model import lazy_adam
from gru4rec.model.learning_rate import learning_rate
from tests.parity import reference

tf = pytest.importorskip("gru4rec.tf_compat", reason="TensorFlow is not installed").tf
from gru4rec.graph import duplicates, tables  # noqa: E402
from tests.helpers import LazyTable  # noqa: E402

DTYPES = [np.float32, np.float64]


def rate(step):
    return learning_rate(step, 0.01, 0.5, 7)


@pytest.mark.parametrize("dtype", DTYPES)
def test_pack_keeps_every_step_number(dtype):
    random = np.random.RandomState(0)
    # a float32 counts to 2^24 only
    last = np.array([0, 1, 7, 2 ** 24 - 1, 2 ** 24 + 1, 2 ** 31 - 1], np.int32)
    columns = [random.randn(6, 3).astype(dtype) for _ in range(3)]
    packed, = tables.pack(columns, last)
    assert packed.dtype == dtype
    out, steps = tables.unpack([packed], True)
    for ours, theirs in zip(out, columns):
        np.testing.assert_array_equal(ours, theirs)
    assert steps.dtype == np.int32
    np.testing.assert_array_equal(steps, last)


@pytest.mark.parametrize("n, num_items", [(5, 3), (64, 20), (1, 4), (300, 40), (2048, 700)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_sum_duplicates(n, num_items, dtype):
    random = np.random.RandomState(n)
    index = random.randint(0, num_items, n).astype(np.int32)
    # whole numbers: every order of summing is exact
    gradient = random.randint(-8, 9, (n, 3)).astype(dtype)
    with tf.Graph().as_default(), tf.Session() as session:
        # its values mean nothing
        scratch = tf.Variable(np.full(num_items, 10 ** 6, np.int32), use_resource=True)
        session.run(scratch.initializer)
        same = duplicates.of(tf.constant(index), scratch)
        summed, first = session.run([same.sum(tf.constant(gradient)), same.first(tf.float64)])
    assert np.bincount(index, first,
                       num_items).tolist() == (np.bincount(index, minlength=num_items) > 0).tolist()
    np.testing.assert_array_equal(summed, reference.sum_rows(gradient, index, num_items)[index])


@pytest.mark.parametrize("dtype", DTYPES)
def test_read_catches_up_and_leaves_the_table_alone(dtype):
    random = np.random.RandomState(3)
    adam = lazy_adam.tables(rate, 40)
    p, m, v = [random.uniform(0.1, 1, (6, 3)).astype(dtype) for _ in range(3)]
    last = np.array([0, 3, 20, 29, 30, 12], np.int32)
    table = LazyTable(p, m, v, last, adam, num_rows=4)
    index = np.array([1, 4, 5, 1], np.int32)
    found = table.read(index, step=31)  # as they are after step 30
    expected = lazy_adam.caught_up(adam, p, m, v, last, 30)
    for ours, theirs in zip(found, expected):
        np.testing.assert_allclose(ours, theirs[index], rtol=1e-5 if dtype == np.float32 else 1e-13)
    np.testing.assert_array_equal(found[0][1], p[4])  # nothing missed: not a bit changes
    for ours, theirs in zip(table.unpack(), (p, m, v, last)):
        np.testing.assert_array_equal(ours, theirs)
    table.close()


@pytest.mark.parametrize("dtype, atol", [(np.float32, 2e-6), (np.float64, 1e-7)])
def test_writes_are_dense_adam_after_catch_up(dtype, atol):
    """Random batches with duplicates, gaps of all lengths, several decays of the rate."""
    random = np.random.RandomState(8)
    num_items, width, batch, num_steps = 30, 3, 6, 60
    p = random.uniform(-0.2, 0.2, (num_items, width)).astype(dtype)
    zero, adam = np.zeros_like(p), lazy_adam.tables(rate, num_steps)
    table = LazyTable(p, zero, zero, np.zeros(num_items, np.int32), adam, num_rows=batch)
    expected = [p.astype(np.float64), zero.astype(np.float64), zero.astype(np.float64)]
    touched_at = np.zeros(num_items, int)
    for step in range(1, num_steps + 1):
        # few often, two never
        index = ((num_items - 2) * random.uniform(size=batch) ** 6).astype(np.int32)
        size = 10.0 ** random.uniform(-5, 0, (batch, width))
        gradient = (size * random.choice([-1, 1], (batch, width))).astype(dtype)
        if step % 5 == 0:
            index[1:3] = index[0]
        table.step(index, gradient, step)
        touched_at[index] = step
        summed = reference.sum_rows(gradient.astype(np.float64), index, num_items)
        b1, b2 = lazy_adam.BETA1, lazy_adam.BETA2
        expected[1] = b1 * expected[1] + (1 - b1) * summed
        expected[2] = b2 * expected[2] + (1 - b2) * summed ** 2
        lr = float(rate(step)) * np.sqrt(1 - b2 ** step) / (1 - b1 ** step)
        expected[0] = expected[0] - lr * expected[1] / (np.sqrt(expected[2]) + lazy_adam.EPSILON)
    *raw, last = table.unpack()
    np.testing.assert_array_equal(last, touched_at)
    assert (touched_at == 0).any() and len(set(touched_at.tolist())) > 5
    np.testing.assert_array_equal(raw[0][touched_at == 0], p[touched_at == 0])
    found = table.caught_up(num_steps)
    np.testing.assert_allclose(found[0], expected[0], rtol=0, atol=atol)
    for ours, theirs in zip(found[1:], expected[1:]):
        np.testing.assert_allclose(ours, theirs, rtol=3e-5 if dtype == np.float32 else 1e-11,
                                   atol=1e-12)
    table.close()

"""Which rows a step reads and what its columns are, worked out by hand on two lanes."""

import numpy as np
import pytest

tf = pytest.importorskip("gru4rec.tf_compat", reason="TensorFlow is not installed").tf

from gru4rec import config  # noqa: E402
from gru4rec.graph import lookup as lookup_module  # noqa: E402
from gru4rec.graph import step as net  # noqa: E402
from gru4rec.graph.lookup import Part  # noqa: E402
from gru4rec.parallel.workers import ALONE, Workers  # noqa: E402

SUPPORT = np.arange(1.0, 11.0)  # of item i: i + 1


def look(x, y, weight, samples=None, workers=ALONE, own_samples=False, **flags):
    """(`Lookup.index` as lists, `Lookup.parts`, dict of what the columns have)."""
    cfg = config.from_flags({name: str(value) for name, value in flags.items()})
    with tf.Graph().as_default(), tf.Session() as session:
        batch = net.Batch(tf.constant(x), tf.constant(y), None, tf.constant(weight, tf.float32))
        lookup = lookup_module.lookup(
            cfg.model, cfg.training, batch, None if samples is None else tf.constant(samples),
            lambda index: tf.gather(tf.constant(np.log(SUPPORT), tf.float32), index), workers,
            own_samples)
        fetches = {"index": list(lookup.index)}
        for name, value in lookup.columns._asdict().items():
            if value is not None:
                fetches[name] = value
        values = session.run(fetches)
    return [index.tolist() for index in values["index"]], lookup.parts, values


def test_columns_are_the_targets_then_the_samples():
    index, parts, values = look([1, 2], [3, 4], [1, 1], [7, 8, 9])
    assert index == [[1, 2], [3, 4, 7, 8, 9]]
    assert parts == ((Part(2, False),), (Part(2, False), Part(3, True)))
    assert values["live"].tolist() == [1] * 5 and set(values) == {"index", "live"}


def test_a_shared_table_is_read_once():
    index, parts, _ = look([1, 2], [3, 4], [1, 1], [7], embedding="shared")
    assert index == [[1, 2, 3, 4, 7]]
    assert parts == ((Part(2, False), Part(2, False), Part(1, True)),)


@pytest.mark.parametrize("flags, index", [
    (dict(), [[1, 0], [3, 0]]), (dict(optimizer="rmsprop"), [[1, 1], [3, 3]]),
    (dict(optimizer="sgd", momentum=0.1), [[1, 1], [3, 3]])])
def test_a_drained_lane_names_no_row_that_would_move(flags, index):
    found, _, values = look([1, 0], [3, 0], [1, 0], **flags)
    assert found == index and values["live"].tolist() == [1, 0]


def test_a_hit_is_no_negative_but_a_lanes_own_column_stays():
    _, _, values = look([1, 2], [3, 3], [1, 1], [3, 8], mask_hits=1)
    assert values["live"].tolist() == [[1, 0, 0, 1], [0, 1, 0, 1]]


def test_logq_takes_alpha_off_drawn_columns_alone():
    _, _, values = look([1, 2], [3, 4], [1, 1], [7], n_sample=1, logq=0.5, sample_alpha=0.2)
    np.testing.assert_allclose(values["shift_m"], [0.5 * np.log(4), 0.5 * np.log(5),
                                                   0.1 * np.log(8)], rtol=1e-6)


def test_all_items_are_the_columns():
    index, parts, values = look([1, 2], [3, 4], [1, 1], np.arange(10, dtype=np.int32),
                                loss="full-cross-entropy")
    assert index == [[1, 2], list(range(10))]
    assert parts == ((Part(2, False),), (Part(10, True),))
    assert values["own_b"].tolist() == [3, 4] and values["live"].tolist() == [1] * 10


LANES_OF_TWO = [1, 2, 5, 6], [3, 4, 7, 8], [1, 1, 1, 0]


def test_a_worker_has_columns_of_its_own_targets_and_samples():
    index, parts, values = look(*LANES_OF_TWO, samples=[0, 9], workers=Workers(2, 1),
                                own_samples=True, logq=1)
    assert index == [[1, 2, 5, 6], [3, 4, 7, 8, 0, 9]]  # read rows are those of all
    assert parts == ((Part(2, False),), (Part(2, False), Part(1, False)))
    assert values["live"].tolist() == [1, 0, 1]
    np.testing.assert_allclose(np.exp(values["shift_m"]), [8, 9, 10 ** 0.5], rtol=1e-5)


def test_with_global_negatives_the_targets_of_all_are_columns():
    index, parts, values = look(*LANES_OF_TWO, workers=Workers(2, 1), global_negatives=1,
                                mask_hits=1)
    assert index == [[1, 2, 5, 6], [3, 4, 7, 8]]
    assert parts == ((Part(2, False),), (Part(4, True),))
    assert values["own_b"].tolist() == [2, 3]
    assert values["live"].tolist() == [[1, 1, 1, 0]] * 2

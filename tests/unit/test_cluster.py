"""TF_CONFIG, the shares of several processes, and an epoch when their number changes.

No TensorFlow.
"""

import contextlib
import json
import socket

import numpy as np
import pytest

from gru4rec.checkpoint import manifest
from gru4rec.data import epochs, schedule
from gru4rec.data.sessions import Sessions
from gru4rec.errors import ClusterError, ConfigError
from gru4rec.parallel import cluster, workers


def text(spec, kind="worker", index=0):
    return json.dumps({"cluster": spec, "task": {"type": kind, "index": index}})


def parse(value):
    return cluster.from_environment({"TF_CONFIG": value})


def test_ranks_are_the_chief_and_then_the_workers():
    found = parse(text({"worker": ["b:2", "c:3"], "chief": ["a:1"]}, "worker", 1))
    assert found.workers == workers.Workers(3, 2) and str(found.own) == "worker 1 (c:3)"
    assert [task.address for task in found.tasks] == ["a:1", "b:2", "c:3"]
    assert found.addresses() == {"chief": ["a:1"], "worker": ["b:2", "c:3"]}
    assert parse(text({"worker": ["[::1]:2", "c:3"]})).workers == workers.Workers(2, 0)


@pytest.mark.parametrize("value", ["", "  ", text({"worker": ["a:1"]})])
def test_one_process_is_no_cluster(value):
    assert parse(value) is None and cluster.from_environment({}) is None


@pytest.mark.parametrize("value, words", [
    ("{", "is no JSON"), ("[" * 10 ** 5, "is no JSON"), ("7", "lacks cluster or task"),
    (text(None), "lacks cluster or task"),
    (text({"worker": ["a:1", "b:2"], "ps": ["c:3"]}), "the job 'ps'"),
    (text({"worker": "a:1"}), "no list of addresses"),
    (text({"worker": ["a:1", "b"]}), "the address 'b'"),
    (text({"worker": ["a:1", "b:99999"]}), "b:99999"),
    (text({"worker": ["a:1", 7]}), "the address 7"),
    (text({"worker": ["a:1", "a:1"]}), "one address to two tasks"),
    (text({"worker": ["a:1", "b:2"]}, "worker", 2), "task worker 2"),
    (text({"worker": ["a:1", "b:2"]}, "worker", "0"), "task"),
    (text({"worker": ["a:1", "b:2"]}, "worker", True), "task worker True"),
    (text({"worker": ["a:1"], "chief": ["b:1", "c:1"]}), "2 chiefs")])
def test_a_wrong_tf_config_is_one_line_that_says_what_it_should_look_like(value, words):
    with pytest.raises(ConfigError) as error:
        parse(value)
    message = str(error.value)
    assert message.startswith("TF_CONFIG ") and words in message and '"index": 0' in message
    assert "\n" not in message
    assert len(message) < 300


def test_a_process_that_does_not_come_is_named():
    with contextlib.ExitStack() as stack:
        listener, silent = [stack.enter_context(contextlib.closing(socket.socket()))
                            for _ in range(2)]
        for each in (listener, silent):
            each.bind(("127.0.0.1", 0))
        listener.listen(50)
        tasks = [cluster.Task("worker", i, "127.0.0.1:%d" % s.getsockname()[1])
                 for i, s in enumerate((silent, listener, silent))]
        found = cluster.Cluster(tuple(tasks), 0)
        assert found.gone() == [tasks[2]]
        with pytest.raises(ClusterError,
                           match=r"worker 2 \(127.0.0.1:\d+\) did not start within "
                                 r"--cluster_timeout 0.3 s"):
            found.wait(0.3)
        cluster.Cluster(tuple(tasks[:2]), 0).wait(0.3)


def made(random, count):
    lengths = random.randint(2, 9, count)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    # every event is an item of its own
    return Sessions(np.arange(offsets[-1]).astype(np.int32), offsets)


@pytest.mark.parametrize("seed", range(6))
def test_however_the_number_of_processes_changes_within_an_epoch_every_target_is_trained_once(seed):
    random, trained, divisions = np.random.RandomState(seed), [], []
    sessions = made(random, 60)
    for place in range(4):
        size, lanes = random.randint(1, 5), random.randint(2, 6)
        rows = [epochs.Epochs(epochs.share_of(sessions, workers.Workers(size, rank)), lanes,
                              workers.ALONE).of(divisions)[0]
                for rank in range(size)]
        last = place == 3
        steps = max(row.num_steps for row in rows) if last else int(random.randint(0, 12))
        for row in rows:
            live = row.weight[:steps]
            np.testing.assert_array_equal(row.y[:steps][live], row.x[:steps][live] + 1)
            trained += row.y[:steps][live].tolist()
        divisions.append((size, lanes, steps))
    targets = np.setdiff1d(sessions.items, sessions.items[sessions.offsets[:-1]])
    np.testing.assert_array_equal(np.sort(trained), targets)


def test_all_ranks_make_as_many_steps_as_the_longest_says():
    sessions = made(np.random.RandomState(0), 9)
    own = epochs.Epochs(epochs.share_of(sessions, workers.Workers(2, 1)), 2, workers.Workers(2, 1),
                        lambda said: [[50, 100], said])
    assert own.whole.num_steps == 50 and not own.whole.weight[-1].any()
    assert own.num_targets == 100 + int(own.whole.weight.sum())


def test_without_numbers_of_sessions_an_epoch_is_begun_again():
    sessions = made(np.random.RandomState(0), 9)
    share = epochs.share_of(sessions, workers.ALONE)._replace(number=None)
    found = epochs.Epochs(share, 2, workers.ALONE)
    assert found.of([(2, 2, 3)])[0] is found.whole


def test_a_position_without_workers_is_of_one_process(tmp_path):
    values = dict(epoch=0, step=3, num_steps=9, num_items=2, config={}, files={}, data=None,
                  phase="train", validation=None)
    path = tmp_path / "m.json"
    old = dict(epoch=0, steps=3, loss_sum=1.0, seconds=2.0)
    for position, divisions in ((old, ()),
                                (dict(old, workers=3, divisions=[[2, 4, 5]]), ((2, 4, 5),))):
        path.write_text(manifest.dump(manifest.make(position=position, **values)))
        found = manifest.read(str(path))
        assert found["position"].divisions == divisions
        assert manifest.workers(found) == position.get("workers", 1)
        assert found["position"].mean_loss is None and found["position"].best_loss is None


def test_shares_of_a_test_set_are_all_of_it():
    from gru4rec.data.sessions import EvalSessions
    sharded = pytest.importorskip("gru4rec.evaluation.sharded",
                                  reason="TensorFlow is not installed")
    random = np.random.RandomState(1)
    whole = made(random, 20)
    leading = random.rand(20) < 0.4
    sessions = EvalSessions(whole.items, whole.offsets, leading, 0, np.arange(20))
    epoch, cells = schedule.build_longest_first(whole.items, whole.offsets, 3, leading)
    every, seen = epoch.y.ravel()[cells], []
    for rank in range(3):
        own, targets = sharded.share(sessions, workers.Workers(3, rank))
        epoch, cells = schedule.build_longest_first(own.items, own.offsets, 2, own.leading_skip)
        np.testing.assert_array_equal(epoch.y.ravel()[cells], every[targets])
        seen += targets.tolist()
    assert sorted(seen) == list(range(len(every)))

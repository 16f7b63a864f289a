"""Processes that train together on TensorFlow's runtime.

Workers are threads here, each with a server of its own.
"""

import contextlib
import os
import threading

import numpy as np
import pytest

from gru4rec import config
from gru4rec.data import schedule
from gru4rec.data.sessions import Sessions
from gru4rec.device import host
from gru4rec.engine import create
from gru4rec.engine.base import chunk_of
from gru4rec.errors import ClusterError
from gru4rec.graph import lookup
from gru4rec.model import state
from gru4rec.parallel import cluster, collectives, workers
from gru4rec.parallel.collectives import Collectives
from gru4rec.tf_compat import tf
from tests import helpers
from tests.data_helpers import epoch_of

ITEMS, LANES = 40, 4


@pytest.fixture(scope="module")
def sessions():
    random = np.random.RandomState(0)
    lengths = random.randint(2, 9, 150)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Sessions(random.randint(0, ITEMS, offsets[-1]).astype(np.int32), offsets)


def together(size, job):
    """What `job(device)` gives on each of so many ranks."""
    tasks = tuple(cluster.Task("worker", i, address) for i,
                  address in enumerate(cluster.free_addresses(size)))

    def of(rank):
        speaker = Collectives(cluster.Cluster(tasks, rank), 60, host.Cpu("").session_config())
        speaker.wait()
        return job(host.Cpu("", speaker))
    return helpers.on_threads(size, of)


def make(size=1, **flags):
    flags = dict(dict(size=8, batch_size=LANES * size, dropout=0.25), **flags)
    return config.from_flags({name: str(value) for name, value in flags.items()})


def train(cfg, device, epoch, arrays, steps, calls=1):
    with contextlib.closing(create(cfg, device, arrays, epoch.num_steps,
                                   np.arange(1, ITEMS + 1))) as engine:
        ends = [steps * (i + 1) // calls for i in range(calls)]
        losses = [engine.run(chunk_of(epoch, start, end, 0)) for start,
                  end in zip([0] + ends, ends)]
        return np.concatenate(losses), engine.arrays()


@contextlib.contextmanager
def negatives_of_the_rank_alone(size):
    """One process with all lanes, whose lanes see the targets of their own rank alone."""
    real = lookup.lookup

    def masked(model, training, batch, *args):
        found = real(model, training, batch, *args)
        lanes = batch.x_b.shape.as_list()[0]
        width = found.columns.live.shape.as_list()[-1]
        of = np.arange(lanes) // (lanes // size)
        sees = np.ones((lanes, width), np.float32)
        sees[:, :lanes] = of[:, None] == of[None, :]
        return found._replace(columns=found.columns._replace(live=found.columns.live * sees))

    patch = pytest.MonkeyPatch()
    patch.setattr(lookup, "lookup", masked)
    yield
    patch.undo()


FAMILY = {
    "defaults": {},
    "adam, shared": dict(embedding="shared", loss="bpr-max", n_sample=16, embed_dropout=0.2),
    "adagrad, samples": dict(optimizer="adagrad", embedding="shared", n_sample=24, logq=1,
                             momentum=0.3, lr=0.05),
    "rmsprop, one-hot": dict(optimizer="rmsprop", embedding="none", loss="top1-max", grad_cap=0.5,
                             mask_hits=1),
    "everyone's targets": dict(global_negatives=1, n_sample=8, optimizer="adagrad", lr=0.05,
                               logq=1),
    "everyone's targets alone": dict(global_negatives=1, embedding="shared", loss="bpr",
                                     mask_hits=1),
    "loss scale": dict(loss_scale="dynamic", embedding="shared", optimizer="adagrad", lr=0.05),
    "all items": dict(loss="full-cross-entropy", optimizer="sgd", momentum=0.5, grad_cap=1,
                      grad_cap_mode="global", lr=0.05),
}


# The others are left out of CI, for the time they take.
CASES = COMPILED = [("defaults", 2), ("everyone's targets", 2)]
CASES = [CASES[0], pytest.param(*CASES[1], marks=pytest.mark.once_on_1)]
CASES += [pytest.param("adagrad, samples", 4, marks=pytest.mark.release)]
CASES += [pytest.param(name, 2, marks=pytest.mark.release) for name in sorted(FAMILY)
          if (name, 2) not in COMPILED and name != "adagrad, samples"]


def joined_epochs(sessions, size):
    """(data.schedule.Epoch of each rank, the one of a process with all lanes)."""
    epochs = [epoch_of(sessions, LANES, workers.Workers(size, rank)) for rank in range(size)]
    return epochs, schedule.Epoch(*[np.concatenate(arrays, 1) for arrays in zip(*epochs)])


@pytest.mark.parametrize("name, size", CASES)
def test_ranks_are_one_process_with_all_lanes(sessions, size, name):
    flags = FAMILY[name]
    epochs, joined = joined_epochs(sessions, size)
    compiled = "auto" if (name, size) in COMPILED else "off"
    own, whole = make(**dict(flags, xla=compiled)), make(size, **dict(flags, xla="off"))
    start = helpers.start_arrays(own, ITEMS, 0.5)
    results = together(size,
                       lambda device: train(own, device, epochs[device.workers.rank], start, 10,
                                            calls=3))
    all_lanes = dict(start, **{state.hidden_state(0): np.zeros((LANES * size, 8), np.float32)})
    alone = flags.get("global_negatives") or flags.get("loss") == "full-cross-entropy"
    with contextlib.nullcontext() if alone else negatives_of_the_rank_alone(size):
        losses, arrays = train(whole, helpers.cpu(), joined, all_lanes, 10)
    for own_losses, own_arrays in results:
        helpers.assert_same_bits(own_arrays, results[0][1])
        np.testing.assert_array_equal(own_losses, results[0][0])
    helpers.assert_ulps(results[0][0], losses, 64)
    for array in arrays:
        helpers.assert_ulps(results[0][1][array], arrays[array], 64, array)


@pytest.mark.once_on_1
def test_after_500_steps_the_loss_is_still_that_of_one_process(sessions):
    def ten_times(epoch):
        return schedule.Epoch(*[np.concatenate([part] * 10) for part in epoch])

    epochs, joined = joined_epochs(sessions, 2)
    epochs, joined = [ten_times(epoch) for epoch in epochs], ten_times(joined)
    assert joined.num_steps >= 500
    own, whole = make(lr=0.005, xla="off"), make(2, lr=0.005, xla="off")
    start = helpers.start_arrays(own, ITEMS, 0.5)
    results = together(2,
                       lambda device: train(own, device, epochs[device.workers.rank], start, 500,
                                            calls=10))
    with negatives_of_the_rank_alone(2):
        losses, _ = train(whole, helpers.cpu(), joined, state.without_hidden(start, whole), 500,
                          calls=2)
    helpers.assert_same_bits(results[0][1], results[1][1])
    np.testing.assert_allclose(results[0][0][-50:].mean(), losses[-50:].mean(), rtol=0.005)
    assert losses[-50:].mean() < 0.9 * losses[:50].mean()


@pytest.mark.parametrize("given, wanted", [
    ({}, "localhost,a,::1"), ({"no_proxy": "b,a"}, "b,a,localhost,::1"),
    ({"no_proxy": "b", "no_grpc_proxy": "c"}, "c,localhost,a,::1"), ({"grpc_proxy": "p"}, None)])
def test_a_proxy_for_the_web_is_not_asked_for_the_other_processes(given, wanted, monkeypatch):
    monkeypatch.setattr(os, "environ", dict(given))
    tasks = [cluster.Task("worker", i, address) for i,
             address in enumerate(["a:1", "a:2", "[::1]:3"])]
    collectives._past_the_proxy(tasks)
    assert os.environ.get("no_grpc_proxy", given.get("no_grpc_proxy")) == wanted


def test_ranks_meet_though_a_proxy_is_set(sessions, monkeypatch):
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
    for name in ("no_proxy", "no_grpc_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "")
    cfg, epoch = make(xla="off"), epoch_of(sessions, LANES, workers.Workers(2, 0))
    start = helpers.start_arrays(cfg, ITEMS, 0.5)
    results = together(2, lambda device: train(cfg, device, epoch, start, 1))
    helpers.assert_same_bits(results[0][1], results[1][1])


class Silent:
    """A parallel.cluster.Cluster of two whose other process is there, or not."""

    workers, gone_tasks = workers.Workers(2, 0), ()

    def gone(self):
        return list(self.gone_tasks)

    def lost(self, tasks):
        return ClusterError("%s is gone" % tasks[0])


@pytest.fixture
def waiting(monkeypatch):
    """Collectives without a server, which loses its patience quickly."""
    for name in ("PATIENCE", "GRACE"):
        monkeypatch.setattr(collectives, name, 0.05)
    made = object.__new__(Collectives)
    made.workers, made._cluster, made._timeout, made.broken = Silent.workers, Silent(), 0.2, False
    return made


def test_a_call_that_hangs_is_given_up_and_no_other_is_begun(waiting):
    never = threading.Event()
    with pytest.raises(ClusterError, match="there was no progress for --cluster_timeout 0.2 s"):
        waiting.run(never.wait)
    with pytest.raises(ClusterError, match="broken"):
        waiting.run(pytest.fail)
    with pytest.raises(ClusterError, match="no answer for 0.1 s"):
        waiting.within(0.1, never.wait)
    assert waiting.within(5, lambda: 7) == 7
    never.set()


def test_a_call_that_waits_for_a_process_that_is_gone_names_it(waiting):
    waiting._cluster.gone_tasks, never = ["worker 1"], threading.Event()
    with pytest.raises(ClusterError, match="worker 1 is gone"):
        waiting.run(never.wait)
    never.set()


@pytest.mark.parametrize("gone, words", [(["worker 1"], "worker 1 is gone"),
                                         ([], "the connection between the processes broke")])
def test_what_tensorflow_says_of_a_lost_connection_is_explained(waiting, gone, words):
    def lost():
        raise tf.errors.UnavailableError(None, None, "Socket closed " * 99)

    waiting._cluster.gone_tasks = gone
    with pytest.raises(ClusterError, match=words) as error:
        waiting.run(lost)
    assert len(str(error.value)) < 250 and waiting.broken


def test_an_error_of_the_call_itself_stays_what_it_is(waiting):
    with pytest.raises(ZeroDivisionError):
        waiting.run(lambda: 1 // 0)
    assert not waiting.broken and waiting.run(lambda: 7) == 7

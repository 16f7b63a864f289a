"""Processes that train together on TensorFlow's runtime; ranks are threads here, each with a server of its own."""

import contextlib
import socket
import threading

import numpy as np
import pytest

from gru4rec import cluster, config, ranks, schedule
from gru4rec.data.sessions import Sessions
from gru4rec.device import host
from gru4rec.device.collectives import Collectives
from gru4rec.engine import chunk_of, create, state
from gru4rec.epochs import build_epoch
from gru4rec.graph import model as net
from tests import helpers

ITEMS, LANES = 40, 4


@pytest.fixture(scope="module")
def sessions():
    random = np.random.RandomState(0)
    lengths = random.randint(2, 9, 150)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Sessions(random.randint(0, ITEMS, offsets[-1]).astype(np.int32), offsets)


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(contextlib.closing(socket.socket())) for _ in range(count)]
        for found in sockets:
            found.bind(("127.0.0.1", 0))
        return [found.getsockname()[1] for found in sockets]


def together(size, job):
    """What `job(device)` gives on each of so many ranks."""
    tasks = tuple(cluster.Task("worker", i, "127.0.0.1:%d" % port) for i, port in enumerate(free_ports(size)))
    results, errors = [None] * size, []

    def of(rank):
        try:
            speaker = Collectives(cluster.Cluster(tasks, rank), 60, host.Cpu("").session_config())
            speaker.wait()
            results[rank] = job(host.Cpu("", speaker))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=of, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


def make(size=1, **flags):
    flags = dict(dict(size=8, batch_size=LANES * size, dropout=0.25), **flags)
    return config.from_flags({name: str(value) for name, value in flags.items()})


def train(cfg, device, epoch, arrays, steps, calls=1):
    with contextlib.closing(create(cfg, device, arrays, epoch.num_steps, np.arange(1, ITEMS + 1))) as engine:
        ends = [steps * (i + 1) // calls for i in range(calls)]
        losses = [engine.run(chunk_of(epoch, start, end, 0)) for start, end in zip([0] + ends, ends)]
        return np.concatenate(losses), engine.arrays()


@contextlib.contextmanager
def negatives_of_the_rank_alone(size):
    """One process with all lanes, whose lanes see the targets of their own rank alone."""
    real = net.lookup

    def masked(model, training, batch, *args):
        found = real(model, training, batch, *args)
        lanes = batch.x_b.shape.as_list()[0]
        width = found.columns.live.shape.as_list()[-1]
        of = np.arange(lanes) // (lanes // size)
        sees = np.ones((lanes, width), np.float32)
        sees[:, :lanes] = of[:, None] == of[None, :]
        return found._replace(columns=found.columns._replace(live=found.columns.live * sees))

    patch = pytest.MonkeyPatch()
    patch.setattr(net, "lookup", masked)
    yield
    patch.undo()


FAMILY = {
    "defaults": {},
    "adam, shared": dict(embedding="shared", loss="bpr-max", n_sample=16, embed_dropout=0.2),
    "adagrad, samples": dict(optimizer="adagrad", embedding="shared", n_sample=24, logq=1, momentum=0.3, lr=0.05),
    "rmsprop, one-hot": dict(optimizer="rmsprop", embedding="none", loss="top1-max", grad_cap=0.5, mask_hits=1),
    "everyone's targets": dict(global_negatives=1, n_sample=8, optimizer="adagrad", lr=0.05, logq=1),
    "everyone's targets alone": dict(global_negatives=1, embedding="shared", loss="bpr", mask_hits=1),
    "all items": dict(loss="full-cross-entropy", optimizer="sgd", momentum=0.5, grad_cap=1, grad_cap_mode="global", lr=0.05),
}


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("flags", sorted(FAMILY))
def test_ranks_are_one_process_with_all_lanes(sessions, size, flags):
    flags = FAMILY[flags]
    epochs = [build_epoch(sessions, LANES, ranks.Ranks(size, rank)) for rank in range(size)]
    joined = schedule.Epoch(*[np.concatenate(arrays, 1) for arrays in zip(*epochs)])
    own, whole = make(**flags), make(size, **dict(flags, xla="off"))
    start = helpers.start_arrays(own, ITEMS, 0.5)
    results = together(size, lambda device: train(own, device, epochs[device.ranks.rank], start, 10, calls=3))
    all_lanes = dict(start, **{state.hidden_state(0): np.zeros((LANES * size, 8), np.float32)})
    alone = flags.get("global_negatives") or flags.get("loss") == "full-cross-entropy"
    with contextlib.nullcontext() if alone else negatives_of_the_rank_alone(size):
        losses, arrays = train(whole, helpers.cpu(), joined, all_lanes, 10)
    for own_losses, own_arrays in results:
        helpers.assert_same_bits(own_arrays, results[0][1])
        np.testing.assert_array_equal(own_losses, results[0][0])
    np.testing.assert_allclose(results[0][0], losses, rtol=2e-6)
    for name in arrays:
        np.testing.assert_allclose(results[0][1][name], arrays[name], rtol=0, atol=1e-6, err_msg=name)

"""The parts of the server, without HTTP: batches, sessions between clicks, reloading."""

import threading
import time

import numpy as np
import pytest

import gru4rec
from gru4rec import checkpoint
from gru4rec.errors import CheckpointError
from gru4rec.serve.batcher import Batcher, Job, NamedList
from gru4rec.serve.reload import TRIES, Reloader
from gru4rec.serve.sessions import KEPT, Entry, SessionStore
from tests import serving_helpers as helpers


class Gate:
    """A batcher whose first batch waits, so that what is submitted meanwhile is one batch."""

    def __init__(self, model, store=None, **options):
        self.sizes, self._open, self._busy = [], threading.Event(), threading.Event()
        self.batcher = Batcher(model, store or SessionStore(1 << 20, 60.0), on_batch=self._on_batch,
                               **options)
        self.batcher.submit(Job([], 1))
        assert self._busy.wait(10)

    def _on_batch(self, size):
        self.sizes.append(size)
        self._busy.set()
        self._open.wait(10)

    def run(self, jobs):
        futures = [self.batcher.submit(job) for job in jobs]
        self._open.set()
        return [future.result(10) for future in futures]


@pytest.fixture
def model(tmp_path, monkeypatch):
    helpers.save(tmp_path, monkeypatch)
    return gru4rec.load(str(tmp_path))


def assert_list(answer, expected):
    assert answer["items"] == expected.ids.tolist()
    np.testing.assert_allclose(answer["scores"], expected.scores, atol=1e-5)
    assert (answer["source"] == "popularity") == expected.by_popularity


def test_a_batch_answers_each_request_as_the_python_api(model):
    stock, sold = NamedList([1000, 1007, 1014, 1021, 5]), NamedList(["1007", 1273])
    most = NamedList(model.ids[3:].tolist())
    jobs = [(Job([1007, 1014], 5), {}),
            (Job(["1007"], 3, exclude_seen=True), dict(exclude_seen=True)),
            (Job([], 4), {}), (Job([3, "x"], 2), {}), (Job([1007], 50), {}),
            (Job([1000, 1000], 4, candidates=[1007, 1021, 9]), dict(candidates=[1007, 1021])),
            (Job([1000], 6, exclude=[1007, 1014]), dict(exclude=[1007, 1014])),
            (Job([1000], 6, allow=(stock,)), dict(candidates=stock.ids)),
            (Job([1000], 6, deny=(sold,)), dict(exclude=sold.ids)),
            (Job([1000], 6, allow=(most,), exclude_seen=True),
             dict(candidates=most.ids, exclude_seen=True)),
            (Job([1000], 6, True, [1000, 1007, 1014], [1014], (stock, most), (sold,)),
             dict(candidates=[], exclude=None)),
            (Job([1021], 6, False, [1021, 1014, 1007], [1014], (stock,), (sold,)),
             dict(candidates=[1021]))]
    gate = Gate(model)
    answers = gate.run([job for job, _ in jobs])
    assert gate.sizes == [1, len(jobs)]
    for (job, options), answer in zip(jobs, answers):
        assert_list(answer, model.recommend(job.items, job.k, **options))
        assert answer["model"] == model.version
        assert answer["unknown"] == [item for item in job.items if item in (3, "x")]


def test_clicks_of_one_session_in_one_batch_are_taken_in_turn(model):
    gate = Gate(model)
    clicks = [1007, "x", 1014, 1007, 1021]
    answers = gate.run([Job([item], 5, exclude_seen=True, session_id="a") for item in clicks]
                       + [Job([1000], 5, session_id="b")])
    for number, answer in enumerate(answers[:-1]):
        assert_list(answer, model.recommend(clicks[:number + 1], 5, exclude_seen=True))
        assert answer["clicks"] == number + 1
        assert answer["unknown"] == (["x"] if number == 1 else [])
    assert answers[-1]["clicks"] == 1 and gate.sizes == [1, 2, 1, 1, 1, 1]


def test_a_batch_is_not_larger_than_asked(model):
    gate = Gate(model, max_batch=3)
    gate.run([Job([1000], 1) for _ in range(7)])
    assert gate.sizes == [1, 3, 3, 1]


def other_model(tmp_path, monkeypatch, text=False):
    """A model of other weights that knows the items in another order, and some more."""
    (tmp_path / "other").mkdir()
    ids = np.concatenate([1000 + 7 * np.arange(39, -1, -1), [5, 6]]).astype(np.int64)
    vocab = gru4rec.data.vocab.Vocabulary(ids, np.arange(42, dtype=np.int64) + 1)
    config = helpers.make_config(size="4,5")
    helpers.save(tmp_path / "other", monkeypatch, config, helpers.random_arrays(config, 42, seed=9),
                 vocab, epoch=3)
    return gru4rec.load(str(tmp_path / "other"))


def test_after_another_model_a_session_answers_as_recommend(model, tmp_path, monkeypatch):
    batcher = Batcher(model, SessionStore(1 << 20, 60.0))
    clicks = [1007, 5, "1014", 1021]
    for item in clicks[:3]:
        answer = batcher.submit(Job([item], 5, session_id="a")).result(10)
    assert answer["unknown"] == [] and answer["model"] == model.version
    batcher.model = other = other_model(tmp_path, monkeypatch)
    answer = batcher.submit(Job([1021], 5, exclude_seen=True, session_id="a")).result(10)
    assert answer["model"] == other.version != model.version and answer["clicks"] == 4
    assert_list(answer, other.recommend(clicks, 5, exclude_seen=True))  # 5 is known now
    batcher.close()


def test_a_long_session_is_replayed_from_its_last_clicks(model, tmp_path, monkeypatch):
    batcher, random = Batcher(model, SessionStore(1 << 20, 60.0)), np.random.RandomState(0)
    clicks = random.choice(model.ids, KEPT + 20).tolist()
    for item in clicks:
        answer = batcher.submit(Job([item], 5, session_id="a")).result(10)
    assert_list(answer, model.recommend(clicks, 5))
    batcher.model = other = other_model(tmp_path, monkeypatch)
    answer = batcher.submit(Job([1000], 5, session_id="a")).result(10)
    assert_list(answer, other.recommend((clicks + [1000])[-KEPT:], 5))
    batcher.close()


def test_a_request_that_fails_fails_alone(model, monkeypatch):
    gate, real = Gate(model), model.network.step
    gate.batcher.model = model

    def step(states, items):
        if 3 in items:
            raise FloatingPointError("item 3")
        return real(states, items)

    monkeypatch.setattr(model.network, "step", step)
    futures = [gate.batcher.submit(Job([item], 5, session_id=name)) for item, name in (
        (1007, "a"), (1021, "b"), (1014, None), (1014, "b"))]
    gate._open.set()
    assert futures[0].result(10)["clicks"] == 1 and futures[2].result(10)["items"]
    with pytest.raises(FloatingPointError):
        futures[1].result(10)
    answer = futures[3].result(10)  # the failed click has left no trace
    assert answer["clicks"] == 1
    monkeypatch.undo()
    assert_list(answer, model.recommend([1014], 5))
    gate.batcher.close()


def test_a_failing_batch_is_told_and_the_thread_lives_on(model, monkeypatch):
    batcher = Batcher(model, SessionStore(1 << 20, 60.0))
    monkeypatch.setattr(model.network, "scores", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        batcher.submit(Job([1000], 5)).result(10)
    monkeypatch.undo()
    assert_list(batcher.submit(Job([1000], 5)).result(10), model.recommend([1000], 5))
    batcher.close()


def test_closing_computes_what_waits(model):
    gate = Gate(model, max_batch=2)
    futures = [gate.batcher.submit(Job([1000], 1, session_id="a")) for _ in range(5)]
    gate._open.set()
    gate.batcher.close()
    assert [future.result(0)["clicks"] for future in futures] == [1, 2, 3, 4, 5]


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def entry(**values):
    made = Entry()
    for name, value in values.items():
        setattr(made, name, value)
    return made


def test_the_store_forgets_by_age_and_by_memory():
    clock = Clock()
    one = entry().size()
    store = SessionStore(3 * one, 10.0, clock)
    for name in "abc":
        store.put(name, entry(clicks=1))
        clock.now += 1
    assert len(store) == 3 and store.bytes == 3 * one
    store.put("a", store.get("a"))
    store.put("d", entry())
    assert store.evicted == 1 and store.get("b").clicks == 0 and store.get("a").clicks == 1
    assert store.bytes == 3 * one
    clock.now = 12.5
    assert store.get("c").clicks == 0 and store.expired == 1 and len(store) == 2
    assert store.delete("d") and not store.delete("d") and store.bytes == one
    clock.now = 100.0
    assert store.get("a").clicks == 0 and len(store) == 0 and store.bytes == 0
    big = entry(states=[np.zeros((1, 1000), np.float32)])
    assert big.size() >= one + 4000
    store.put("x", entry(states=[np.zeros((1, one), np.float32)]))
    assert len(store) == 0 and store.bytes == 0  # one that is too large by itself


def test_memory_of_a_store_is_what_it_says(model):
    tracemalloc = pytest.importorskip("tracemalloc")
    store = SessionStore(1 << 30, 60.0)
    batcher = Batcher(model, store)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(300):
        batcher.submit(Job([1000], 1, session_id="visitor-%d" % number)).result(10)
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    batcher.close()
    assert 0.4 * store.bytes < taken < 1.1 * store.bytes


def test_another_checkpoint_is_loaded_and_a_damaged_one_is_not(tmp_path, monkeypatch, caplog):
    helpers.save(tmp_path, monkeypatch)
    directory, used = str(tmp_path), []
    first = gru4rec.load(directory)
    reloader = Reloader(directory, None, first.version, lambda: gru4rec.load(directory),
                        used.append, 0)
    assert not reloader.look() and not used
    config = helpers.make_config()
    helpers.save(tmp_path, monkeypatch, config, helpers.random_arrays(config, 40, seed=5), epoch=1)
    assert reloader.look() and used[0].epoch == 1 and not reloader.look()
    helpers.save(tmp_path, monkeypatch, config, helpers.random_arrays(config, 40, seed=6), epoch=2)
    data = tmp_path / "gru-model-2.data-00000-of-00001"
    whole = data.read_bytes()
    data.write_bytes(whole[:-1])
    assert not any(reloader.look() for _ in range(3)) and len(used) == 1
    assert caplog.text.count("is damaged") == 1  # logged once, not at every look
    data.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))  # only a checksum can tell
    assert not any(reloader.look() for _ in range(TRIES + 3)) and len(used) == 1
    assert caplog.text.count("is damaged") == 1 + TRIES
    helpers.save(tmp_path, monkeypatch, config, helpers.random_arrays(config, 40, seed=7), epoch=2)
    assert reloader.look() and used[1].epoch == 2
    for name in tmp_path.glob("gru-model-*"):
        name.unlink()
    caplog.clear()
    assert not any(reloader.look() for _ in range(TRIES + 3))
    assert caplog.text.count("the new one cannot be loaded") == TRIES
    with pytest.raises(CheckpointError):
        checkpoint.version(directory)


def test_the_thread_looks_by_itself(tmp_path, monkeypatch):
    helpers.save(tmp_path, monkeypatch)
    directory, used = str(tmp_path), []
    reloader = Reloader(directory, None, "other", lambda: gru4rec.load(directory), used.append,
                        0.01)
    until = time.monotonic() + 120
    while not used and time.monotonic() < until:
        time.sleep(0.01)
    reloader.close()
    assert len(used) == 1

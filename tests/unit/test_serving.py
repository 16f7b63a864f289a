"""Recommending from Python: the numpy network against its float64 twin, lists against brute force,
sessions, ids.
"""

import copy
import subprocess
import sys
import threading

import numpy as np
import pytest

import gru4rec
from gru4rec.checkpoint import bundle_reader, names, weights
from gru4rec.errors import CheckpointError, ConfigError, DivergenceError, InputError
from gru4rec.model import state
from gru4rec.recommend import ranking
from gru4rec.recommend.topk import top_k
from tests import serving_helpers as helpers
from tests.parity import family
from tests.tolerance import assert_ulps

# Every cell, embedding and hidden activation, one layer and several, rows behind (adam) and not.
FAMILY = {
    "plain": {},
    "official": dict(cell="official", size="5,4"),
    "shared": dict(embedding="shared", size="6,5,4"),
    "shared-official": dict(embedding="shared", cell="official", optimizer="adagrad"),
    "none": dict(embedding="none", optimizer="rmsprop", momentum=0.3),
    "none-official-layers": dict(embedding="none", cell="official", size="4,6"),
    "none-relu": dict(embedding="none", hidden_act="relu"),
    "official-relu": dict(cell="official", hidden_act="relu", optimizer="sgd"),
    "embed-size": dict(embed_size=3, size="6,4", hidden_act="elu", elu=0.6),
    "cosine": dict(score="cosine", score_scale=9.0, size="5,4"),
    "cosine-shared": dict(score="cosine", embedding="shared", cell="official"),
    "elu-zero": dict(hidden_act="elu", elu=0.0, embedding="shared"),
}


def twin_vector(config, current, items):
    """[H + 1] float64, last state and a 1."""
    named = {name: current[name].astype(np.float64)
             for name in state.weight_shapes(config.model, 0)}
    states = [np.zeros((1, hidden)) for hidden in config.model.size]
    for item in items:
        x = state.input_rows(config.model, named)[[item]]
        for layer in range(config.model.layer):
            x = states[layer] = family.cell_step(config.model, named, layer, x, states[layer])
    last = states[-1][0]
    return np.append(last / np.sqrt((last ** 2).sum() + 1e-6) if config.model.score == "cosine"
                     else last, 1.0)


@pytest.mark.machine
@pytest.mark.parametrize("case", sorted(FAMILY))
def test_scores_are_those_of_the_float64_twin(tmp_path, monkeypatch, case):
    config, arrays, vocab = helpers.save(tmp_path, monkeypatch, helpers.make_config(**FAMILY[case]))
    current = state.caught_up(config, arrays)
    model = gru4rec.load(str(tmp_path))
    rows = state.output_rows(config.model, current)
    assert_ulps(model.item_vectors, rows, 1)  # caught up in parts, by numpy of another length
    if config.training.optimizer == "adam":
        assert (current[state.SOFTMAX_W] != arrays[state.SOFTMAX_W]).any()
    for items in ([3], [5, 0, 5, 39], list(range(20))):
        expected = rows.astype(np.float64).dot(twin_vector(config, current, items))
        ids, scores = model.recommend(vocab.ids[items], k=len(vocab))
        np.testing.assert_allclose(scores, expected[vocab.encode(ids)], rtol=1e-5, atol=1e-5)
        assert (np.diff(scores) <= 0).all() and sorted(ids) == sorted(vocab.ids)


@pytest.fixture
def model(tmp_path, monkeypatch):
    helpers.save(tmp_path, monkeypatch)
    return gru4rec.load(str(tmp_path))


def exact(monkeypatch, tmp_path, num_items=40):
    """A model whose scores are exact in float32 and often equal: in any order of summation they are
    the same.
    """
    random, config = np.random.RandomState(0), helpers.make_config(hidden_act="relu",
                                                                   optimizer="sgd")
    arrays = {name: np.zeros(shape, dtype) for name,
              (shape, dtype) in state.shapes(config, num_items).items()}
    for name in ("gru_layer_0/candidate/kernel", state.EMBEDDING, state.SOFTMAX_W, state.SOFTMAX_B):
        arrays[name][...] = random.randint(-1, 2, arrays[name].shape)
    for name in (state.SOFTMAX_W, state.SOFTMAX_B):
        arrays[name][num_items // 2:] = arrays[name][:num_items // 2]  # planted ties
    helpers.save(tmp_path, monkeypatch, config, arrays, helpers.vocabulary(num_items))
    return gru4rec.load(str(tmp_path))


def brute_force(scores, k):
    order = np.lexsort((np.arange(scores.shape[1])[None].repeat(len(scores), 0), -scores),
                       axis=1)[:, :k]
    best = np.take_along_axis(scores, order, 1)
    return np.where(best == -np.inf, -1, order), best


@pytest.mark.parametrize("k", [1, 2, 7, 20, 199, 200, 300])
@pytest.mark.parametrize("values", [2, 5, 10 ** 6])
def test_top_k_is_the_stable_sort(k, values):
    random = np.random.RandomState(k)
    scores = random.randint(0, values, (31, 200)).astype(np.float32)
    scores[3] = 1.0
    scores[4] = -np.inf
    scores[5, 10:] = -np.inf
    scores[:, ::7] = -np.inf
    for got, expected in zip(top_k(scores, k), brute_force(scores, k)):
        np.testing.assert_array_equal(got, expected)


def test_a_tie_at_the_end_of_the_list_takes_the_lower_index():
    index, _ = top_k(np.array([[1, 9, 1, 1, 5, 1]], np.float32), 3)
    assert index.tolist() == [[1, 4, 0]]
    assert top_k(np.zeros((0, 4), np.float32), 2)[0].shape == (0, 2)
    assert top_k(np.zeros((2, 4096), np.float32), 20)[0].tolist() == [list(range(20))] * 2


def test_equal_scores_are_ordered_by_index(tmp_path, monkeypatch):
    model = exact(monkeypatch, tmp_path)
    sessions = [model.ids[[1]], model.ids[[4, 5]], model.ids[[7, 30, 2, 2]]]
    for found in model.recommend_batch(sessions, k=40):
        place = model.vocabulary.encode(found.ids)
        assert len(np.unique(found.scores)) <= 20
        assert (np.diff(place)[np.diff(found.scores) == 0] > 0).all()


def random_sessions(ids, count, seed=0):
    random = np.random.RandomState(seed)
    return [random.choice(ids, random.randint(0, 9)).tolist() for _ in range(count)]


@pytest.mark.parametrize("options",
                         [{}, dict(exclude_seen=True),
                          dict(candidates=[1007, 1014, 1273, 1070, 99]),
                                     dict(exclude=[1000, 1021, 7], exclude_seen=True),
                                     dict(candidates=[1007, 1014, 1273], exclude=[1014],
                                          exclude_seen=True)])
def test_a_batch_is_its_sessions_one_by_one(tmp_path, monkeypatch, options):
    model = exact(monkeypatch, tmp_path)
    monkeypatch.setattr(ranking, "MIN_TILE", 3)
    monkeypatch.setattr(ranking, "SCORE_BYTES", 0)
    monkeypatch.setattr("gru4rec.recommend.model.LANES", 7)
    sessions = random_sessions(list(model.ids) + [5, 6], 30)
    sessions[3] = [5]
    together = model.recommend_batch(sessions, k=6, **options)
    assert len(together) == 30
    for items, found in zip(sessions, together):
        alone, one = model.recommend(items, k=6, **options), model.start()
        known = [one.click(item) for item in items]
        live = one.top(6, **options)
        for other in (alone, live):
            np.testing.assert_array_equal(found.ids, other.ids)
            np.testing.assert_array_equal(found.scores, other.scores)
            assert (found.unknown, found.by_popularity) == (other.unknown, other.by_popularity)
        assert found.by_popularity == (not any(known))
        assert list(found.unknown) == [i for i in items if i in (5, 6)]
        kept = set(options.get("candidates", model.ids)) - set(options.get("exclude", ()))
        kept &= set(model.ids)
        kept -= set(items) if options.get("exclude_seen") and any(known) else set()
        assert set(found.ids) <= kept and len(found.ids) == min(6, len(kept))


def test_random_weights_give_the_same_lists_in_a_batch(model):
    sessions = random_sessions(model.ids, 50)
    for items, found in zip(sessions, model.recommend_batch(sessions, k=5)):
        np.testing.assert_allclose(found.scores, model.recommend(items, k=5).scores, atol=1e-5)


def test_threads_share_the_scores_of_a_large_catalogue(model, tmp_path, monkeypatch):
    monkeypatch.setattr("gru4rec.recommend.network.SHARED_FROM", 10)
    shared = gru4rec.load(str(tmp_path), threads=3)
    sessions = random_sessions(model.ids, 20)
    for one, other in zip(model.recommend_batch(sessions, k=40),
                          shared.recommend_batch(sessions, k=40)):
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
        assert set(one.ids) == set(other.ids) == set(model.ids)


@pytest.mark.parametrize("count", [1, 5, 6, 39, 40])
def test_all_candidates_and_no_others_are_listed(model, count):
    """Few are scored alone, many by leaving out the others."""
    candidates = np.random.RandomState(count).permutation(model.ids)[:count]
    everything = dict(zip(*model.recommend([1007, 1070], k=40)))
    for exclude in (None, candidates[:2], model.ids):
        ids, scores = model.recommend([1007, 1070], k=40, candidates=candidates, exclude=exclude)
        kept = set(candidates) - set(() if exclude is None else exclude)
        assert set(ids) == kept and len(ids) == len(kept)
        np.testing.assert_allclose(scores, [everything[item] for item in ids], atol=1e-5)
        popular = model.recommend([], k=40, candidates=candidates, exclude=exclude)
        assert set(popular.ids) == kept and len(popular.ids) == len(kept)


def test_nothing_is_asked(model):
    assert model.recommend_batch([]) == []
    ids, scores = model.recommend([1007], candidates=[])
    assert len(ids) == len(scores) == 0 and ids.dtype == np.int64


def test_ids_have_the_type_of_the_training_file(tmp_path, monkeypatch):
    (tmp_path / "int").mkdir(), (tmp_path / "text").mkdir()
    helpers.save(tmp_path / "int", monkeypatch)
    helpers.save(tmp_path / "text", monkeypatch, vocab=helpers.vocabulary(40, text=True))
    whole, text = gru4rec.load(str(tmp_path / "int")), gru4rec.load(str(tmp_path / "text"))
    ids, scores = whole.recommend(["1007", 1014, 1021.0], k=3)
    assert ids.dtype == np.int64 and scores.dtype == np.float32 and len(ids) == len(scores) == 3
    np.testing.assert_array_equal(ids, whole.recommend([1007, 1014, 1021], k=3)[0])
    found = text.recommend(["item3", "1007", "item1"], k=2)
    assert found.ids.dtype == object and all(isinstance(i, str) for i in found.ids)
    assert found.unknown == ("1007",)
    assert not found.by_popularity and "item" in repr(found)


def test_a_session_of_unknown_items_gets_the_most_popular_and_says_so(model):
    support = model.vocabulary.support
    order = np.lexsort((np.arange(40), -support))
    for items in ([], [1], ["x", None]):
        found = model.recommend(items, k=4)
        assert found.by_popularity and list(found.unknown) == items
        assert found.ids.tolist() == model.ids[order[:4]].tolist()
        assert found.scores.tolist() == support[order[:4]].tolist()
    found = model.recommend([], k=3, candidates=model.ids[order[::-1][:5]],
                            exclude=[model.ids[order[-5]]])
    assert found.ids.tolist() == [i
                                  for i in model.ids[np.lexsort((np.arange(40), -support))] if i in
                                  model.ids[order[::-1][:5]] and i != model.ids[order[-5]]][:3]
    assert not model.recommend([1, 1000], k=4).by_popularity
    assert len(model.recommend([], k=100).ids) == 40


def test_a_session_keeps_its_state(model):
    one = model.start()
    assert one.top(5).by_popularity
    assert one.click("1007") and not one.click("x") and one.click(1014)
    assert one.items == [1007, 1014] and one.unknown == ["x"]
    found, expected = one.top(5,
                              exclude_seen=True), model.recommend([1007, 1014], k=5,
                                                                  exclude_seen=True)
    assert found.ids.tolist() == expected.ids.tolist() and found.unknown == ("x",)
    scores = model.item_vectors.dot(one.vector)
    np.testing.assert_allclose(one.top(40).scores, np.sort(scores)[::-1], atol=1e-6)
    assert one.vector.shape == (7,) and one.vector[-1] == 1 and one.vector.dtype == np.float32


def test_threads_share_a_model(model):
    sessions = random_sessions(model.ids, 40)
    expected = [model.recommend(items, k=5).ids.tolist() for items in sessions]
    wrong = []

    def work():
        for items, ids in zip(sessions, expected):
            if model.recommend(items, k=5).ids.tolist() != ids:
                wrong.append(items)

    threads = [threading.Thread(target=work) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not wrong
    for array in (model.item_vectors, model.ids):
        with pytest.raises(ValueError):
            array[0] = 1


@pytest.mark.parametrize("call, message", [
    (lambda m: m.recommend("item7"), "item7.*brackets"),
    (lambda m: m.recommend([1000], k=0), "k 0 "),
    (lambda m: m.recommend([1000], k="3"), "k '3' "),
    (lambda m: m.recommend([1000], k=True), "k True "),
    (lambda m: m.recommend([1000], candidates="1000"), "brackets"),
    (lambda m: m.start().top(1.5), "k 1.5 ")])
def test_bad_arguments(model, call, message):
    with pytest.raises(InputError, match=message):
        call(model)


def test_what_cannot_be_loaded(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="backend 'torch'.*numpy, tf"):
        gru4rec.load(str(tmp_path), backend="torch")
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        gru4rec.load(str(tmp_path))
    config, arrays, _ = helpers.save(tmp_path, monkeypatch)
    with pytest.raises(CheckpointError, match="no checkpoint of epoch 3"):
        gru4rec.load(str(tmp_path), epoch=3)
    arrays["gru_layer_0/gates/bias"][1] = np.nan
    helpers.save(tmp_path, monkeypatch, config, arrays, epoch=1)
    with pytest.raises(DivergenceError, match="gates/bias is not finite"):
        gru4rec.load(str(tmp_path))
    path = tmp_path / "gru-model-0.data-00000-of-00001"
    damaged = bytearray(path.read_bytes())
    damaged[0] ^= 1
    path.write_bytes(bytes(damaged))
    with pytest.raises(CheckpointError, match="is damaged"):
        gru4rec.load(str(tmp_path), epoch=0)
    assert len(gru4rec.load(str(tmp_path), epoch=0, checksums=False)) == 40
    path.write_bytes(bytes(damaged[:-4]))
    with pytest.raises(CheckpointError, match="is damaged"):
        gru4rec.load(str(tmp_path), epoch=0, checksums=False)


def test_the_best_epoch_by_validation_is_loaded(tmp_path, monkeypatch):
    record = dict(best_epoch=0, best_value=0.5, metric="recall@20", value=0.4, values=[0.5, 0.4])
    for epoch in (0, 1):
        helpers.save(tmp_path, monkeypatch, epoch=epoch, validation=record)
    assert gru4rec.load(str(tmp_path)).epoch == 0
    assert gru4rec.load(str(tmp_path), epoch=1).epoch == 1
    assert gru4rec.load(str(tmp_path)).version != gru4rec.load(str(tmp_path), epoch=1).version


@pytest.mark.machine
def test_catching_up_in_parts_is_that_of_the_state(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "ROWS", 7)
    config, arrays, _ = helpers.save(tmp_path, monkeypatch, helpers.make_config(size="5,4"))
    current, found = state.caught_up(config, arrays), weights.load(str(tmp_path))
    assert_ulps(found.input_rows, current[state.EMBEDDING], 1)
    assert_ulps(found.item_vectors[:, -1], current[state.SOFTMAX_B], 1)
    assert (current[state.EMBEDDING] != arrays[state.EMBEDDING]).any()


@pytest.mark.machine
@pytest.mark.parametrize("flags", [{}, {"embedding": "shared", "score": "cosine"},
                                   {"embedding": "none", "optimizer": "sgd"}])
def test_current_weights_are_those_of_the_state_without_the_moments(flags):
    config = helpers.make_config(**flags)
    arrays = helpers.random_arrays(config, 40)
    saved, expected = copy.deepcopy(arrays), state.caught_up(config, arrays)
    found = weights.current(config, arrays)
    assert list(found) == list(state.weight_shapes(config.model, 40))
    for name, values in found.items():
        assert_ulps(values, expected[name], 1)
    for name, values in arrays.items():
        np.testing.assert_array_equal(values, saved[name])


@pytest.mark.parametrize("change", [
    lambda content: content[:-9], lambda content: content[:-8] + b"12345678",
    lambda content: content[:20] + content[30:],
    lambda content: b"", lambda content: b"\xff" * (len(content) - 48) + content[-48:],
    lambda content: content[:-48] + b"\xff" * 40 + content[-8:]])
def test_a_damaged_index_is_one_line(tmp_path, change):
    prefix = str(tmp_path / "model")
    arrays = {name: np.arange(6, dtype=np.float32).reshape(2, 3)
              for name in ("a", "ab", "abc", "b")}
    helpers.write_bundle(prefix, arrays)
    shapes = {name: ((2, 3), np.float32) for name in arrays}
    found = bundle_reader.read(prefix, shapes)
    for name in arrays:
        np.testing.assert_array_equal(found[name], arrays[name])
    with open(prefix + ".index", "rb") as file:
        content = file.read()
    with open(prefix + ".index", "wb") as out:
        out.write(change(content))
    with pytest.raises(ValueError) as caught:
        bundle_reader.read(prefix, shapes)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_that_a_run_removes_while_it_is_read_is_no_damage(tmp_path, monkeypatch):
    """As --keep 1 does it: the newest goes, between the choice and the reading, when there is a
    newer one.
    """
    for epoch in (0, 1):
        helpers.save(tmp_path, monkeypatch, epoch=epoch)
    real, calls = bundle_reader.read, []

    def read(prefix, shapes):
        calls.append(prefix)
        if len(calls) == 1:
            names.remove(str(tmp_path), [names.Name(1)])
        return real(prefix, shapes)

    monkeypatch.setattr(bundle_reader, "read", read)
    assert gru4rec.load(str(tmp_path)).epoch == 0 and len(calls) == 2


def test_tensors_that_are_not_as_expected(tmp_path):
    prefix = str(tmp_path / "model")
    helpers.write_bundle(prefix, {"a": np.zeros(3, np.float32), "b": np.array(3, np.int64)})
    for shapes in ({"c": ((3,), np.float32)}, {"a": ((4,), np.float32)}, {"a": ((3,), np.int32)}):
        with pytest.raises(ValueError, match="tensor %s is" % list(shapes)[0]):
            bundle_reader.read(prefix, shapes)
    assert bundle_reader.read(prefix, {"b": ((), np.int64)})["b"] == 3
    (tmp_path / "model.data-00000-of-00001").unlink()
    with pytest.raises(ValueError, match="No such file"):
        bundle_reader.read(prefix, {"b": ((), np.int64)})


def test_a_model_is_loaded_and_used_without_tensorflow(tmp_path, monkeypatch):
    _, _, vocab = helpers.save(tmp_path, monkeypatch)
    code = ("import sys, gru4rec\nassert 'pandas' not in sys.modules and 'numpy' not in "
            "sys.modules\n"
            "model = gru4rec.load(sys.argv[1])\nprint(model.recommend(['1007'], "
            "k=2).ids.tolist())\n"
            "print([n for n in sys.modules if n.startswith('tensorflow')])")
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE,
                          universal_newlines=True)
    assert (done.stdout == "%s\n[]\n"
            % gru4rec.load(str(tmp_path)).recommend([1007], k=2).ids.tolist()), done.stderr
    with pytest.raises(AttributeError):
        getattr(gru4rec, "nothing")  # noqa: B009

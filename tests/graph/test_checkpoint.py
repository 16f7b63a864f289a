"""Checkpoints: what is written is read back, by us and by TensorFlow, and a damaged or half-written one is refused."""

import json
import os

import numpy as np
import pytest

from gru4rec import checkpoint, config
from gru4rec.data.vocab import Vocabulary
from gru4rec.engine import state
from gru4rec.errors import CheckpointError
from gru4rec.tf_compat import tf

CFG = config.parse(["--size", "5,3", "--batch_size", "4"])


@pytest.fixture
def saved(tmp_path):
    """(directory, arrays) with checkpoints of epochs 0 and 1."""
    arrays = state.initial(CFG, 7)
    for epoch in range(2):
        arrays[state.GLOBAL_STEP] = np.array(10 * (epoch + 1), np.int64)
        checkpoint.save(str(tmp_path), CFG, Vocabulary.build(np.array(list("abcdefg"), object)), arrays, epoch, 20)
    return tmp_path, arrays


def test_what_is_saved_is_loaded(saved):
    directory, arrays = saved
    found = checkpoint.load(str(directory))
    assert (found.epoch, found.step, found.num_steps) == (1, 20, 20)
    assert list(found.vocabulary.ids) == list("abcdefg")
    assert found.config.model == CFG.model and found.config.training == CFG.training
    assert set(found.arrays) == set(arrays)
    for name, value in arrays.items():
        assert found.arrays[name].dtype == value.dtype
        np.testing.assert_array_equal(found.arrays[name], value)
    assert checkpoint.load(str(directory), 0).step == 10


def test_tensorflow_finds_and_restores_it_by_itself(saved):
    directory, arrays = saved
    newest = tf.train.latest_checkpoint(str(directory))
    assert os.path.basename(newest) == "gru-model-1"
    name = "gru_layer_0/gates/kernel"
    with tf.Graph().as_default(), tf.Session() as session:
        var = tf.get_variable(name, shape=arrays[name].shape, use_resource=False)
        tf.train.Saver([var]).restore(session, newest)
        np.testing.assert_array_equal(session.run(var), arrays[name])


def test_no_temporary_file_is_left(saved):
    assert sorted(os.listdir(str(saved[0]))) == sorted(
        ["checkpoint", "vocabulary.npz"] + ["gru-model-%d%s" % (e, s) for e in range(2)
                                            for s in (".index", ".data-00000-of-00001", ".json")])


@pytest.mark.parametrize("name", ["gru-model-1.index", "gru-model-1.data-00000-of-00001", "vocabulary.npz"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_file_is_named(saved, name, damage):
    path = saved[0] / name
    content = bytearray(path.read_bytes())
    if damage == "remove":
        path.unlink()
    else:
        content[len(content) // 2] ^= 4
        path.write_bytes(bytes(content if damage == "flip" else content[:-3]))
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.") + " is damaged"):
        checkpoint.load(str(saved[0]))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 1}', "[" * 100000, "\x00", '{"format": 2}'])
def test_a_manifest_of_junk_is_refused(saved, text):
    (saved[0] / "gru-model-1.json").write_text(text)
    with pytest.raises(CheckpointError, match="gru-model-1.json is damaged"):
        checkpoint.load(str(saved[0]))


def test_a_manifest_with_other_shapes_is_refused(saved):
    path = saved[0] / "gru-model-1.json"
    manifest = json.loads(path.read_text())
    manifest["config"]["model"]["size"] = [5, 4]
    path.write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="shape"):
        checkpoint.load(str(saved[0]))


def test_without_its_manifest_a_checkpoint_does_not_exist(saved):
    (saved[0] / "gru-model-1.json").unlink()
    assert checkpoint.load(str(saved[0])).epoch == 0
    with pytest.raises(CheckpointError, match="takes one of: 0"):
        checkpoint.load(str(saved[0]), 1)


@pytest.mark.parametrize("fails_at", range(5))
def test_a_failing_disk_leaves_the_earlier_checkpoints(saved, monkeypatch, fails_at):
    directory, arrays = saved
    real, calls = os.replace, []

    def replace(source, target):
        calls.append(target)
        if len(calls) > fails_at:
            raise OSError(28, "No space left on device")
        real(source, target)

    vocabulary = checkpoint.load(str(directory)).vocabulary
    monkeypatch.setattr(os, "replace", replace)
    if fails_at < 4:
        with pytest.raises(CheckpointError, match="No space left"):
            checkpoint.save(str(directory), CFG, vocabulary, arrays, 2, 20)
    else:
        checkpoint.save(str(directory), CFG, vocabulary, arrays, 2, 20)
    monkeypatch.undo()
    assert checkpoint.load(str(directory), 0).step == 10 and checkpoint.load(str(directory), 1).step == 20
    assert not [name for name in os.listdir(str(directory)) if name.startswith(".tmp")]
    # index, data, manifest, state file: with the manifest in place the checkpoint is there.
    assert checkpoint.epochs(str(directory)) == ([0, 1] if fails_at < 3 else [0, 1, 2])


def test_only_explicit_flags_contradict(saved):
    found = checkpoint.load(str(saved[0]))
    checkpoint.check_flags(config.parse([]), found)
    checkpoint.check_flags(config.parse(["--size", "5,3"]), found)
    with pytest.raises(CheckpointError, match="--size 5,4 contradicts .*--size 5,3"):
        checkpoint.check_flags(config.parse(["--size", "5,4"]), found)

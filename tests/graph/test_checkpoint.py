"""Checkpoints: what is written is read back, by us and by TensorFlow, and a damaged or half-written
one is refused.
"""

import json
import logging
import os
import signal

import numpy as np
import pytest

from gru4rec import checkpoint, config
from gru4rec.checkpoint import bundle_reader, names
from gru4rec.checkpoint import manifest as manifests
from gru4rec.errors import CheckpointError
from gru4rec.model import state
from gru4rec.tf_compat import tf
from gru4rec.training.directory import RunDirectory
from tests.data_helpers import vocabulary_of

CFG = config.parse(["--size", "5,3", "--batch_size", "4"])


@pytest.fixture
def saved(tmp_path):
    """(directory, arrays) with checkpoints of epochs 0 and 1."""
    arrays = state.initial(CFG, 7)
    for epoch in range(2):
        arrays[state.GLOBAL_STEP] = np.array(10 * (epoch + 1), np.int64)
        checkpoint.save(str(tmp_path), CFG, vocabulary_of(np.array(list("abcdefg"), object)),
                        arrays, epoch, 20)
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


@pytest.mark.parametrize("name",
                         ["gru-model-1.index", "gru-model-1.data-00000-of-00001", "vocabulary.npz"])
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
        checkpoint.load(str(saved[0]), 1)


@pytest.mark.parametrize("text",
                         ["", "{", "[]", "null", '{"format": 1}', "[" * 100000, "\x00",
                          '{"format": 2}'])
def test_a_manifest_of_junk_is_refused(saved, text):
    (saved[0] / "gru-model-1.json").write_text(text)
    with pytest.raises(CheckpointError, match="gru-model-1.json is damaged"):
        checkpoint.load(str(saved[0]), 1)


def test_a_manifest_with_other_shapes_is_refused(saved):
    path = saved[0] / "gru-model-1.json"
    manifest = json.loads(path.read_text())
    manifest["config"]["model"]["size"] = [5, 4]
    manifest["sha256"] = manifests.checksum(manifest)
    path.write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="tensor softmax_w .* shape"):
        checkpoint.load(str(saved[0]), 1)


def test_no_byte_of_a_manifest_changes_unnoticed(saved):
    """A learning rate or an activation with one bit flipped would evaluate to other numbers."""
    path = saved[0] / "gru-model-1.json"
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 2]) + content[place + 1:])
        with pytest.raises(CheckpointError, match="gru-model-1.json is damaged"):
            checkpoint.load(str(saved[0]), 1)


def test_a_tensor_of_another_type_is_refused(saved):
    directory, arrays = saved
    vocabulary = checkpoint.load(str(directory)).vocabulary
    arrays = dict(arrays, softmax_b=arrays[state.SOFTMAX_B].astype(np.float64))
    checkpoint.save(str(directory), CFG, vocabulary, arrays, 2, 20)
    with pytest.raises(CheckpointError, match="tensor softmax_b is of type and shape float64"):
        checkpoint.load(str(directory))


@pytest.mark.parametrize("name",
                         [b"a [1]*?", b"back\\slash", b"not utf-8 \xff", b"s3:/bucket",
                          b"caf\xc3\xa9"])
def test_a_directory_of_any_name_holds_checkpoints(tmp_path, monkeypatch, name):
    """TensorFlow takes `*` for a pattern and `s3://` for a service, and cannot encode every name of
    a file system.
    """
    monkeypatch.chdir(str(tmp_path))
    directory = os.fsdecode(name)
    with RunDirectory(directory) as made:
        made.begin()
    if directory.startswith("s3:"):
        directory = "s3://bucket"
    arrays = state.initial(CFG, 7)
    checkpoint.save(directory, CFG, vocabulary_of(np.arange(7)), arrays, 0, 20)
    np.testing.assert_array_equal(checkpoint.load(directory).arrays["softmax_w"],
                                  arrays["softmax_w"])


def test_a_directory_that_cannot_be_read_is_named(saved, monkeypatch):
    def refuse(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(CheckpointError, match="cannot be read: Permission denied"):
        checkpoint.load(str(saved[0]))


def test_a_run_that_was_moved_aside_is_whole(saved):
    with RunDirectory(str(saved[0])) as directory:
        directory.begin()
    assert names.epochs(str(saved[0])) == []
    assert checkpoint.load(str(saved[0] / "previous-1")).step == 20


@pytest.mark.parametrize("damage", ["gru-model-1.index", "gru-model-1.json"])
def test_the_newest_is_damaged_and_the_one_before_it_is_loaded(saved, damage, caplog):
    (saved[0] / damage).write_bytes(b"x")
    with caplog.at_level(logging.WARNING, "gru4rec"):
        assert checkpoint.load(str(saved[0])).epoch == 0
    assert damage + " is damaged" in caplog.text and "the one before it is used" in caplog.text


@pytest.mark.parametrize("module", [manifests, bundle_reader])
def test_a_checkpoint_removed_while_it_is_read_is_no_damage(saved, monkeypatch, caplog, module):
    """As --keep 1 of a run that trains in the directory does it, between the listing and the
    reading of the tensors.
    """
    directory, arrays = saved
    vocabulary, calls, real = checkpoint.load(str(directory)).vocabulary, [], module.read

    def read(path, *args):
        calls.append(path)
        if len(calls) == 1:
            checkpoint.save(str(directory), CFG, vocabulary, arrays, 5, 20)
            names.prune(str(directory), 1)
        return real(path, *args)

    monkeypatch.setattr(module, "read", read)
    with caplog.at_level(logging.WARNING, "gru4rec"):
        assert checkpoint.load(str(directory)).epoch == 5
    assert caplog.text == ""


def test_names_that_only_resemble_a_checkpoint_are_none(saved):
    for name in ("gru-model-007.json", "gru-model-9.json.bak",
                 "gru-model-3-step05.json", "gru-model-3-step.json", "gru-model-x.json", "9.json"):
        (saved[0] / name).write_text("{}")
    assert names.epochs(str(saved[0])) == [0, 1]


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
    assert checkpoint.load(str(directory), 0).step == 10
    assert checkpoint.load(str(directory), 1).step == 20
    assert not [name for name in os.listdir(str(directory)) if name.startswith(".tmp")]
    # index, data, manifest, state file: with the manifest in place the checkpoint is there.
    assert names.epochs(str(directory)) == ([0, 1] if fails_at < 3 else [0, 1, 2])


def test_a_file_system_that_takes_no_more_leaves_the_earlier_checkpoints(saved):
    """TensorFlow's own writing fails, at the size a file may have."""
    resource = pytest.importorskip("resource")
    directory, arrays = saved
    vocabulary = checkpoint.load(str(directory)).vocabulary
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ,
                                                                               signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, before[1]))
    try:
        with pytest.raises(CheckpointError,
                           match="gru-model-2 cannot be written: .*([Ff]ile too large|space)"):
            checkpoint.save(str(directory), CFG, vocabulary, arrays, 2, 20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert names.epochs(str(directory)) == [0, 1] and checkpoint.load(str(directory)).step == 20
    assert not [name for name in os.listdir(str(directory)) if name.startswith(".tmp")]


def test_only_explicit_flags_contradict(saved):
    found = checkpoint.load(str(saved[0]))
    checkpoint.check_flags(config.parse([]), found)
    checkpoint.check_flags(config.parse(["--size", "5,3"]), found)
    with pytest.raises(CheckpointError, match="--size 5,4 contradicts .*--size 5,3"):
        checkpoint.check_flags(config.parse(["--size", "5,4"]), found)

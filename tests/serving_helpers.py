"""Checkpoints for the tests of serving, made without TensorFlow and without training."""

import os
import struct

import numpy as np

from gru4rec import checkpoint, config
from gru4rec.checkpoint import bundle_writer
from gru4rec.data.vocab import Vocabulary
from gru4rec.model import state

_TYPES = {"float32": 1, "int32": 3, "int64": 9}


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out + bytearray([number]))


def _field(number, value):
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def _block(pairs):
    """One block of a LevelDB table, each key sharing what it can with the one before, and its
    trailer.
    """
    out, before = b"", b""
    for key, value in pairs:
        shared = len(os.path.commonprefix([before, key]))
        out += varint(shared) + varint(len(key)
                                       - shared) + varint(len(value)) + key[shared:] + value
        before = key
    return out + struct.pack("<II", 0, 1)


def write_bundle(prefix, arrays):
    """A TensorFlow V2 checkpoint as tensor_bundle reads it; checksums are 0, which TensorFlow
    itself would refuse.
    """
    data, pairs = bytearray(), [(b"", _field(1, 1))]
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        dims = b"".join(_field(2, _field(1, int(size))) for size in array.shape)
        pairs.append((name.encode(),
                      _field(1, _TYPES[array.dtype.name]) + _field(2, dims) + _field(4, len(data))
                      + _field(5, array.nbytes)))
        data += array.tobytes()
    with open(prefix + ".data-00000-of-00001", "wb") as out:
        out.write(data)
    content, handles = b"", []
    for part in (pairs[:2], pairs[2:]):
        block = _block(part)
        handles.append((part[-1][0], varint(len(content)) + varint(len(block))))
        content += block + b"\0" * 5
    root = _block(handles)
    footer = varint(0) + varint(0) + varint(len(content)) + varint(len(root))
    content += root + b"\0" * 5 + footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    with open(prefix + ".index", "wb") as out:
        out.write(content)


def make_config(**flags):
    return config.from_flags({name: str(value) for name,
                              value in dict(dict(size=6, batch_size=3), **flags).items()})


def random_arrays(config_, num_items, seed=0, scale=0.7, step=40):
    """A state in the middle of a run: moments of every row, some rows never touched and some left
    behind.
    """
    random, arrays = np.random.RandomState(seed), state.initial(config_, num_items)
    for name, (shape, dtype) in state.shapes(config_, num_items).items():
        if dtype == np.float32:
            arrays[name] = (scale * random.standard_normal(shape)).astype(np.float32)
        if name.endswith(state.V_SLOT):
            arrays[name] **= 2
    arrays[state.GLOBAL_STEP] = np.array(step, np.int64)
    touched = random.randint(0, step + 1, num_items).astype(np.int32)
    touched[:2] = 0, step
    for weight, row_step in state.last_steps(config_).items():
        arrays[row_step] = touched
        for slot in state.slots(config_.training):  # a row never touched has no moments
            arrays[weight + slot][touched == 0] = 0.0
    return arrays


def vocabulary(num_items, text=False, seed=0):
    """Ids 1000, 1007, ... or "item0", "item1", ..., with random support."""
    support = np.random.RandomState(seed).randint(1, 9, num_items).astype(np.int64)
    if text:
        ids = np.empty(num_items, object)
        ids[:] = ["item%d" % i for i in range(num_items)]
        return Vocabulary(ids, support)
    return Vocabulary(1000 + 7 * np.arange(num_items, dtype=np.int64), support)


def save(directory, monkeypatch, config_=None, arrays=None, vocab=None, epoch=0, num_items=40,
         validation=None):
    """A checkpoint in `directory`; returns (config, arrays, vocabulary)."""
    config_ = config_ or make_config()
    vocab = vocab or vocabulary(num_items)
    arrays = arrays or random_arrays(config_, len(vocab))
    monkeypatch.setattr(bundle_writer, "write", write_bundle)
    checkpoint.save(str(directory), config_, vocab, arrays, epoch, 100, validation)
    return config_, arrays, vocab

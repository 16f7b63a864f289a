"""Tensors of a TensorFlow V2 checkpoint (`.index` and one `.data` file), without TensorFlow.

The index is a sorted LevelDB table: blocks of (key, value) whose keys share prefixes, and a footer
that says where the root block lies, which lists the other blocks. A value is a BundleEntryProto:
type and shape of a tensor, and where in the data file its bytes lie. Only what TensorFlow's SaveV2
writes on a little-endian machine is read: uncompressed blocks, whole tensors, one shard.

Source: leveldb doc/table_format.md; tensorflow/core/protobuf/tensor_bundle.proto. Differs:
checksums of blocks and tensors are not checked; the manifest has a checksum of each file.
"""

import struct
from typing import NamedTuple, Tuple

import numpy as np

INDEX, DATA = ".index", ".data-00000-of-00001"
_MAGIC = 0xDB4775248B80FB57
_FOOTER = 48  # bytes: two block handles, padding, magic
_DTYPES = {1: np.float32, 2: np.float64, 3: np.int32, 9: np.int64}


class Entry(NamedTuple):
    """Where a tensor lies in the data file."""

    dtype: np.dtype
    shape: Tuple[int, ...]
    offset: int  # bytes
    size: int  # bytes


def read(prefix, shapes):
    """The tensors in `shapes` as read-only views of the mapped data file: read when they are used.

    Args:
      prefix: path without the endings. shapes: name -> (shape, dtype) that the tensor must have.
    Returns: dict name -> array.
    Raises: ValueError saying why the files cannot be read, or naming the first tensor that is
      missing or of another type or shape.
    """
    try:
        with open(prefix + INDEX, "rb") as file:
            entries = _entries(file.read())
        data = np.memmap(prefix + DATA, np.uint8, "r")
    except OSError as error:
        raise ValueError(error.strerror or "cannot be read") from error
    except (IndexError, KeyError, TypeError, ValueError, struct.error) as error:
        raise ValueError("it is no checkpoint of TensorFlow (%s)"
                         % (" ".join(str(error).split()) or type(error).__name__)) from error
    arrays = {}
    for name, (shape, dtype) in shapes.items():
        entry = entries.get(name)
        if entry is None:
            raise ValueError("tensor %s is missing" % name)
        if (entry.shape, entry.dtype) != (tuple(shape), dtype):
            raise ValueError("tensor %s is of type and shape %s %s, the configuration says %s %s"
                             % (name, np.dtype(entry.dtype), entry.shape, np.dtype(dtype),
                                tuple(shape)))
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        if entry.size != size or entry.offset + size > len(data):
            raise ValueError("tensor %s is cut short" % name)
        arrays[name] = np.asarray(data[entry.offset:entry.offset + size].view(dtype).reshape(shape))
    return arrays


def _entries(content):
    """Name of each tensor -> its Entry, from the bytes of an index."""
    if len(content) < _FOOTER or struct.unpack("<Q", content[-8:])[0] != _MAGIC:
        raise ValueError("the file does not end like a checkpoint index")
    footer = content[-_FOOTER:]
    _, at = _handle(footer, 0)  # of the metaindex, which TensorFlow leaves empty
    root, _ = _handle(footer, at)
    entries = {}
    for _, value in _pairs(content, *root):
        for key, entry in _pairs(content, *_handle(value, 0)[0]):
            if key:  # the empty key is the header
                fields = _message(entry)
                if fields.get(1, [0])[0] in _DTYPES:
                    entries[key.decode("utf-8")] = _entry(fields)
            else:
                _check_header(_message(entry))
    return entries


def _check_header(fields):
    if fields.get(1, [1])[0] != 1 or fields.get(2, [0])[0] != 0:
        raise ValueError("it has several shards, or is big-endian")


def _entry(fields):
    """The Entry of a BundleEntryProto, given its fields by number."""
    if fields.get(3, [0])[0] or 7 in fields:
        raise ValueError("a tensor lies in another shard or in slices")
    if not all(isinstance(value, int) for number in (4, 5) for value in fields.get(number, [])):
        raise ValueError("a place is no number")
    dims = _message(fields[2][0]).get(2, []) if 2 in fields else []
    return Entry(_DTYPES[fields[1][0]], tuple(_message(dim).get(1, [0])[0] for dim in dims),
                 fields.get(4, [0])[0], fields.get(5, [0])[0])


def _handle(data, at):
    """((offset, size) of a block, where the bytes after this handle start)."""
    offset, at = _varint(data, at)
    size, at = _varint(data, at)
    return (offset, size), at


def _pairs(content, offset, size):
    """(key, value) bytes of the block at an offset."""
    block = content[offset:offset + size]
    if len(block) < size or content[offset + size] != 0:
        raise ValueError("a block is cut short or compressed")
    end, at, key = size - 4 - 4 * struct.unpack("<I", block[-4:])[0], 0, b""
    while at < end:
        shared, at = _varint(block, at)
        unshared, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at:at + unshared]
        at += unshared
        yield key, block[at:at + length]
        at += length


def _varint(data, at):
    """(a number of variable length, where the bytes after it start)."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _message(data):
    """One protocol buffer: field number -> list of its values (int, or bytes)."""
    fields, at = {}, 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = _varint(data, at)
        elif kind == 2:
            length, at = _varint(data, at)
            value, at = data[at:at + length], at + length
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
            value, at = data[at:at + length], at + length
        else:
            raise ValueError("a field of kind %d" % kind)
        fields.setdefault(number, []).append(value)
    return fields

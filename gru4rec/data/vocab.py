"""Item id to item index and back, with the support of each item; saved beside the weights."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from gru4rec.data.reading.columns import canonical_int
from gru4rec.errors import CheckpointError
from gru4rec.files import npz


def _text_of(raw):
    """One raw id as text; a float without a fraction counts as the integer."""
    if isinstance(raw, (bytes, np.bytes_)):
        return raw.decode("utf-8", "replace")
    if isinstance(raw, (float, np.floating)) and np.isfinite(raw) and raw == int(raw):
        return str(int(raw))
    return str(raw)


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The items a model knows.

    ids: int64 [I] or object [I] of str, distinct raw ids in order of first appearance in the
      training file.
    support: int64 [I], number of events of each item in the training file, before sessions of one
      event are dropped.
    """

    ids: np.ndarray
    support: np.ndarray

    def __post_init__(self):
        self.ids.setflags(write=False)
        self.support.setflags(write=False)
        object.__setattr__(self, "_index", pd.Index(self.ids, dtype=self.ids.dtype))

    @classmethod
    def build_with_codes(cls, item_column):
        """(Vocabulary, item index of each event int32 [E]) of a training file's item column.

        Args:
          item_column: int64 [E] or object [E] of str, in file order; it is hashed only once.
        """
        codes, ids = pd.factorize(item_column)
        vocab = cls(np.array(ids), np.bincount(codes, minlength=len(ids)).astype(np.int64))
        return vocab, codes.astype(np.int32)

    def __len__(self):
        return len(self.ids)

    @property
    def is_integer(self):
        return self.ids.dtype != object

    def encode(self, raw_ids):
        """Item index of each raw id.

        Args:
          raw_ids: [N] ints, floats or str (array or list, mixed too), cast to the vocabulary's
            type: text "12" and float 12.0 are the integer id 12, integer 12 is the text id "12";
            "012" and "12.0" are only themselves.
        Returns: int32 [N], -1 where the vocabulary does not know the id (also for None and NaN).
        Example: ids [30, 10], raw ["10", 30, "x"] -> [1, 0, -1]
        """
        raw = raw_ids if isinstance(raw_ids, np.ndarray) else _object_array(raw_ids)
        if self.is_integer and raw.dtype.kind == "i":
            return self._index.get_indexer(raw.astype(np.int64)).astype(np.int32)
        codes, values = pd.factorize(raw.astype(object))
        known = self._encode_each([_text_of(value) for value in values])
        # factorize gives None and NaN the code -1, which reads the appended entry
        return np.append(known, np.int32(-1))[codes]

    def _encode_each(self, texts):
        """list of str -> int32 index of each."""
        if not self.is_integer:
            ids = pd.Index(_object_array(texts), dtype=object)
            return self._index.get_indexer(ids).astype(np.int32)
        numbers = [canonical_int(text) for text in texts]
        ids = np.array([number or 0 for number in numbers], np.int64)
        is_text = np.array([number is None for number in numbers], bool)
        return np.where(is_text, np.int32(-1), self._index.get_indexer(ids).astype(np.int32))

    def decode(self, indices):
        """Raw ids, int64 [N] or object [N] of str, of item indices int [N].

        Raises: IndexError unless 0 <= index < I for all.
        """
        indices = np.asarray(indices, dtype=np.int64)
        if indices.size and (indices.min() < 0 or indices.max() >= len(self)):
            raise IndexError("item index outside 0..%d" % (len(self) - 1))
        return self.ids[indices]

    def extended(self, other):
        """This vocabulary, followed by the items of another that it does not know.

        Returns: (Vocabulary, index in it of each item of `other` int32 [J]). The support is that of
          `other`, 0 for an item that `other` lacks. Ids are integer if both are, else text.
        Example: ids [30, 10], other [10, 20] -> ids [30, 10, 20], index [1, 2].
        """
        ids, other_ids = self.ids, other.ids
        if self.is_integer != other.is_integer:
            ids, other_ids = (_object_array([str(i) for i in part.tolist()])
                              for part in (ids, other_ids))
        known = pd.Index(ids, dtype=ids.dtype)
        index = known.get_indexer(pd.Index(other_ids, dtype=other_ids.dtype)).astype(np.int32)
        new = index < 0
        index[new] = len(ids) + np.arange(int(new.sum()))
        ids = np.concatenate([ids, other_ids[new]])
        support = np.zeros(len(ids), np.int64)
        support[index] = other.support
        return Vocabulary(ids, support), index

    def to_arrays(self):
        """Arrays to save: dict of `support` and `ids`.

        Text ids are `id_bytes` (uint8, UTF-8) and `id_offsets` (int64 [I + 1]) instead of `ids`.
        """
        if self.is_integer:
            return {"ids": np.asarray(self.ids), "support": np.asarray(self.support)}
        parts = [text.encode("utf-8") for text in self.ids]
        offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
        return {"id_bytes": np.frombuffer(b"".join(parts), np.uint8), "id_offsets": offsets,
                "support": np.asarray(self.support)}

    @classmethod
    def from_arrays(cls, arrays):
        """Inverse of `to_arrays`.

        Raises: CheckpointError where the arrays cannot come from `to_arrays`.
        """
        support = _integers(arrays, "support")
        ids = _integers(arrays, "ids") if "ids" in arrays else _texts(arrays)
        if len(ids) != len(support) or not len(ids):
            raise CheckpointError("vocabulary has %d ids, %d supports; the file is damaged"
                                  % (len(ids), len(support)))
        if support.min() < 0:
            raise CheckpointError("vocabulary has the negative support %d; the file is damaged"
                                  % support.min())
        if not pd.Index(ids, dtype=ids.dtype).is_unique:
            raise CheckpointError("vocabulary holds an item id twice; the file is damaged")
        return cls(ids, support)

    def save(self, path):
        """Write an .npz to exactly `path`; equal vocabularies give equal bytes."""
        with open(path, "wb") as handle:
            np.savez(handle, **self.to_arrays())

    @classmethod
    def load(cls, path):
        """Inverse of `save`.

        Raises: CheckpointError naming the file, if it is missing, damaged or something else.
        """
        try:
            return cls.from_arrays(npz.read(path))
        except CheckpointError as error:
            raise CheckpointError("%s: %s" % (path, error)) from None
        except FileNotFoundError:
            raise CheckpointError("%s: no such vocabulary file; train first or correct the path"
                                  % path) from None
        except npz.ERRORS as error:
            reason = " ".join(str(error).split())[:120]
            raise CheckpointError("%s: not a readable vocabulary (%s: %s); restore the file or "
                                  "train again" % (path, type(error).__name__, reason)) from None


def _object_array(values):
    """list -> object [N]; np.array would turn a mixed list into text."""
    out = np.empty(len(values), object)
    out[:] = values
    return out


def _integers(arrays, name):
    """int64 [N] copy of an integer array by name."""
    values = np.asarray(arrays[name]) if name in arrays else None
    if values is None or values.ndim != 1 or values.dtype.kind not in "iu":
        raise CheckpointError("vocabulary lacks the integer array %r; the file is damaged" % name)
    return values.astype(np.int64)


def _texts(arrays):
    """object [I] of str from `id_bytes` and `id_offsets`."""
    offsets = _integers(arrays, "id_offsets")
    blob = _integers(arrays, "id_bytes").astype(np.uint8).tobytes()
    if (not len(offsets) or offsets[0] != 0 or offsets[-1] != len(blob)
            or (np.diff(offsets) < 0).any()):
        raise CheckpointError("vocabulary 'id_offsets' do not divide its %d bytes; the file is "
                              "damaged" % len(blob))
    bounds = offsets.tolist()
    try:
        return _object_array([blob[start:stop].decode("utf-8")
                              for start, stop in zip(bounds, bounds[1:])])
    except UnicodeDecodeError as error:
        raise CheckpointError("vocabulary holds an id that is not UTF-8 (%s); the file is damaged"
                              % error) from None

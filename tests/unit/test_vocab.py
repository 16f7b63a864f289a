"""Vocabulary: order, support, casts in both directions, and a file that is checked when read."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gru4rec.data.reading.columns import canonical_int
from gru4rec.data.vocab import Vocabulary
from gru4rec.errors import CheckpointError
from tests.data_helpers import vocabulary_of


def text(*values):
    return np.array(values, object)


INTS = vocabulary_of(np.array([30, 10, 30, -7]))
TEXTS = vocabulary_of(text("b", "12", "b", "\u20ac", "007"))


def test_order_of_first_appearance_and_support():
    assert INTS.ids.tolist() == [30, 10, -7] and INTS.support.tolist() == [2, 1, 1]
    assert len(INTS) == 3
    assert TEXTS.ids.tolist() == ["b", "12", "\u20ac", "007"]
    assert TEXTS.support.tolist() == [2, 1, 1, 1]
    assert INTS.ids.dtype == INTS.support.dtype == np.int64 and TEXTS.ids.dtype == object


def test_build_with_codes_is_encode():
    column = text("x", "y", "x")
    vocab, codes = Vocabulary.build_with_codes(column)
    assert codes.dtype == np.int32 and codes.tolist() == vocab.encode(column).tolist() == [0, 1, 0]


@pytest.mark.parametrize("raw, expected", [
    (np.array([10, 30, 5]), [1, 0, -1]),
    (np.array([10, 30], np.int16), [1, 0]),
    (np.array([10, 2 ** 64 - 1], np.uint64), [1, -1]),
    (np.array([10.0, 10.5, np.nan, np.inf, 1e300]), [1, -1, -1, -1, -1]),
    (text("10", "-7", "abc", "010", "10.0", " 10", "9" * 30, "", "\u0661\u0660"),
     [1, 2] + [-1] * 7),
    (np.array(["10", "x"]), [1, -1]),
    (["10", 30, "x", None, 10.0, b"30"], [1, 0, -1, -1, 1, 0]),
    ([], []),
])
def test_encode_casts_to_integer_ids(raw, expected):
    got = INTS.encode(raw)
    assert got.dtype == np.int32 and got.tolist() == expected


@pytest.mark.parametrize("raw, expected", [
    (text("12", "007", "nope", "b"), [1, 3, -1, 0]),
    (np.array([12, 7]), [1, -1]),
    (np.array([12.0, 12.5, np.nan]), [1, -1, -1]),
    ([12, "\u20ac", None], [1, 2, -1]),
    (np.array(["b", "12"]), [0, 1]),
])
def test_encode_casts_to_text_ids(raw, expected):
    assert TEXTS.encode(raw).tolist() == expected


def test_zero_is_not_confused_with_an_id_that_is_no_integer():
    assert vocabulary_of(np.array([0, 1])).encode(["x", "0"]).tolist() == [-1, 0]


def test_decode_inverts_encode_and_refuses_other_indices():
    assert INTS.decode([2, 0]).tolist() == [-7, 30]
    assert TEXTS.decode(np.array([3])).tolist() == ["007"]
    for index in (-1, 3):
        with pytest.raises(IndexError, match="0..2"):
            INTS.decode([index])


def test_frozen():
    with pytest.raises(ValueError):
        INTS.ids[0] = 1
    with pytest.raises(AttributeError):
        INTS.ids = np.array([1])


def test_canonical_int():
    assert [canonical_int(t)
            for t in ("0", "-1", str(2 ** 63 - 1), str(-2 ** 63))] == [0, -1, 2 ** 63 - 1, -2 ** 63]
    others = ("", "-", "-0", "00", "01", "1.0", "+1", "1 ", "1\n", str(2 ** 63), "9" * 40)
    assert {canonical_int(t) for t in others} == {None}


@given(st.lists(st.text(st.characters(blacklist_categories=("Cs",)), min_size=1), min_size=1)
       | st.lists(
    st.integers(-2 ** 63, 2 ** 63 - 1), min_size=1))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_arrays_round_trip(values):
    vocab = vocabulary_of(np.array(values, object if isinstance(values[0], str) else np.int64))
    arrays = vocab.to_arrays()
    again = Vocabulary.from_arrays(arrays)
    assert all(array.dtype != object for array in arrays.values())
    assert again.ids.tolist() == vocab.ids.tolist()
    assert again.support.tolist() == vocab.support.tolist()
    assert again.ids.dtype == vocab.ids.dtype
    assert again.encode(vocab.ids).tolist() == list(range(len(vocab)))


@pytest.mark.parametrize("vocab", [INTS, TEXTS])
def test_save_is_deterministic_and_load_inverts_it(tmp_path, vocab, monkeypatch):
    first, second = str(tmp_path / "first.npz"), str(tmp_path / "second")
    vocab.save(first)
    monkeypatch.setattr("time.time", lambda: 2e9)
    vocab.save(second)
    assert open(first, "rb").read() == open(second, "rb").read()
    assert sorted(os.listdir(str(tmp_path))) == ["first.npz", "second"]
    assert Vocabulary.load(first).ids.tolist() == vocab.ids.tolist()


def changed(vocab, **arrays):
    return {key: value for key, value in dict(vocab.to_arrays(), **arrays).items()
            if value is not None}


@pytest.mark.parametrize("arrays, expected", [
    (changed(INTS, support=None), "support"),
    (changed(INTS, ids=None), "id_offsets"),
    (changed(TEXTS, id_offsets=None), "id_offsets"),
    (changed(TEXTS, id_bytes=None), "id_bytes"),
    (changed(INTS, support=np.array([1, 2])), "3 ids, 2 supports"),
    (changed(INTS, support=np.array([1, -2, 3])), "negative support -2"),
    (changed(INTS, support=np.array([1.0, 2.0, 3.0])), "support"),
    (changed(INTS, ids=np.array([[1, 2, 3]])), "ids"),
    (changed(INTS, ids=np.array([1, 2, 1])), "twice"),
    (changed(INTS, ids=np.zeros(0, np.int64), support=np.zeros(0, np.int64)), "0 ids"),
    (changed(TEXTS, id_offsets=np.array([0, 3, 1, 6, 9])), "id_offsets"),
    (changed(TEXTS, id_offsets=np.array([1, 1, 3, 6, 9])), "id_offsets"),
    (changed(TEXTS, id_offsets=np.array([0, 1, 3, 6, 8])), "id_offsets"),
    (changed(TEXTS, id_offsets=np.zeros(0, np.int64)), "id_offsets"),
    (changed(TEXTS, id_bytes=np.full(9, 255, np.uint8)), "UTF-8"),
    (changed(TEXTS, id_offsets=np.array([0, 1, 4, 6, 9])), "UTF-8"),
])
def test_damaged_arrays(tmp_path, arrays, expected):
    with pytest.raises(CheckpointError, match=expected):
        Vocabulary.from_arrays(arrays)
    path = str(tmp_path / "vocab.npz")
    np.savez(path, **arrays)
    with pytest.raises(CheckpointError, match=expected) as caught:
        Vocabulary.load(path)
    assert str(caught.value).startswith(path) and "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PK", b"not a zip", b"\x93NUMPY", b"\x80\x04K\x01."])
def test_file_of_another_kind(tmp_path, content):
    path = tmp_path / "vocab.npz"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="not a readable vocabulary"):
        Vocabulary.load(str(path))


def test_missing_file_and_pickled_objects(tmp_path):
    path = str(tmp_path / "vocab.npz")
    with pytest.raises(CheckpointError, match="no such vocabulary file"):
        Vocabulary.load(path)
    np.savez(path, ids=text("a"), support=np.array([1]))
    with pytest.raises(CheckpointError, match="not a readable vocabulary"):
        Vocabulary.load(path)


@pytest.mark.parametrize("vocab", [INTS, TEXTS])
def test_every_changed_byte_is_noticed_or_harmless(tmp_path, vocab):
    path = tmp_path / "vocab.npz"
    vocab.save(str(path))
    whole = path.read_bytes()
    for place in range(0, len(whole), 3):
        for content in (whole[:place],
                        whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1:]):
            path.write_bytes(content)
            try:
                again = Vocabulary.load(str(path))
            except CheckpointError as error:
                assert "\n" not in str(error)
            else:
                assert again.ids.tolist() == vocab.ids.tolist()
                assert again.support.tolist() == vocab.support.tolist()

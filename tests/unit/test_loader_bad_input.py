"""Every fault of an events file is one DataError: path, line, value and what to do."""

import gzip
import os

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gru4rec.data.reading import text
from gru4rec.data.reading.loader import load_events
from gru4rec.errors import DataError

HEAD = "SessionId\tItemId\tTime\n"
GOOD = "1\t10\t5\n"
ZIPPED = gzip.compress((HEAD + GOOD * 2000).encode(), 1)
FUZZ = settings(max_examples=150, deadline=None, derandomize=True,
                suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def message(path, **keys):
    """Text of the DataError: one line that starts with the path; no file may appear beside it."""
    before = sorted(os.listdir(os.path.dirname(path)))
    with pytest.raises(DataError) as caught:
        load_events(path, **keys)
    said = str(caught.value)
    assert said.startswith(path + ": ") and "\n" not in said and len(said) < len(path) + 500
    assert sorted(os.listdir(os.path.dirname(path))) == before
    return said


def write(tmp_path, content, name="events.tsv"):
    path = tmp_path / name
    path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return str(path)


CASES = {  # content -> what the message must hold
    "empty": ("", ["empty", "give a file"]),
    "blank lines only": ("\n \n\n", ["empty", "give a file"]),
    "header only": (HEAD, ["no event", "give a file"]),
    "header without newline": (HEAD.strip(), ["no event", "give a file"]),
    "header and blank lines": (HEAD + "\n\n", ["no event"]),
    "no header": (GOOD * 3,
                  ["line 1: ", "'SessionId' is missing", "'1', '10', '5'", "--session_key"]),
    "column missing": ("SessionId\titem\tTime\n" + GOOD,
                       ["'ItemId' is missing", "'SessionId', 'item', 'Time'"]),
    "column twice": ("SessionId\tItemId\tTime\tTime\n1\t1\t5\t5\n",
                     ["line 1: ", "'Time' is there 2 times"]),
    "text time": (HEAD + GOOD + "1\t10\tnoon\n",
                  ["line 3, column 'Time'", "'noon'", "ISO-8601", "finite number"]),
    "text time first": (HEAD + "1\t10\tnoon\n" + GOOD,
                        ["line 2, column 'Time'", "'noon'", "ISO-8601"]),
    "nan time": (HEAD + GOOD + "1\t10\tnan\n", ["line 3, column 'Time'", "'nan'", "finite"]),
    "infinite time": (HEAD + GOOD * 2 + "1\t10\t-inf\n",
                      ["line 4, column 'Time'", "'-inf'", "finite"]),
    "overflowing time": (HEAD + "1\t10\t1e999\n", ["line 2, column 'Time'", "'1e999'"]),
    "time with underscore": (HEAD + "1\t10\t1_0\n", ["line 2, column 'Time'", "'1_0'"]),
    "month 13": (HEAD + "1\t1\t2014-01-01\n1\t1\t2014-13-01\n",
                 ["line 3, column 'Time'", "'2014-13-01'"]),
    "february 29": (HEAD + "1\t1\t2014-01-01\n1\t1\t2014-02-29\n",
                    ["line 3, column 'Time'", "'2014-02-29'"]),
    "hour 24": (HEAD + "1\t1\t2014-01-01T24:00\n", ["line 2, column 'Time'", "'2014-01-01T24:00'"]),
    "long tail after a time": (HEAD + "1\t1\t2014-01-01T10:00:00" + "0" * 90 + "\n",
                               ["line 2, column 'Time'", "..."]),
    "number among iso": (HEAD + "1\t1\t2014-01-01\n" + GOOD,
                         ["line 3, column 'Time'", "'5'", "one way"]),
    "iso among numbers": (HEAD + GOOD + "1\t1\t2014-01-01\n",
                          ["line 3, column 'Time'", "'2014-01-01'", "finite number"]),
    "first of several bad": (HEAD + GOOD + "1\t1\tbad1\n1\t1\tbad2\n", ["line 3, ", "'bad1'"]),
    "bad after blank lines": (HEAD + "\n" + GOOD + "\n\n1\t1\tbad\n", ["line 6, ", "'bad'"]),
    "missing session": (HEAD + GOOD + "\t10\t5\n",
                        ["line 3, column 'SessionId'", "missing", "''", "fill it in"]),
    "missing item": (HEAD + "1\t\t5\n", ["line 2, column 'ItemId'", "missing", "'1\\t\\t5'"]),
    "missing time": (HEAD + GOOD * 4 + "1\t10\t\n", ["line 6, column 'Time'", "missing"]),
    "missing, quoted": ('SessionId,ItemId,Time\n1,"",5\n', ["line 2, column 'ItemId'", "missing"]),
    "nul": (HEAD + GOOD + "1\t1\x000\t5\n", ["line 3: ", "NUL", "\\x00", "export it"]),
    "nul in header": ("Sess\x00ionId\tItemId\tTime\n", ["line 1: ", "NUL"]),
    "more fields": (HEAD + GOOD + "1\t10\t5\t9\n",
                    ["line 3: ", "4 fields", "header has 3", "'1\\t10\\t5\\t9'"]),
    "fewer fields": (HEAD + GOOD + GOOD + "1\t10\n",
                     ["line 4: ", "2 fields", "header has 3", "'1\\t10'"]),
    "more and fewer": (HEAD + "1\t10\n" + "1\t10\t5\t9\n", ["line 2: ", "2 fields"]),
    "whitespace line": (HEAD + GOOD + "  \n" + GOOD, ["line 3: ", "1 fields", "'  '"]),
    "last line cut off": (HEAD + GOOD + "1\t1", ["line 3: ", "2 fields", "'1\\t1'"]),
    "not utf-8": ((HEAD + GOOD).encode() + b"1\t\xff\xfe\t5\n",
                  ["line 3: ", "\\xff\\xfe", "UTF-8"]),
    "utf-16": ((HEAD + GOOD).encode("utf-16"), ["line 1: ", "NUL"]),
    "binary": (b"\x89PNG\r\n\x1a\n" * 9, ["line 1: ", "\\x89PNG", "UTF-8"]),
    "html": ("<!DOCTYPE html>\n<html><body>404</body></html>\n",
             ["line 1: ", "<!DOCTYPE html>", "HTML", "download"]),
    "quote that does not close": (HEAD + GOOD + '1\t"10\t5\n' + GOOD,
                                  ["line 3: ", "quote", "'1\\t\"10\\t5'"]),
    "quote inside a field": (HEAD + '1\ta"b"\t5\n', ["line 2: ", "quote", "double a quote"]),
    "text after a quote": (HEAD + '1\t"a"b\t5\n', ["line 2: ", "quote"]),
    "quote over two lines": (HEAD + GOOD + '1\t"a\nb"\t5\n', ["line 3: ", "quote", "on its line"]),
    "quote in header": ('"SessionId\tItemId\tTime\n' + GOOD, ["line 1: ", "quote"]),
    "carriage return inside": (HEAD + GOOD + "1\t1\r0\t5\n",
                               ["line 3: ", "carriage return", "'1\\t1\\r0\\t5'"]),
    "old mac line ends": ((HEAD + GOOD).replace("\n", "\r"), ["line 1: ", "carriage return"]),
    "long value": (HEAD + "1\t1\t" + "x" * 9999 + "\n", ["line 2, ", "'xxx", "..."]),
}


@pytest.mark.parametrize("chunk", [text._CHUNK_BYTES, 7])
@pytest.mark.parametrize("case", sorted(CASES))
def test_bad_text(tmp_path, monkeypatch, case, chunk):
    # 7: every line is met in another chunk than the last
    monkeypatch.setattr(text, "_CHUNK_BYTES", chunk)
    content, expected = CASES[case]
    path = write(tmp_path, content)
    said = message(path)
    for part in expected:
        assert part in said
    if content:
        assert message(write(tmp_path, gzip.compress(open(path, "rb").read()),
                             "z.gz")).split(": ", 1)[1] \
            == said.split(": ", 1)[1]


def test_missing_file(tmp_path):
    assert "No such file" in message(str(tmp_path / "none.tsv"))


def test_directory(tmp_path):
    (tmp_path / "d").mkdir()
    assert "directory" in message(str(tmp_path / "d"))


@pytest.mark.user
@pytest.mark.machine
def test_permission_denied(tmp_path):
    path = write(tmp_path, HEAD + GOOD)
    os.chmod(path, 0)
    assert "Permission denied" in message(path)


def test_permission_denied_is_reported_whoever_runs_the_test(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(DataError, match="x.tsv: cannot be read: Permission denied"):
        load_events("x.tsv")


def test_path_with_newline_or_nul_stays_one_line():
    for path in ("a\nb.tsv", "a\0b.tsv"):
        with pytest.raises(DataError) as caught:
            load_events(path)
        assert "\n" not in str(caught.value) and repr(path) in str(caught.value)


def test_one_column_for_two_roles(tmp_path):
    assert "must differ" in message(write(tmp_path, HEAD + GOOD), item_key="SessionId")


def test_gz_that_is_not_gzip(tmp_path):
    assert "not gzip" in message(write(tmp_path, HEAD + GOOD, "e.tsv.gz"))


@pytest.mark.parametrize("content", [
    ZIPPED[:-6], ZIPPED[:30], ZIPPED[:3], ZIPPED[:20] + bytes([ZIPPED[20] ^ 255]) + ZIPPED[21:],
    ZIPPED[:-5] + b"\0" + ZIPPED[-4:], ZIPPED + b"garbage"],
    ids=["cut", "cut early", "3 bytes", "flipped", "crc", "tail"])
def test_broken_gzip(tmp_path, content):
    said = message(write(tmp_path, content, "e.tsv.gz"))
    assert "gzip" in said and ("again" in said or "correct" in said)


def test_bad_parquet(tmp_path):
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    import pyarrow.parquet as parquet

    good = {"SessionId": pa.array([1, 1]), "ItemId": pa.array(["a", "b"]),
            "Time": pa.array([1.0, 2.0])}
    path = str(tmp_path / "e.parquet")
    cases = [("ItemId", pa.array(["a", None]), ["row 2, column 'ItemId'", "missing"]),
             ("ItemId", pa.array(["a", ""]), ["row 2, column 'ItemId'", "missing"]),
             ("SessionId", pa.array([1.0, float("nan")]), ["row 2, column 'SessionId'", "missing"]),
             ("ItemId", pa.array([[1], [2]]), ["column 'ItemId'", "no id"]),
             ("ItemId", pa.array([{"a": 1}, {"a": 2}]), ["ItemId"]),
             ("Time", pa.array([1.0, float("inf")]), ["row 2, column 'Time'", "inf"]),
             ("Time", pa.array(["1", "noon"]), ["row 2, column 'Time'", "'noon'"]),
             ("Time", pa.array(["2014-01-01", "noon"]), ["row 2, column 'Time'", "'noon'"]),
             ("Time", pa.array([True, False]), ["column 'Time'", "bool"]),
             ("Time", pa.array([1, None], pa.timestamp("us")), ["row 2, column 'Time'", "missing"])]
    for key, column, expected in cases:
        parquet.write_table(pa.table(dict(good, **{key: column})), path)
        said = message(path)
        for part in expected:
            assert part in said
    parquet.write_table(pa.table({"SessionId": good["SessionId"]}), path)
    assert "'ItemId' is missing" in message(path)
    parquet.write_table(pa.table(good).slice(0, 0), path)
    assert "no event" in message(path)
    whole = open(path, "rb").read()
    for content in (whole[:-20], b"PAR1", b"PAR1" + b"x" * 50, (HEAD + GOOD).encode()):
        assert "parquet" in message(write(tmp_path, content, "b.parquet")).split(": ", 1)[1]


PIECES = st.sampled_from(["1", "10", "5", "\t", "\t", "\n", "\n", ",", ";", '"', '""', "\r\n", "\r",
                          " ", "a", "nan", "inf",
                          "1e5", "2014-04-07", "T10:51:09Z", "-", ".", "0", "\ufeff", "\u20ac",
                          "\x00", "\x1a", "9" * 25,
                          "+", HEAD, GOOD, GOOD, GOOD, "1,2,2014-04-07\n", "True",
                          "SessionId,ItemId,Time\n"])
HEADS = st.sampled_from([HEAD, HEAD.replace("\t", ","), ""])
PREFIXES = st.sampled_from([b"", HEAD.encode(), b"\x1f\x8b\x08"])


@given(pieces=st.lists(PIECES, max_size=25), chunk=st.integers(1, 80), head=HEADS)
@example(pieces=["1\t1\t5\n", "\n"], chunk=9, head=HEAD)
@FUZZ
def test_fuzzed_text_loads_or_is_a_data_error(tmp_path, pieces, chunk, head):
    check_fuzzed(write(tmp_path, head + "".join(pieces)), chunk)


@given(content=st.binary(max_size=80), chunk=st.integers(1, 80), prefix=PREFIXES)
@FUZZ
def test_fuzzed_bytes_load_or_are_a_data_error(tmp_path, content, chunk, prefix):
    check_fuzzed(write(tmp_path, prefix + content), chunk)


def check_fuzzed(path, chunk):
    before, text._CHUNK_BYTES = text._CHUNK_BYTES, chunk
    try:
        events = load_events(path)
        assert len(events.session) == len(events.item) == len(events.time) > 0
    except DataError as error:
        assert str(error).startswith(path + ": ") and "\n" not in str(error)
        assert "pandas" not in str(error) and "Error tokenizing" not in str(error)
    finally:
        text._CHUNK_BYTES = before

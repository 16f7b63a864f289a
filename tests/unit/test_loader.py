"""load_events on good files: formats, id types, times, and agreement with a slow reader."""

import csv
import gzip
import io
import logging
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gru4rec.data.reading import iso8601, loader, text
from gru4rec.data.reading.loader import load_events
from gru4rec.errors import DataError

ROWS = "SessionId\tItemId\tTime\n2\t30\t5\n1\t10\t4\n2\t20\t6\n"
FUZZ = settings(max_examples=60, deadline=None, derandomize=True,
                suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def write(tmp_path, content, name="events.tsv"):
    path = tmp_path / name
    content = content.encode("utf-8") if isinstance(content, str) else content
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return str(path)


def columns(events):
    return events.session.tolist(), events.item.tolist(), events.time.tolist()


@pytest.mark.parametrize("name", ["e.txt", "e.tsv", "e.csv", "e.tsv.gz", "e.csv.gz", "no_suffix"])
@pytest.mark.parametrize("delimiter", ["\t", ",", ";"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", ["", "newline", "blank lines"])
def test_delimiter_from_header_whatever_the_suffix(tmp_path, name, delimiter, end, last):
    content = ROWS.replace("\t", delimiter)[:-1] + {"": "", "newline": "\n",
                                                    "blank lines": "\n\n\n"}[last]
    events = load_events(write(tmp_path, content.replace("\n", end), name))
    assert columns(events) == ([2, 1, 2], [30, 10, 20], [5.0, 4.0, 6.0])
    assert events.session.dtype == events.item.dtype == np.int64 and events.time.dtype == np.float64


def test_gzip_without_suffix_bom_column_order_and_extra_columns(tmp_path):
    content = "\ufeffTime,x,ItemId,when,SessionId\n5,?,30,,2\n4,\u20ac,10,,1\n"
    path = write(tmp_path, gzip.compress(content.encode("utf-8")), "e.csv")
    assert columns(load_events(path)) == ([2, 1], [30, 10], [5.0, 4.0])


def test_named_columns(tmp_path):
    path = write(tmp_path, "user,sku,ts\n7,a,1\n7,b,2\n")
    assert columns(load_events(path, "user", "sku", "ts")) == ([7, 7], ["a", "b"], [1.0, 2.0])


@pytest.mark.parametrize("values, expected", [
    (["7", "-3", "0"], [7, -3, 0]),
    (["7", "007"], ["7", "007"]),
    (["7", "abc", "8"], ["7", "abc", "8"]),
    (["1.0", "2"], ["1.0", "2"]),
    (["+7", "8"], ["+7", "8"]),
    (["-0", "8"], ["-0", "8"]),
    ([" 7", "8"], [" 7", "8"]),
    (["1e3", "8"], ["1e3", "8"]),
    (["NA", "null", "nan", "None", "N/A", "True"], ["NA", "null", "nan", "None", "N/A", "True"]),
    (["True", "False"], ["True", "False"]),
    (["9223372036854775807", "-9223372036854775808"], [2 ** 63 - 1, -2 ** 63]),
    (["9223372036854775808", "1"], ["9223372036854775808", "1"]),
    (["99999999999999999999999", "1"], ["99999999999999999999999", "1"]),
    (["\u20ac", "\U0001f600 b"], ["\u20ac", "\U0001f600 b"]),
    (["  ", "a"], ["  ", "a"]),
])
@pytest.mark.parametrize("chunk", [1 << 20, 1])
def test_column_is_integer_only_if_every_value_is_canonical(tmp_path, monkeypatch, values, expected,
                                                            chunk):
    # 1: a chunk per line, so types must agree across chunks
    monkeypatch.setattr(text, "_CHUNK_BYTES", chunk)
    content = "SessionId,ItemId,Time\n" + "".join("1,%s,5\n" % value for value in values)
    events = load_events(write(tmp_path, content))
    assert events.item.tolist() == expected and events.session.tolist() == [1] * len(values)


def test_quoted_fields(tmp_path):
    content = '"SessionId","ItemId","Time","Note"\n"1","a,b","5","say ""x"""\n"2","c","6",""\n'
    assert columns(load_events(write(tmp_path, content))) == ([1, 2], ["a,b", "c"], [5.0, 6.0])


@pytest.mark.parametrize("raw, unit, seconds", [
    ("1396861873", "s", 1396861873.0), ("1396861873.25", "s", 1396861873.25), ("12", "s", 12.0),
    ("-5", "s", -5.0),
    ("1396861873123", "ms", 1396861873.123), ("1396861873123456", "us", 1396861873.123456),
    ("1396861873123456789", "ns", 1396861873.1234567)])
def test_unit_of_numeric_time_is_guessed_and_logged(tmp_path, caplog, raw, unit, seconds):
    with caplog.at_level(logging.INFO, logger=loader.__name__):
        events = load_events(write(tmp_path, "SessionId,ItemId,Time\n1,1,%s\n" % raw))
    assert events.time_unit == unit and events.time[0] == pytest.approx(seconds, rel=1e-15)
    assert len(caplog.records) == 1 and " in %s," % unit in caplog.text


@pytest.mark.parametrize("raw, seconds", [
    ("1970-01-02", 86400.0), ("1970-01-01T00:01", 60.0), ("1970-01-01 00:00:07", 7.0),
    ("1970-01-01T00:00:07Z", 7.0),
    ("1970-01-01T00:00:07.5Z", 7.5), ("1970-01-01T00:00:07,25", 7.25),
    ("1970-01-01T02:00:00+02:00", 0.0),
    ("1970-01-01T02:00:00+0130", 1800.0), ("1969-12-31T23:00:00-01", 0.0),
    ("2014-04-07T10:51:09.277Z", 1396867869.277),
    ("2000-02-29", 951782400.0), ("1970-01-01T00:00:07.123456789+00:00", 7.123456789)])
def test_iso_8601(tmp_path, raw, seconds):
    for note in ("", '"'):
        field = '"%s"' % raw if note or "," in raw else raw
        events = load_events(write(tmp_path,
                                   "SessionId,ItemId,Time\n1,1,1970-01-01\n1,1,%s\n" % field))
        assert events.time_unit == "iso-8601"
        assert events.time.tolist() == [0.0, pytest.approx(seconds, abs=1e-9)]


@given(st.datetimes(), st.sampled_from(["T", " "]),
       st.sampled_from(["seconds", "milliseconds", "microseconds"]))
@FUZZ
def test_iso_8601_agrees_with_the_standard_library(when, separator, precision):
    raw = when.isoformat(separator, precision)
    expected = (np.datetime64(raw.replace(" ", "T"),
                              "us") - np.datetime64(0, "us")) / np.timedelta64(1, "s")
    values, bad = iso8601.seconds(iso8601.characters(np.array([raw, raw + "Z"], object)))
    assert bad is None and values.tolist() == pytest.approx([expected] * 2, abs=1e-4)


def test_parquet_types(tmp_path):
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    import pyarrow.parquet as parquet

    stamps = pa.array([1, 2500, 3000], pa.timestamp("ms", tz="Europe/Berlin"))
    cases = [
        (pa.array([2, 1, 2], pa.int32()), pa.array(["a", "007", "a"]), stamps,
         [2, 1, 2], ["a", "007", "a"], [.001, 2.5, 3]),
        (pa.array(["2", "1", "2"]), pa.array(["a", "b", "a"]).dictionary_encode(),
         pa.array(["1970-01-02"] * 3),
         [2, 1, 2], ["a", "b", "a"], [86400.0] * 3),
        (pa.array([2, 1, 2 ** 63], pa.uint64()), pa.array([1.5, 2.0, 1.5]), pa.array([1, 2, 3]),
         ["2", "1", str(2 ** 63)], ["1.5", "2.0", "1.5"], [1, 2, 3]),
        (pa.array([b"x", b"y", b"x"]), pa.array([2, 1, 2], pa.uint64()),
         pa.array([1, 2, 3], pa.date32()),
         ["x", "y", "x"], [2, 1, 2], [86400.0, 172800.0, 259200.0]),
    ]
    for session, item, time, *expected in cases:
        path = str(tmp_path / "e.parquet")
        parquet.write_table(pa.table({"ItemId": item, "other": item, "SessionId": session,
                                      "Time": time}), path)
        assert list(columns(load_events(path))) == expected
        zipped = write(tmp_path, open(path, "rb").read(), "e.parquet.gz")
        assert list(columns(load_events(zipped))) == expected


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match="pip install pyarrow"):
        load_events(write(tmp_path, b"PAR1....PAR1", "e.parquet"))


FIELD = st.text(alphabet=st.sampled_from('a7"0, ;\t-.\u20acNA'), min_size=1, max_size=4)


@given(rows=st.lists(st.tuples(FIELD, FIELD, FIELD), min_size=1, max_size=12),
       delimiter=st.sampled_from("\t,;"),
       chunk=st.integers(1, 60), quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
@FUZZ
def test_reads_back_what_the_csv_module_writes(tmp_path, rows, delimiter, chunk, quoting):
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n", quoting=quoting)
    writer.writerows([("ItemId", "note", "SessionId", "Time")] + [row + (5,) for row in rows])
    path = write(tmp_path, out.getvalue())
    before, text._CHUNK_BYTES = text._CHUNK_BYTES, chunk
    try:
        events = load_events(path)
    finally:
        text._CHUNK_BYTES = before
    for got, place in ((events.item, 0), (events.session, 2)):
        assert [str(value) for value in got.tolist()] == [row[place] for row in rows]


def test_data_modules_import_without_tensorflow():
    code = ("import sys; import gru4rec.data.reading.loader, gru4rec.data.sessions; "
            "sys.exit(any(name.split('.')[0] in ('tensorflow', 'pyarrow') and 'gru' in name for "
            "name in sys.modules) "
            "or 'tensorflow' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

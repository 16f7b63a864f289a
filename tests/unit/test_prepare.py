"""The preparation against slow twins in plain Python, on small random logs; flags, bad rows."""

import gzip
import json
import os
import random
import shutil
import time
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("duckdb", reason="the extra `prepare` is not installed")

from gru4rec.errors import ConfigError, DataError, InputError  # noqa: E402
from gru4rec.prepare import cli, job  # noqa: E402
from gru4rec.prepare import study as study_module  # noqa: E402
from gru4rec.prepare.datasets import DATASETS  # noqa: E402
from gru4rec.prepare.report import length_bin  # noqa: E402

DAY_MS = 86400 * 1000
START_MS = 1396861869277
FEW = settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
KEEP_ALL = ("--min_support", 1, "--min_length", 1, "--drop_repeats", 0, "--split", "none")


def prepare(tmp_path, dataset, text, *flags, **more):
    """Run on one raw file; (Report, dict name -> lines of each output without the header)."""
    raw, out = tmp_path / more.get("name", "raw.csv"), tmp_path / "out"
    if text is not None:
        raw.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    words = [dataset, raw] + more.get("also", []) + ["--out", out, "--overwrite", 1, "--memory",
                                                     0.5, "--threads", 2]
    words += list(flags)
    report = job.run(cli.parse([str(word) for word in words]))
    lines = {}
    for name in os.listdir(str(out)):
        if name.endswith(".txt"):
            header, *lines[name] = (out / name).read_text().splitlines()
            assert header == "SessionId\tItemId\tTime"
    return report, lines


def custom(times, ids=None):
    rows = zip(ids or range(1, 1 + len(times)), times)
    return "Time,SessionId,ItemId\n" + "".join("%s,%s,5\n" % (when, session) for session,
                                               when in rows)


def iso_text(ms):
    import datetime
    stamp = datetime.datetime(1970, 1, 1) + datetime.timedelta(milliseconds=ms)
    return stamp.strftime("%Y-%m-%dT%H:%M:%S.") + "%03dZ" % (ms % 1000)


def random_log(seed, size, days, sessions, items):
    """[(session, item, ms)] of sessions that last hours; popular items, ties of time, and rows out
    of order.
    """
    draw = random.Random(seed)
    begin = [START_MS + draw.randrange(days * DAY_MS) for _ in range(sessions)]
    log = []
    for _ in range(size):
        session = draw.randrange(sessions)
        item = min(draw.randrange(items), draw.randrange(items))
        log.append((session + 1, item + 100, begin[session] + 1800 * 1000 * draw.randrange(16)))
    return log


def printed(log):
    return ["%d\t%d\t%r" % (session, item, ms / 1000.0) for session, item, ms in log]


# Slow twins

def _long(log, least):
    size = Counter(row[0] for row in log)
    return [row for row in log if size[row[0]] >= least]


def _common(log, least):
    support = Counter(row[1] for row in log)
    return [row for row in log if support[row[1]] >= least]


def _paper_split(log):
    cut = max(row[2] for row in log) - DAY_MS
    last = {}
    for session, _, ms in log:
        last[session] = max(ms, last.get(session, ms))
    train = [row for row in log if last[row[0]] < cut]
    known = {row[1] for row in train}
    return train, _long([row for row in log if last[row[0]] >= cut and row[1] in known], 2)


def first_paper(log):
    """dict of the outputs of rsc15, or None if nothing is left somewhere."""
    log = _long(_common(_long(log, 2), 5), 2)
    if not log:
        return None
    train, test = _paper_split(log)
    if not train:
        return None
    inner, valid = _paper_split(train)
    out = {"rsc15_train_full.txt": train, "rsc15_test.txt": test, "rsc15_train_tr.txt": inner,
           "rsc15_train_valid.txt": valid}
    # as the literature cuts: every target with its session, newest sessions last, and then the last
    # 1/k of the targets
    last = {session: max(row[2] for row in train if row[0] == session)
            for session in {row[0] for row in train}}
    places = {session: [place for place, row in enumerate(train) if row[0] == session]
              for session in last}
    targets = []
    for session in sorted(last, key=lambda s: (last[s], s)):
        targets += [(session, place) for place in range(len(places[session]) - 1, 0, -1)]
    for k in (4, 64):
        newest, rows = targets[len(targets) - len(targets) // k:], set()
        for session, place in newest:
            in_order = sorted(places[session], key=lambda p: (train[p][2], p))
            rows.update(in_order[:place + 1])
        out["rsc15_train_full_%d.txt" % k] = [row for place,
                                              row in enumerate(train) if place in rows]
    return out


def study(log, days, gap_ms=None, support=5, least=2, most=None):
    """dict part -> rows of the 2023 protocol, or None if nothing is left."""
    log = sorted(log, key=lambda row: (row[0], row[2], row[1]))
    if gap_ms is not None:
        number, numbered = 0, []
        for place, (user, item, ms) in enumerate(log):
            before = log[place - 1]
            number += not place or before[0] != user or ms - before[2] > gap_ms
            numbered.append((number, item, ms))
        log = numbered
    log = [row for place, row in enumerate(log) if not place or log[place - 1][:2] != row[:2]]
    if most:
        size = Counter(row[0] for row in log)
        log = [row for row in log if size[row[0]] <= most]
    while True:
        smaller = _common(_long(log, least), support)
        if smaller == log:
            break
        log = smaller
    if not log:
        return None
    end, start = max(row[2] for row in log), {}
    for session, _, ms in log:
        start[session] = min(ms, start.get(session, ms))
    cut, earlier = end - days * DAY_MS, end - 2 * days * DAY_MS
    train = _long([row for row in log if row[2] < cut], least)
    return {"_train_full.txt": train, "_test.txt": [row for row in log if start[row[0]] >= cut],
            "_train_tr.txt": _long([row for row in train if row[2] < earlier], least),
            "_train_valid.txt": [row for row in train if start[row[0]] >= earlier]}


@FEW
@given(st.integers(0, 10 ** 6), st.integers(60, 160))
def test_rsc15_is_the_first_papers_preparation(tmp_path_factory, seed, size):
    log = random_log(seed, size, 5, 30, 9)
    text = "".join("%d,%s,%d,0\n" % (session, iso_text(ms), item) for session, item, ms in log)
    expected = first_paper(log)
    if expected is None:
        with pytest.raises(DataError, match="too small"):
            prepare(tmp_path_factory.mktemp("p"), "rsc15", text)
        return
    report, lines = prepare(tmp_path_factory.mktemp("p"), "rsc15", text)
    assert lines == {name: printed(rows) for name, rows in expected.items()}
    for name, rows in expected.items():
        found = report.outputs[name]
        assert (found["events"], found["sessions"], found["items"]) == (
            len(rows), len({row[0] for row in rows}), len({row[1] for row in rows}))
        assert sum(found["session_lengths"].values()) == found["sessions"]
    removed = sum(step["removed_events"] for step in report.steps[:3])
    assert report.read["events"] - removed == len(_long(_common(_long(log, 2), 5), 2))


def test_a_session_that_ends_exactly_a_day_before_the_end_is_test(tmp_path):
    log = [(s, 100, START_MS + s) for s in (1, 2, 3)
           for _ in "ab"] + [(9, 100, START_MS + 2 + DAY_MS)] * 2
    text = "".join("%d,%s,%d,0\n" % (s, iso_text(ms), item) for s, item,
                   ms in log + [(0, 100, START_MS - 5 * DAY_MS)] * 2)
    _, lines = prepare(tmp_path, "rsc15", text)
    assert [line[0] for line in lines["rsc15_test.txt"]] == ["2", "2", "3", "3", "9", "9"]
    assert [line[0] for line in lines["rsc15_train_full.txt"]] == ["1", "1", "0", "0"]
    assert [line[0] for line in lines["rsc15_train_valid.txt"]] == ["1", "1"]
    assert [line[0] for line in lines["rsc15_train_tr.txt"]] == ["0", "0"]


def test_the_studys_split_by_hand(tmp_path):
    """The last event is at day 2; an event at the split itself is no train event, a session that
    begins there is test.
    """
    day = 86400
    log = {1: (0, 1), 2: (day - 2, day - 1, day), 3: (day - 1, day), 4: (day, day + 1),
           5: (day + 5, 2 * day)}
    text = "SessionId,ItemId,Time\n" + "".join("%d,%d,%d\n" % (s, n, 1400000000 + t)
                                              for s, times in log.items() for n,
                                               t in enumerate(times))
    report, lines = prepare(tmp_path, "custom", text, "--min_support", 1)
    found = {name: [(int(line[0]), int(float(line.split("\t")[2])) - 1400000000) for line in part]
             for name, part in lines.items()}
    assert found == {"custom_train_full.txt": [(1, 0), (1, 1), (2, day - 2), (2, day - 1)],
                     "custom_test.txt": [(4, day), (4, day + 1), (5, day + 5), (5, 2 * day)],
                     "custom_train_tr.txt": [],
                     "custom_train_valid.txt": [(1, 0), (1, 1), (2, day - 2), (2, day - 1)]}
    assert report.notes[-1] == "custom_train_tr.txt holds no event"


def test_sessions_that_end_together_count_as_newer_by_their_id(tmp_path):
    log = [(s, 100, START_MS + k) for s in (3, 1, 2, 4)
           for k in range(3)] + [(9, 100, START_MS + 5 * DAY_MS)] * 2
    text = "".join("%d,%s,%d,0\n" % (s, iso_text(ms), item) for s, item, ms in log)
    _, lines = prepare(tmp_path, "rsc15", text, "--slices", "2,8")
    assert lines["rsc15_train_full_2.txt"] == printed(log[:3] + log[9:12])
    assert lines["rsc15_train_full_8.txt"] == printed(log[9:11])


def test_slices_by_sessions_are_whole_sessions(tmp_path):
    log = [(s, 100, START_MS + 1000 * s + k) for s in range(1, 10) for k in range(1 + s % 3 + 1)]
    log += [(99, 100, START_MS + 9 * DAY_MS + k) for k in range(2)]
    text = "".join("%d,%s,%d,0\n" % (s, iso_text(ms), item) for s, item, ms in log)
    _, lines = prepare(tmp_path, "rsc15", text, "--slices", "3", "--slice_by", "sessions")
    assert lines["rsc15_train_full_3.txt"] == printed([row for row in log if row[0] in (7, 8, 9)])
    assert "rsc15_train_full_4.txt" not in lines


@FEW
@given(st.integers(0, 10 ** 6), st.integers(60, 160), st.sampled_from([None, 1800, 3600]),
       st.sampled_from([None, 6]))
def test_the_studys_preparation(tmp_path_factory, seed, size, gap, most):
    log = random_log(seed, size, 5, 25, 9)
    text = "who\twhat\twhen\n" + "".join("%d\t%d\t%d\n" % row for row in log)
    flags = ["--item_key", "what", "--time_key", "when", "--last_days", 1, "--min_support", 3]
    flags += ["--user_key", "who", "--gap", gap] if gap else ["--session_key", "who"]
    flags += ["--max_length", most] if most else []
    expected = study(log, 1, gap and 1000 * gap, 3, 2, most)
    if expected is None:
        with pytest.raises(DataError, match="too small"):
            prepare(tmp_path_factory.mktemp("p"), "custom", text, *flags)
        return
    report, lines = prepare(tmp_path_factory.mktemp("p"), "custom", text, *flags)
    assert lines == {"custom" + part: printed(rows) for part, rows in expected.items()}
    assert report.time_unit == "ms"


@FEW
@given(st.integers(0, 10 ** 6), st.integers(40, 160))
def test_yoochoose_takes_several_files(tmp_path_factory, seed, size):
    log = random_log(seed, size, 5, 20, 6)
    lines = ["%d,%s,%d,0\n" % (session, iso_text(ms), item) for session, item, ms in log]
    directory = tmp_path_factory.mktemp("p")
    (directory / "b.dat.gz").write_bytes(gzip.compress("".join(lines[:30]).encode()))
    expected = study(log, 1)
    if expected is not None:
        _, found = prepare(directory, "yoochoose", "".join(lines[30:]),
                           also=[directory / "b.dat.gz"])
        assert found == {"yoochoose" + part: printed(rows) for part, rows in expected.items()}


# Raw formats, with answers by hand

def test_diginetica_counts_milliseconds_from_the_sessions_first_day(tmp_path):
    text = ("sessionId;userId;itemId;timeframe;eventdate\n1;NA;81766;526309;2016-05-09\n"
            "1;;31331;1031018;2016-05-10\n2;7;81766;5;2016-05-10\n")
    _, lines = prepare(tmp_path, "diginetica", text, *KEEP_ALL)
    day = 1462752000
    assert lines["diginetica_full.txt"] == ["1\t81766\t%r" % (day + 526.309),
                                            "1\t31331\t%r" % (day + 1031.018),
                                            "2\t81766\t%r" % (day + 86400.005)]


def test_retailrocket_keeps_views_and_cuts_at_an_hour(tmp_path):
    text = ("timestamp,visitorid,event,itemid,transactionid\n1433221332117,7,view,355,\n"
            "1433224932117,7,view,356,\n1433224932118,7,addtocart,357,\n"
            "1433228532118,7,view,355,\n1433221332000,3,view,1,\n1,3,transaction,1,5\n")
    report, lines = prepare(tmp_path, "retailrocket", text, *KEEP_ALL)
    assert lines["retailrocket_full.txt"] == ["1\t1\t1433221332.0", "2\t355\t1433221332.117",
                                              "2\t356\t1433224932.117",
                                              "3\t355\t1433228532.118"]
    assert report.steps[0]["removed_events"] == 2
    _, lines = prepare(tmp_path, "retailrocket", text,
                       *KEEP_ALL + ("--event_types", "transaction,addtocart"))
    assert lines["retailrocket_full.txt"] == ["1\t1\t0.001", "2\t357\t1433224932.118"]


def test_rees46(tmp_path):
    text = ('event_time,event_type,product_id,category_id,category_code,brand,price,user_id,'
            'user_session\n'
            '2019-10-01 00:00:00 UTC,view,44600062,2103807459595387724,,shiseido,35.79,'
            '541312140,72d76fde\n'
            '2019-10-01 00:00:01 UTC,cart,3900821,2053013552326770905,a.b,"a,b",33.20,'
            '554748717,9333dfbd\n'
            '2019-10-01 00:00:02 UTC,view,3900821,2053013552326770905,a.b,"a,b",33.20,'
            '554748717,9333dfbd\n')
    _, lines = prepare(tmp_path, "rees46", text, *KEEP_ALL)
    assert lines["rees46_full.txt"] == ["1\t44600062\t1569888000.0", "2\t3900821\t1569888002.0"]


def test_coveo_ids_stay_text(tmp_path):
    text = ("session_id_hash,event_type,product_action,product_skus_hash,"
            "server_timestamp_epoch_ms,hashed_url\n"
            "20c4,event_product,detail,d5157,1550885210881,7e4527\n20c4,pageview,,,1550885210882,7e4527\n"
            "12,event_product,detail,a1,1550885213307,4ed279\n")
    _, lines = prepare(tmp_path, "coveo", text, *KEEP_ALL)
    assert lines["coveo_full.txt"] == ["12\ta1\t1550885213.307", "20c4\td5157\t1550885210.881"]


def otto_line(session, *events):
    return json.dumps({"session": session, "events": [{"aid": a, "ts": t, "type": kind} for a, t,
                                                      kind in events]}) + "\n"


def test_otto(tmp_path):
    text = otto_line(0, (5, 1659304800025, "clicks"), (6, 1659304800026, "carts"),
                     (7, 1659304800030, "clicks"))
    text += otto_line(3, (5, 1659304800000, "orders"))
    report, lines = prepare(tmp_path, "otto", text, *KEEP_ALL)
    assert lines["otto_full.txt"] == ["0\t5\t1659304800.025", "0\t7\t1659304800.03"]
    _, lines = prepare(tmp_path, "otto", text, *KEEP_ALL + ("--event_types", "clicks,orders"))
    assert lines["otto_full.txt"][-1] == "3\t5\t1659304800.0"


def test_otto_bad_lines(tmp_path, caplog):
    good = "".join(otto_line(n, (5, 1659304800025, "clicks")) for n in range(250))
    bad = 'no json\n{"session": "x", "events": []}\n'
    with caplog.at_level("WARNING", logger="gru4rec"):
        report, _ = prepare(tmp_path, "otto", good + bad, *KEEP_ALL)
    assert report.files == [{"file": "raw.csv", "rows": 252, "bad_rows": 2}]
    assert "line 251 does not parse: 'no json'" in caplog.text
    with pytest.raises(DataError,
                       match=r"raw.csv: line 11: 3 of 13 rows \(23.1 %\) do not parse, first 'no "
                             r"json'"):
        prepare(tmp_path, "otto",
                "".join(good.splitlines(True)[:10]) + bad + otto_line(1, (None, 5, "clicks")))


def test_recbole_and_session_rec_headers(tmp_path):
    text = ("session_id:token\titem_id:token\ttimestamp:float\trating:float\n"
            "s1\t7\t1411978673.195\t1\ns0\t8\t2\t1\n")
    _, lines = prepare(tmp_path, "recbole", text, *KEEP_ALL, name="a.inter")
    assert lines["recbole_full.txt"] == ["s0\t8\t2.0", "s1\t7\t1411978673.195"]
    text = "SessionId\tItemId\tTime\tUserId\n10\t7\t1411978673.195\t4\n9\t8\t2\t4\n"
    _, lines = prepare(tmp_path, "session-rec", text, *KEEP_ALL)
    assert lines["session-rec_full.txt"] == ["9\t8\t2.0", "10\t7\t1411978673.195"]


def test_parquet(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    times = pandas.to_datetime(["2020-01-01T00:00:01", "2020-01-02T00:00:00"])
    frame = pandas.DataFrame({"u": ["b", "a"], "i": [3, 4], "t": times})
    frame.to_parquet(str(tmp_path / "raw.csv"))
    flags = KEEP_ALL + ("--session_key", "u", "--item_key", "i", "--time_key", "t")
    _, lines = prepare(tmp_path, "custom", None, *flags)
    assert lines["custom_full.txt"] == ["a\t4\t1577923200.0", "b\t3\t1577836801.0"]
    with pytest.raises(DataError, match="column 'z' is missing"):
        prepare(tmp_path, "custom", None,
                *KEEP_ALL + ("--session_key", "z", "--item_key", "i", "--time_key", "t"))


def test_parquet_with_a_zone_and_bad_rows(tmp_path, request, caplog):
    pandas, pyarrow = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    request.addfinalizer(time.tzset)  # runs after monkeypatch has put TZ back
    # of this machine: it must not matter
    request.getfixturevalue("monkeypatch").setenv("TZ", "America/New_York")
    time.tzset()
    frame = pandas.DataFrame({"SessionId": [str(n) for n in range(200)], "ItemId": [5.0] * 200,
                              "Time": pandas.to_datetime(list(range(1400000000, 1400000200)),
                                                         unit="s", utc=True)})
    frame.loc[100, "ItemId"], frame.loc[120, "SessionId"] = float("nan"), ""
    frame["Time"] = frame["Time"].dt.tz_convert("Asia/Tokyo")
    table = pyarrow.Table.from_pandas(frame)
    # NaN stays NaN, no missing value
    table = table.set_column(1, "ItemId", pyarrow.array(frame["ItemId"].tolist()))
    parquet.write_table(table, str(tmp_path / "raw.csv"))
    with caplog.at_level("WARNING", logger="gru4rec"):
        report, lines = prepare(tmp_path, "custom", None, *KEEP_ALL)
    assert lines["custom_full.txt"][:2] == ["0\t5.0\t1400000000.0", "1\t5.0\t1400000001.0"]
    assert report.files[0]["bad_rows"] == 2
    assert [record.getMessage().split(" does not")[0][-7:]
            for record in caplog.records] == ["row 101", "row 121"]


# Columns, ids, times

@pytest.mark.parametrize("time,unit",
                         [("1411978673.25", "s"), ("1411978673250", "ms"),
                          ("1411978673250000", "us"),
                                       ("1411978673250000000", "ns"), ("1.41197867325e9", "s")])
def test_the_unit_of_time_is_guessed(tmp_path, time, unit):
    report, lines = prepare(tmp_path, "custom", custom([time]), *KEEP_ALL)
    assert lines["custom_full.txt"] == ["1\t5\t1411978673.25"] and report.time_unit == unit


def test_iso_times_in_every_zone(tmp_path):
    times = {"2014-04-07T10:51:09.277Z": 1396867869.277, "2014-04-07 10:51:09": 1396867869.0,
             "2014-04-07": 1396828800.0,
             "2014-04-07T10:51:09+02:00": 1396860669.0, "2014-04-07T10:51:09-0230": 1396876869.0,
             "2014-04-07T10:51:09.5+02": 1396860669.5, "2014-04-07 10:51:09 UTC": 1396867869.0}
    report, lines = prepare(tmp_path, "custom", custom(times), *KEEP_ALL)
    assert lines["custom_full.txt"] == ["%d\t5\t%r" % row for row in enumerate(times.values(), 1)]
    assert report.time_unit == "iso-8601"


def test_the_first_row_does_not_settle_what_times_are(tmp_path):
    report, lines = prepare(tmp_path, "custom", custom(["yesterday"] + [1400000000] * 120),
                            *KEEP_ALL)
    assert report.time_unit == "s" and report.files[0]["bad_rows"] == 1
    assert len(lines["custom_full.txt"]) == 120
    report, lines = prepare(tmp_path, "custom", custom([1400000000] + ["2014-04-07"] * 120),
                            *KEEP_ALL)
    assert report.time_unit == "iso-8601" and report.files[0]["bad_rows"] == 1
    assert len(lines["custom_full.txt"]) == 120


@pytest.mark.parametrize("unit", [1, 1000, 10 ** 6, 10 ** 9])
def test_a_time_of_another_unit_is_a_bad_row(tmp_path, unit):
    """It would be a day years away, and the last day of the log."""
    times = [1400000000 * unit + n for n in range(300)] + [1400000000 * (unit // 1000 or 1000)]
    report, lines = prepare(tmp_path, "custom", custom(times), *KEEP_ALL)
    assert report.files[0]["bad_rows"] == 1 and len(lines["custom_full.txt"]) == 300


def test_files_with_other_kinds_of_time_do_not_mix(tmp_path):
    (tmp_path / "b.csv").write_text(custom([1400000000000]))
    with pytest.raises(DataError,
                       match="b.csv: its times are taken as ms, those of the files before it as s; "
                             "give files"):
        prepare(tmp_path, "custom", custom([1400000000]), also=[tmp_path / "b.csv"])


def test_ids_that_are_no_canonical_numbers_stay_text(tmp_path):
    _, lines = prepare(tmp_path, "custom", custom([1, 2, 3], ["10", "9", "007"]), *KEEP_ALL)
    assert [line.split("\t")[0] for line in lines["custom_full.txt"]] == ["007", "10", "9"]
    times = [1, 2, 3] * 50
    _, lines = prepare(tmp_path, "custom",
                       custom(times + ["x"], ["10", "9", "7"] * 50 + ["bad row"]), *KEEP_ALL)
    assert [line.split("\t")[0]
            for line in lines["custom_full.txt"]] == ["7"] * 50 + ["9"] * 50 + ["10"] * 50


def test_kinds_of_event_of_a_custom_log(tmp_path):
    text = "s;i;t;kind\n1;5;100;view\n1;6;101;buy\n1;7;102;click\n1;8;103;\n"
    flags = ("--session_key", "s", "--item_key", "i", "--time_key", "t", "--event_key", "kind",
             "--event_types",
             "view,click")
    _, lines = prepare(tmp_path, "custom", text, *KEEP_ALL + flags)
    assert lines["custom_full.txt"] == ["1\t5\t100.0", "1\t7\t102.0"]


def test_ratio_takes_the_newest_sessions(tmp_path):
    rows = [(s, i, 1000 * s + i) for s in range(1, 11) for i in (1, 2)]
    text = "SessionId,ItemId,Time\n" + "".join("%d,%d,%d\n" % row for row in rows)
    _, lines = prepare(tmp_path, "custom", text, "--min_support", 1, "--split", "ratio", "--ratio",
                       "0.3")
    sessions = {name: sorted({int(line.split("\t")[0]) for line in part}) for name,
                part in lines.items()}
    assert sessions == {"custom_train_full.txt": [1, 2, 3, 4, 5, 6, 7],
                        "custom_test.txt": [8, 9, 10],
                        "custom_train_tr.txt": [1, 2, 3, 4, 5], "custom_train_valid.txt": [6, 7]}


def test_last_n_days_is_another_name_for_last_days(tmp_path):
    log = random_log(3, 150, 9, 30, 4)
    text = "SessionId,ItemId,Time\n" + "".join("%d,%d,%d\n" % row for row in log)
    _, by_split = prepare(tmp_path, "custom", text, "--split", "last-2-days")
    _, by_days = prepare(tmp_path, "custom", text, "--last_days", 2)
    assert by_split == by_days == {"custom" + part: printed(rows) for part,
                                   rows in study(log, 2).items()}


def test_names_that_look_like_patterns_and_quotes_in_paths(tmp_path):
    _, lines = prepare(tmp_path, "custom", custom([1]), *KEEP_ALL, name="a[1]*'x.csv")
    assert lines["custom_full.txt"] == ["1\t5\t1.0"]


# Bad rows

def clicks(number):
    return ["%d,2014-04-07T10:51:09.277Z,5,0" % (n // 2) for n in range(number)]


def test_bad_rows_are_counted_and_shown_with_their_lines(tmp_path, caplog):
    rows = clicks(2000)
    for place, text in ((3, "1,yesterday,5,0"), (10, ""), (20, "1,2014-04-07T10:51:09.277Z,,0"),
                        (30, "1,2"),
                        (40, "1,2014-04-07T10:51:09.277Z,5,0,9,9"),
                        (50, "x1,2014-04-07T10:51:09.277Z,5,0"),
                        (60, "1.5,2014-04-07T10:51:09.277Z,5,0"),
                        (70, "1,2014-02-30T10:51:09.277Z,5,0")):
        rows[place] = text
    with caplog.at_level("WARNING", logger="gru4rec"):
        report, _ = prepare(tmp_path, "yoochoose", "\r\n".join(rows), *KEEP_ALL)
    assert report.files == [{"file": "raw.csv", "rows": 1999, "bad_rows": 7}]
    shown = [record.getMessage().split(": ", 1)[1] for record in caplog.records]
    assert shown == ["line %d does not parse: %r" % (place + 1, rows[place])
                     for place in (3, 20, 30, 40, 50)]


def test_rows_of_other_kinds_of_event_are_never_bad(tmp_path):
    text = "SessionId,ItemId,Time,kind\n" + "1,5,100,view\n,,soon,buy\nx,y,,\n" * 20
    report, lines = prepare(tmp_path, "custom", text,
                            *KEEP_ALL + ("--event_key", "kind", "--event_types", "view"))
    assert report.files == [{"file": "raw.csv", "rows": 60, "bad_rows": 0}]
    assert lines["custom_full.txt"] == ["1\t5\t100.0"] * 20


def test_bad_rows_have_the_right_lines_where_newlines_are_in_quotes(tmp_path, caplog):
    good = '1,"a\n\nb ""x"", c",5,1400000000\n'
    bad = ['1,"z\nz",5,soon', "1,z,5,late", '1,"z"q,5,1400000000', '1,"v\nw","",1400000000',
           '1,z,"a\nb",1400000000',
           "1,z,5\0,1400000000"]
    text = "SessionId,title,ItemId,Time\n" + good * 200 + "\n".join(bad) + "\n" + good * 500
    with caplog.at_level("WARNING", logger="gru4rec"):
        report, _ = prepare(tmp_path, "custom", text, *KEEP_ALL)
    assert report.files == [{"file": "raw.csv", "rows": 706, "bad_rows": 6}]
    shown = [record.getMessage().split(": ", 1)[1] for record in caplog.records]
    assert shown == ["line %d does not parse: %r" % row
                     for row in zip((602, 604, 605, 606, 608), bad)]


def test_bytes_that_are_not_utf_8(tmp_path):
    """They matter in an id or time; DuckDB 1.3 and 1.4 break there, unless every column is read."""
    rows = ["x,%d,x,%d,x,%d" % (n, n, 1400000000 + n) for n in range(800)]
    for place in range(6):
        fields = ["x", "7", "x", "7", "x", "1400000007"]
        fields[place] += "\xff"
        rows[50 + place] = ",".join(fields)
    text = "a,SessionId,b,ItemId,c,Time\n" + "\n".join(rows)
    report, lines = prepare(tmp_path, "custom", text.encode("latin1"), *KEEP_ALL)
    bad = report.files[0]["bad_rows"]
    assert report.files[0]["rows"] == 800 and bad in (3, 6)
    assert len(lines["custom_full.txt"]) == 800 - bad


def test_numbers_too_large_for_a_time_are_bad_rows(tmp_path):
    huge = str(2 ** 63 - 1)
    text = "timestamp,visitorid,event,itemid\n" + "1433221332117,1,view,5\n" * 150
    assert prepare(tmp_path, "retailrocket", text + huge + ",1,view,5\n",
                   *KEEP_ALL)[0].files[0]["bad_rows"] == 1
    text = "".join(otto_line(1, (5, 1659304800025, "clicks")) for _ in range(150))
    report, _ = prepare(tmp_path, "otto", text + otto_line(1, (5, 2 ** 63 - 1, "clicks")),
                        *KEEP_ALL)
    assert report.files[0]["bad_rows"] == 1


def test_more_than_one_bad_row_in_a_hundred_stops(tmp_path):
    rows = clicks(100) + ["1,x,5,0"]
    prepare(tmp_path, "yoochoose", "\n".join(rows), *KEEP_ALL)
    shutil.rmtree(str(tmp_path / "out"))
    with pytest.raises(DataError,
                       match=r"raw.csv: line 101: 2 of 102 rows \(2.0 %\) do not parse, first "
                             r"'1,x,5,0'"):
        prepare(tmp_path, "yoochoose", "\n".join(rows + ["2,x,5,0"]), *KEEP_ALL)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content,problem", [
    (b"", "the file is empty"), (b"SessionId,ItemId,Time\n", "there is no event"),
    (b"a,b,c\n1,2,3\n", r"line 1: column 'SessionId' is missing; the header has 'a', 'b', 'c'"),
    (b"7z\xbc\xaf\x27\x1c..", "an archive"), (b"\xfd7zXZ\0..", "an archive"),
    (b"\x1f\x8bbroken", "cannot be read"),
    (gzip.compress(bytes(range(256)) * 400)[:-9], "cannot be read: Compressed file ended"),
    (gzip.compress(custom([1] * 30).encode())[:-8] + b"12345678", "cannot be read: CRC"),
    (b"SessionId,ItemId,Time\n1,2,\xff\n", "do not parse"),
    (b"x" * 200000, "column 'SessionId' is missing"),
    ("SessionId,ItemId,Time\n".encode("utf-16"), "column 'SessionId' is missing"),
    (b"SessionId,ItemId,Time,Time\n1,2,3,3\n", "line 1: column 'Time' is there more than once")],
    ids=["empty", "header", "other columns", "7z", "xz", "broken gzip", "cut gzip",
         "gzip of another checksum", "not UTF-8",
         # gzip has the time in it, and two processes must name tests alike
         "no line", "UTF-16", "column twice"])
def test_unusable_files(tmp_path, content, problem):
    with pytest.raises(DataError, match=problem):
        prepare(tmp_path, "custom", content)
    assert not (tmp_path / "out").exists()


def test_line_ends(tmp_path):
    text = custom(range(1, 400))
    expected = prepare(tmp_path, "custom", text, *KEEP_ALL)[1]
    for end in ("\r\n", "\r"):
        assert prepare(tmp_path, "custom", "\ufeff" + text.replace("\n", end),
                       *KEEP_ALL)[1] == expected
    try:  # DuckDB before 1.3 can read it
        assert prepare(tmp_path, "custom", text.replace("\n", "\r\n", 200),
                       *KEEP_ALL)[0].files[0]["bad_rows"]
    except DataError as error:
        assert "raw.csv: this CSV is not consistent: some lines end in" in str(error)


def test_what_is_no_file_or_given_twice(tmp_path):
    with pytest.raises(DataError, match="raw.csv: the file is given twice"):
        prepare(tmp_path, "custom", custom([1]), also=[tmp_path / "." / "raw.csv"])
    os.mkfifo(str(tmp_path / "pipe"))
    with pytest.raises(DataError, match="pipe: this is no file; give a regular file"):
        prepare(tmp_path, "custom", None, name="pipe")


def test_a_missing_file(tmp_path):
    with pytest.raises(DataError, match="raw.csv: cannot be read: No such file"):
        prepare(tmp_path, "custom", None)


PUBLIC = {name: known for name, known in DATASETS.items() if known.files}


def test_every_public_dataset_names_its_files_and_where_to_get_them():
    assert sorted(PUBLIC) == ["coveo", "diginetica", "otto", "rees46", "retailrocket", "rsc15",
                              "yoochoose"]
    assert all("https://" in known.origin for known in PUBLIC.values())


@pytest.mark.parametrize("dataset", sorted(PUBLIC))
def test_a_directory_stands_for_the_files_of_the_dataset_in_their_order(tmp_path, dataset):
    names = list(PUBLIC[dataset].files)
    names[-1] += ".gz"
    for name in names:
        (tmp_path / name).write_text("x")
    parsed = cli.parse([dataset, str(tmp_path), "--out", "o"])
    assert parsed.raw == tuple(str(tmp_path / name) for name in names)


@pytest.mark.parametrize("dataset", sorted(PUBLIC))
def test_a_directory_without_the_file_says_where_to_get_it(tmp_path, dataset):
    for name in PUBLIC[dataset].files[:-1]:
        (tmp_path / name).write_text("x")
    with pytest.raises(DataError) as caught:
        cli.parse([dataset, str(tmp_path), "--out", "o"])
    message = str(caught.value)
    assert message.startswith("%s: there is no %s" % (tmp_path, PUBLIC[dataset].files[-1]))
    assert message.endswith("; get it from " + PUBLIC[dataset].origin)


def test_a_directory_for_a_log_without_a_name(tmp_path):
    with pytest.raises(DataError, match="the files of custom have no names of their own"):
        cli.parse(["custom", str(tmp_path), "--out", "o"])


# Outputs

def test_outputs_that_are_there_are_refused_and_nothing_else_is_left(tmp_path):
    prepare(tmp_path, "custom", custom([1]), *KEEP_ALL)
    words = ["custom", str(tmp_path / "raw.csv"), "--out",
             str(tmp_path / "out")] + [str(word) for word in KEEP_ALL]
    with pytest.raises(InputError,
                       match="custom_full.txt is there already; give another --out, or --overwrite "
                             "1"):
        job.run(cli.parse(words))
    assert sorted(os.listdir(str(tmp_path / "out"))) == ["custom_full.txt", "custom_summary.json"]
    os.remove(str(tmp_path / "out" / "custom_full.txt"))
    # a directory cannot be replaced: nothing else is either
    (tmp_path / "out" / "custom_full.txt").mkdir()
    (tmp_path / "out" / "custom_summary.json").write_text("old")
    with pytest.raises(InputError, match="custom_full.txt is there already"):
        job.run(cli.parse(words + ["--overwrite", "1"]))
    assert (tmp_path / "out" / "custom_summary.json").read_text() == "old"


def test_an_output_that_another_run_left_is_named(tmp_path, caplog):
    prepare(tmp_path, "custom", custom([1]), *KEEP_ALL)
    with caplog.at_level("WARNING", logger="gru4rec"):
        prepare(tmp_path, "custom", custom(range(0, 10 ** 6, 10000)), "--min_support", 1,
                "--min_length", 1)
    assert [record.getMessage().split("/")[-1] for record in caplog.records] == [
        "custom_full.txt is of an earlier run, not of this one"]


def test_outputs_of_a_quicker_run_are_not_replaced(tmp_path, monkeypatch):
    (tmp_path / "raw.csv").write_text(custom([1]))
    words = ["custom", str(tmp_path / "raw.csv"), "--out",
             str(tmp_path / "o")] + [str(word) for word in KEEP_ALL]
    study, output = study_module.study, tmp_path / "o" / "custom_full.txt"
    monkeypatch.setattr(study_module, "study", lambda *args: study(*args) or output.write_text("x"))
    with pytest.raises(InputError, match="custom_full.txt is there already"):
        job.run(cli.parse(words))
    assert os.listdir(str(tmp_path / "o")) == ["custom_full.txt"] and output.read_text() == "x"


def test_after_an_error_no_new_directory_is_left(tmp_path):
    (tmp_path / "raw.csv").write_text("a,b\n")
    with pytest.raises(DataError):
        job.run(cli.parse(["custom", str(tmp_path / "raw.csv"), "--out",
                           str(tmp_path / "data" / "a" / "b")]))
    assert os.listdir(str(tmp_path)) == ["raw.csv"]


def test_ids_of_every_kind_come_back_from_the_output(tmp_path):
    """What `gru4rec.main` reads is what the log held."""
    from gru4rec.data.reading.loader import load_events
    ids = ["a", "NA", "null", "007", "-0", "1.0", "nan", " x ", "a\tb", 'a"b', '"q"', '"', "a,b",
           "\u00e9", "\u2028"]
    rows = ['s%d,"%s",%d\n' % (n, item.replace('"', '""'), n) for n, item in enumerate(ids)]
    prepare(tmp_path, "custom", "SessionId,ItemId,Time\n" + "".join(rows), *KEEP_ALL)
    events = load_events(str(tmp_path / "out" / "custom_full.txt"))
    assert dict(zip(events.session, events.item)) == {"s%d" % n: item for n, item in enumerate(ids)}


def test_two_runs_and_any_number_of_threads_give_the_same_bytes(tmp_path):
    log = random_log(1, 3000, 5, 300, 50)
    text = "SessionId,ItemId,Time\n" + "".join("%d,%d,%d\n" % row for row in log)
    found = []
    for threads in (1, 2, 4):
        prepare(tmp_path, "custom", text, "--threads", threads)
        found.append({name: (tmp_path / "out" / name).read_bytes()
                      for name in os.listdir(str(tmp_path / "out"))})
    assert found[0] == found[1] == found[2] and len(found[0]) == 5
    outputs = json.loads(found[0]["custom_summary.json"].decode())["outputs"]
    assert outputs["custom_test.txt"]["events"] > 0


def test_length_bins():
    assert [length_bin(n) for n in (1, 10, 11, 20, 21, 200, 201, 9999)] == [
        "1", "10", "11-20", "11-20", "21-50", "101-200", "201+", "201+"]


# Flags

@pytest.mark.parametrize("flags,problem", [
    (["rsc16", "f"], "DATASET 'rsc16' is unknown; use one of: coveo, custom,"),
    (["rsc15", "f", "--gap", "5"], "--gap has no meaning for rsc15"),
    (["otto", "f", "--slices", "4"], "--slices has no meaning for otto"),
    (["rees46", "f", "--item_key", "x"], "--item_key has no meaning for rees46"),
    (["custom", "f", "--event_types", "view"], "give both --event_types "),
    (["custom", "f", "--user_key", "u", "--session_key", "s"], "exclude each other"),
    (["custom", "f", "--split", "last-0-days"], "is not last-day, last-N-days"),
    (["custom", "f", "--split", "weekly"], "'weekly' is not last-day, last-N-days"),
    (["custom", "f", "--ratio", "0.5"], "without --split ratio"),
    (["rsc15", "f", "--slices", "4,x"], "'4,x' is not none or different whole numbers"),
    (["rsc15", "f", "--slices", "4,4"], "is not none or different"),
    (["retailrocket", "f", "--event_types", " , "], "is not a list of kinds of event"),
    (["custom", "f", "--split", "ratio", "--ratio", "0"], "--ratio 0 is out of range"),
    (["custom", "f", "--last_days", "0"], "--last_days 0 is out of range"),
    (["custom", "f", "--split", "ratio", "--last_days", "2"], "exclude each other"),
    (["yoochoose", "f", "--event_types", "view"], "--event_types has no meaning for yoochoose"),
    (["custom", "f", "--gap", "1e308"], "--gap 1e308 is out of range"),
    (["custom", "f", "--memory", "1e30"], "--memory 1e30 is out of range"),
    (["custom", "f", "--min_support", "0"], "it must be at least 1"),
    (["custom", "f", "--min_support", "x"], "--min_support 'x' is not a whole number"),
    (["custom", "f", "--gap", "nan"], "--gap nan is out of range")])
def test_flags_that_cannot_be(flags, problem):
    with pytest.raises(ConfigError, match=problem):
        cli.parse(flags + ["--out", "o"])


@pytest.mark.realdata
def test_rsc15_test_day_counts(tmp_path, realdata):
    raw = os.path.join(realdata, "rsc15_test_day", "rsc15_test.txt.gz")
    report = job.run(cli.parse(["session-rec", raw, "--out",
                                str(tmp_path)] + [str(word) for word in KEEP_ALL]))
    assert report.read == {"events": 71222, "sessions": 15324, "items": 6751}
    assert report.outputs["session-rec_full.txt"]["targets"] == 55898
    with gzip.open(raw, "rt") as lines:
        header, *rows = lines.read().splitlines()
    wanted = sorted(rows,
                    key=lambda row: (int(row.split("\t")[0]), float(row.split("\t")[2]),
                                     int(row.split("\t")[1])))
    assert (tmp_path / "session-rec_full.txt").read_text().splitlines() == [header] + wanted

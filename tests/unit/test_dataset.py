"""Dataset directories: a worker's share is, bit for bit, what it would have from the plain file;
and what is refused.
"""

import json
import os
import random
import shutil
import sys

import numpy as np
import pytest

pytest.importorskip("duckdb", reason="the extra `prepare` is not installed")
arrow = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")

from pyarrow import parquet  # noqa: E402

from gru4rec import config  # noqa: E402
from gru4rec.data import dataset, sessions  # noqa: E402
from gru4rec.data.epochs import Share, shard  # noqa: E402
from gru4rec.data.reading.loader import load_events  # noqa: E402
from gru4rec.data.vocab import Vocabulary  # noqa: E402
from gru4rec.errors import ConfigError, DataError, InputError  # noqa: E402
from gru4rec.files import hashes  # noqa: E402
from gru4rec.parallel.workers import ALONE, Workers  # noqa: E402
from gru4rec.prepare import cli, engine, job, partitions  # noqa: E402
from gru4rec.training import events as training_events  # noqa: E402

START = 1396861869
KEEP_ALL = ("--min_support", "1", "--min_length", "1", "--drop_repeats", "0", "--split", "none")
STUDY = ("--min_support", "1", "--min_length", "1")


def prepare(directory, text, *flags, **more):
    """str, the directory of the outputs."""
    raw, out = directory / "raw.csv", str(directory / more.get("out", "out"))
    raw.write_text(text, encoding="utf-8")
    job.run(cli.parse([more.get("kind", "custom"), str(raw), "--out", out, "--memory", "0.5",
                       "--threads", "2"]
                      + list(flags)))
    return out


def rsc15_log(seed=0, num_sessions=900):
    """Sessions of one to five events over five days, with ties of time, rows in any order."""
    draw, rows = random.Random(seed), []
    for number in range(num_sessions):
        second = draw.randrange(5 * 86400 - 10)
        for _ in range(draw.randrange(1, 6)):
            now = second + draw.randrange(4)
            rows.append("%d,2014-04-%02dT%02d:%02d:%02d.%03dZ,%d,0\n" % (
                number * 7 % 997, 1 + now // 86400, now // 3600 % 24, now // 60 % 60, now % 60,
                draw.randrange(3),
                draw.randrange(60)))
    draw.shuffle(rows)
    return "".join(rows)


def custom_log(session, item, seed=0, num_sessions=120):
    """Columns SessionId, ItemId, Time; session, item: functions of a number."""
    draw, rows = random.Random(seed), []
    for number in range(num_sessions):
        for _ in range(draw.randrange(1, 5)):
            rows.append("%s,%s,%d\n" % (session(number), item(draw.randrange(30)),
                                        START + 3000 * number + draw.randrange(3)))
    draw.shuffle(rows)
    return "SessionId,ItemId,Time\n" + "".join(rows)


def assert_same(ours, theirs):
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)


def assert_is_the_plain_file(out, name, num_partitions):
    """Every worker of every fitting number of workers has what the plain file gives it."""
    vocabulary, whole, report = sessions.index_train(load_events(os.path.join(out, name + ".txt")))
    path = os.path.join(out, name + ".parquet")
    for size in (size for size in range(1, num_partitions + 1) if num_partitions % size == 0):
        for rank in range(size):
            ours, mine, about = dataset.read(path, Workers(size, rank))
            share = shard(whole, Workers(size, rank))
            assert_same(ours.ids, vocabulary.ids)
            assert_same(ours.support, vocabulary.support)
            assert_same(mine.items, share.items)
            assert_same(mine.offsets, share.offsets)
            assert about == report._replace(events=share.num_events, sessions=share.num_sessions,
                                            targets=share.num_targets)
    return vocabulary


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """str, outputs of rsc15 with 6 partitions, read-only."""
    return prepare(tmp_path_factory.mktemp("prepared"), rsc15_log(), "--partitions", "6",
                   kind="rsc15")


@pytest.fixture
def copy(prepared, tmp_path):
    """pathlib.Path of a copy of one dataset, to damage."""
    shutil.copytree(os.path.join(prepared, "rsc15_train_full.parquet"), str(tmp_path / "d"))
    return tmp_path / "d"


def test_each_training_file_has_a_dataset_and_no_other_file_has(prepared):
    assert sorted(name for name in os.listdir(prepared) if not name.endswith(".txt")) == [
        "rsc15_summary.json", "rsc15_train_full.parquet", "rsc15_train_full_4.parquet",
        "rsc15_train_full_64.parquet",
        "rsc15_train_tr.parquet"]
    assert sorted(os.listdir(os.path.join(prepared, "rsc15_train_tr.parquet"))) == [
        "dataset.json", "items.parquet"] + ["part-0000%d.parquet" % part for part in range(6)]


@pytest.mark.parametrize("name", ["rsc15_train_full", "rsc15_train_tr", "rsc15_train_full_4"])
def test_a_share_is_what_the_plain_file_gives(prepared, name):
    assert assert_is_the_plain_file(prepared, name, 6).is_integer


@pytest.mark.parametrize("seed,num_partitions,row_group,batch",
                         [(1, 1, 7, 5), (2, 8, 100, 3), (3, 5, 1 << 17, 1)])
def test_a_share_does_not_depend_on_row_groups_and_batches(tmp_path, monkeypatch, seed,
                                                           num_partitions, row_group, batch):
    monkeypatch.setattr(partitions, "_ROW_GROUP", row_group)
    monkeypatch.setattr(dataset, "_BATCH", batch)
    out = prepare(tmp_path, rsc15_log(seed, 200), "--partitions", str(num_partitions), "--slices",
                  "none", kind="rsc15")
    assert_is_the_plain_file(out, "rsc15_train_full", num_partitions)
    part = parquet.ParquetFile(os.path.join(out, "rsc15_train_full.parquet", "part-00000.parquet"))
    assert part.metadata.num_row_groups == -(-part.metadata.num_rows // row_group)


def test_text_ids(tmp_path):
    """Beyond ASCII too, which DuckDB 1.2 does not put in order by itself."""
    log = custom_log(lambda n: "sé%06d" % (n * 37 % 101 + n),
                     lambda n: "\U0001f600%d\uffff" % n if n % 2 else "%03d" % n)
    out = prepare(tmp_path, log, "--partitions", "4", *KEEP_ALL)
    assert not assert_is_the_plain_file(out, "custom_full", 4).is_integer


def test_ids_are_numbers_if_those_of_the_training_file_are(tmp_path):
    """Text occurs on the last day only, so that the loader takes the training file's ids for whole
    numbers.
    """
    text = custom_log(lambda n: n * 37 % 1000, lambda n: n)
    out = prepare(tmp_path, text + "x,y,%d\nx,z,%d\n" % ((START + 10 ** 6,) * 2), "--partitions",
                  "4", *STUDY)
    assert assert_is_the_plain_file(out, "custom_train_full", 4).is_integer
    assert assert_is_the_plain_file(out, "custom_train_tr", 4).is_integer


@pytest.mark.parametrize("batch", [2, 1 << 17])
def test_order_by_time_of_the_first_event_wherever_batches_end(tmp_path, monkeypatch, batch):
    """Sessions that run at the same time, so that a later event would give another order."""
    draw = random.Random(0)
    rows = ["%d,%d,%d\n" % (s, draw.randrange(9), START + s % 10 + draw.randrange(30))
            for s in range(100) for _ in range(5)]
    out = prepare(tmp_path, "SessionId,ItemId,Time\n" + "".join(rows), "--partitions", "2",
                  *KEEP_ALL)
    monkeypatch.setattr(dataset, "_BATCH", batch)
    _, whole, _ = sessions.index_train(load_events(os.path.join(out, "custom_full.txt")), "time")
    assert_same(dataset.read(os.path.join(out, "custom_full.parquet"), ALONE, "time")[1].items,
                whole.items)


def test_order_by_time(prepared):
    text = load_events(os.path.join(prepared, "rsc15_train_full.txt"))
    vocabulary, whole, report = sessions.index_train(text, "time")
    path = os.path.join(prepared, "rsc15_train_full.parquet")
    ours, mine, about = dataset.read(path, ALONE, "time")
    assert_same(ours.ids, vocabulary.ids)
    assert_same(mine.items, whole.items)
    assert_same(mine.offsets, whole.offsets)
    assert about == report
    share, by_time = (dataset.read(path, Workers(3, 1), order)[1] for order in ("id", "time"))
    split = [sorted(map(tuple, np.split(part.items, part.offsets[1:-1])))
             for part in (share, by_time)]
    assert split[0] == split[1] and not np.array_equal(share.items, by_time.items)
    with pytest.raises(ValueError, match="session_order 'size' is unknown"):
        dataset.read(path, ALONE, "size")


def test_parts_hold_the_events_of_the_plain_file(prepared):
    path = os.path.join(prepared, "rsc15_train_full.parquet")
    found = []
    for part in range(6):
        table = parquet.read_table(os.path.join(path, dataset.part_name(part))).to_pydict()
        assert list(table) == ["SessionId", "ItemId", "Time", "session_number"]
        assert {number % 6 for number in table["session_number"]} == {part}
        assert table["session_number"] == sorted(table["session_number"])
        found += zip(table["SessionId"], table["ItemId"], table["Time"])
    events = load_events(os.path.join(prepared, "rsc15_train_full.txt"))
    sizes = dict(zip(*np.unique(events.session, return_counts=True)))
    rows = zip(events.session.tolist(), events.item.tolist(), events.time.tolist())
    assert sorted(found) == [pytest.approx(row, abs=1e-6)
                             for row in sorted(r for r in rows if sizes[r[0]] > 1)]


def test_lengths_of_any_partition(prepared):
    path = os.path.join(prepared, "rsc15_train_full.parquet")
    for part in range(6):
        assert_same(dataset.lengths(path, part),
                    np.diff(dataset.read(path, Workers(6, part))[1].offsets))
    with pytest.raises(ValueError, match="partition 6 is not one of the 6"):
        dataset.lengths(path, 6)


def test_only_own_partitions_are_read(copy):
    for part in (0, 1, 3, 4):
        os.remove(str(copy / dataset.part_name(part)))
    dataset.read(str(copy), Workers(3, 2))
    with pytest.raises(DataError,
                       match="part-00000.parquet: cannot be read: No such file or directory; "
                             "restore the file"):
        dataset.read(str(copy), ALONE)
    with pytest.raises(DataError, match="part-00000.parquet: no such file; restore it"):
        dataset.lengths(str(copy), 0)


def test_the_bytes_are_the_same_from_run_to_run(tmp_path, monkeypatch):
    monkeypatch.setattr(partitions, "_ROW_GROUP", 100)
    log, found, batches = rsc15_log(5, 300), [], engine.Engine.batches

    def shorter(*args):
        for frame in batches(*args):
            for row in range(0, len(frame), 37):
                yield frame.iloc[row:row + 37].copy()
    for run, flags in enumerate((("--threads", "1"), ("--threads", "4", "--memory", "1"))):
        monkeypatch.setattr(engine.Engine, "batches", shorter if run else batches)
        out = prepare(tmp_path, log, "--partitions", "2", *flags, kind="rsc15", out="out%d" % run)
        path = os.path.join(out, "rsc15_train_full.parquet")
        found.append({name: open(os.path.join(path, name), "rb").read()
                      for name in os.listdir(path)})
    assert found[0] == found[1] and len(found[0]) == 4
    assert (dataset.digest(path)
            == dataset.digest(os.path.join(str(tmp_path / "out0"), "rsc15_train_full.parquet")))


def test_without_partitions_the_outputs_are_as_before(prepared, tmp_path):
    out = prepare(tmp_path, rsc15_log(), kind="rsc15")
    with open(os.path.join(out, "rsc15_summary.json")) as file:
        plain = json.load(file)
    with open(os.path.join(prepared, "rsc15_summary.json")) as file:
        parted = json.load(file)
    assert parted["options"].pop("partitions") == 6 and len(parted.pop("notes")) == 4
    assert plain.pop("notes") == []
    assert plain == parted
    assert not [name for name in os.listdir(out) if name.endswith(".parquet")]
    for name in os.listdir(out):
        if name.endswith(".txt"):
            with open(os.path.join(out,
                                   name)) as ours, open(os.path.join(prepared, name)) as theirs:
                assert ours.read() == theirs.read()


def test_a_dataset_is_replaced_only_if_asked_for(tmp_path, caplog):
    log = custom_log(str, str)
    out = prepare(tmp_path, log, "--partitions", "3", *KEEP_ALL)
    path = os.path.join(out, "custom_full.parquet")
    os.remove(os.path.join(out, "custom_full.txt"))
    with pytest.raises(InputError,
                       match="custom_full.parquet is there already; give another --out, or "
                             "--overwrite 1"):
        prepare(tmp_path, log, "--partitions", "2", *KEEP_ALL)
    prepare(tmp_path, log, "--partitions", "2", "--overwrite", "1", *KEEP_ALL)
    assert dataset.header(path).partitions == 2
    assert not os.path.exists(os.path.join(path, dataset.part_name(2)))
    assert sorted(os.listdir(out)) == ["custom_full.parquet", "custom_full.txt",
                                       "custom_summary.json"]
    with caplog.at_level("WARNING", logger="gru4rec"):
        prepare(tmp_path, log, "--overwrite", "1", *KEEP_ALL)
    assert [record.getMessage().split("/")[-1] for record in caplog.records] == [
        "custom_full.parquet is of an earlier run, not of this one"]
    os.remove(os.path.join(path, dataset.FILE))  # now any directory, which may hold anything
    with pytest.raises(InputError, match="custom_full.parquet is there already"):
        prepare(tmp_path, log, "--partitions", "2", "--overwrite", "1", *KEEP_ALL)


@pytest.mark.parametrize("place", ["dump", "_table"])
def test_a_disk_that_is_full_leaves_nothing(tmp_path, monkeypatch, place):
    def full(*_):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(dataset if place == "dump" else partitions._Parts, place, full)
    with pytest.raises(InputError, match="out cannot be written: No space left on device"):
        prepare(tmp_path, custom_log(str, str), "--partitions", "3", *KEEP_ALL)
    assert os.listdir(str(tmp_path)) == ["raw.csv"]


def test_a_signal_while_parts_are_written_leaves_nothing(tmp_path, monkeypatch):
    def stopped(*_):
        raise engine.Stopped(15)
    monkeypatch.setattr(partitions._Parts, "_add", stopped)
    with pytest.raises(engine.Stopped):
        prepare(tmp_path, custom_log(str, str), "--partitions", "3", *KEEP_ALL)
    assert os.listdir(str(tmp_path)) == ["raw.csv"]


def test_more_partitions_than_sessions(tmp_path):
    log = "SessionId,ItemId,Time\n" + "".join("%d,5,%d\n%d,6,%d\n" % (s, START, s, START + 1)
                                              for s in (3, 1, 2))
    out = prepare(tmp_path, log, "--partitions", "5", *KEEP_ALL)
    assert_same(dataset.read(os.path.join(out, "custom_full.parquet"), ALONE)[1].offsets,
                np.array([0, 2, 4, 6]))
    assert len(dataset.lengths(os.path.join(out, "custom_full.parquet"), 4)) == 0
    with pytest.raises(DataError,
                       match="custom_full.parquet: 3 sessions cannot be shared by 5 workers; start "
                             "fewer"):
        dataset.read(os.path.join(out, "custom_full.parquet"), Workers(5, 0))


def test_nothing_to_learn(tmp_path):
    out = prepare(tmp_path, "SessionId,ItemId,Time\n1,5,%d\n2,5,%d\n" % (START, START),
                  "--partitions", "2", *KEEP_ALL)
    with pytest.raises(DataError, match="none of its 2 sessions has two events"):
        dataset.read(os.path.join(out, "custom_full.parquet"), ALONE)


@pytest.mark.parametrize("value", ["0", "-1", "4097", "x", "1.5"])
def test_a_wrong_number_of_partitions(value):
    with pytest.raises(ConfigError, match="--partitions"):
        cli.parse(["rsc15", "raw.dat", "--out", "o", "--partitions", value])


# What is refused on reading

@pytest.mark.parametrize("size,words", [
    (7,
     "6 partitions, fewer than the 7 workers; prepare it again with python -m gru4rec.prepare "
     "--partitions 7"),
    (4,
     "6 partitions, not a multiple of the 4 workers; prepare it again .* --partitions 4 .or a "
     "multiple."),
])
def test_partitions_that_do_not_fit_the_workers(prepared, size, words):
    with pytest.raises(DataError, match=words):
        dataset.read(os.path.join(prepared, "rsc15_train_full.parquet"), Workers(size, 0))


@pytest.mark.parametrize("content,words", [
    (None,
     "cannot be read: No such file or directory; give a directory that gru4rec.prepare "
     "--partitions has written"),
    ("{", "no JSON .Expecting"),
    ("[" * 100000, "no JSON"),
    ("7", "its format is 7, this version reads 1; prepare it again"),
    ("{}", "its format is None, this version reads 1"),
    ({"format": 2}, "its format is 2, this version reads 1"),
    ({"events": -1}, "damaged: events is missing, wrong or contradicts the rest"),
    ({"items": True}, "damaged: items is"),
    ({"columns": {"session": "a", "item": 3, "time": "b"}}, "damaged: columns is"),
    ({"partitions": 5}, "damaged: parts is"),
    ({"parts": [{"rows": 3}]}, "damaged: parts is"),
    ({"sessions": 7}, "damaged: sessions is"),
])
def test_a_damaged_dataset_json(copy, content, words):
    file = copy / dataset.FILE
    if content is None:
        file.unlink()
    else:
        file.write_text(content if isinstance(content, str)
                        else json.dumps(dict(json.loads(file.read_text()), **content)))
    with pytest.raises(DataError, match="d/dataset.json: " + words) as caught:
        dataset.read(str(copy), ALONE)
    assert "\n" not in str(caught.value)
    assert dataset.is_dataset(str(copy)) == (content is not None)


def rewrite(directory, name, change):
    """Change the table of one file, and its checksum in dataset.json, as a faulty writer would."""
    path = str(directory / name)
    parquet.write_table(change(parquet.read_table(path)), path)
    values = json.loads((directory / dataset.FILE).read_text())
    if name == dataset.ITEMS:
        values["items_sha256"] = hashes.sha256(path)
    else:
        values["parts"][int(name[5:10])]["sha256"] = hashes.sha256(path)
    (directory / dataset.FILE).write_text(json.dumps(values))


def replaced(table, column, values):
    place = table.column_names.index(column)
    return table.set_column(place, column, arrow.array(values))


@pytest.mark.parametrize("name,change,words", [
    ("part-00001.parquet", lambda t: t.slice(1),
     "[0-9]+ rows, dataset.json says [0-9]+; restore the file"),
    ("part-00001.parquet", lambda t: t.drop(["ItemId"]),
     "column 'ItemId' is missing; it has 'SessionId', 'Time'"),
    ("part-00001.parquet", lambda t: t.drop(["session_number"]),
     "column 'session_number' is missing"),
    ("part-00001.parquet", lambda t: replaced(t, "ItemId", [77] + t["ItemId"].to_pylist()[1:]),
     "row 1, column 'ItemId': item 77 is not in items.parquet; prepare it again"),
    ("part-00001.parquet",
     lambda t: replaced(t, "session_number", [n + 1 for n in t["session_number"].to_pylist()]),
     "its session_number are not those of partition 1 of 6"),
    ("part-00001.parquet",
     lambda t: replaced(t, "session_number", t["session_number"].to_pylist()[::-1]),
     "its session_number are not those of partition 1 of 6"),
    ("part-00001.parquet", lambda t: replaced(t, "session_number", ["x"] * t.num_rows),
     "not readable as parquet"),
    ("items.parquet", lambda t: t.slice(1),
     "[0-9]+ items of [0-9]+ events, dataset.json says [0-9]+ of"),
    ("items.parquet", lambda t: replaced(t, "item", [5] * t.num_rows),
     "an id is missing or there twice"),
    ("items.parquet", lambda t: t.drop(["support"]), "column 'support' is missing"),
])
def test_a_file_that_contradicts_dataset_json(copy, name, change, words):
    rewrite(copy, name, change)
    with pytest.raises(DataError, match=name + ": " + words) as caught:
        dataset.read(str(copy), ALONE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["items.parquet", "part-00003.parquet"])
def test_changed_bytes_are_noticed(copy, name):
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(bytes(content))
    with pytest.raises(DataError,
                       match=name
                       + ": its checksum is not what dataset.json says; restore the file"):
        dataset.read(str(copy), ALONE)


def test_bytes_that_are_no_parquet(copy):
    (copy / "part-00000.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(DataError, match="part-00000.parquet: not readable as parquet"):
        dataset.lengths(str(copy), 0)


def test_without_pyarrow_one_line_says_what_to_install(copy, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError,
                       match="parquet needs pyarrow, which is not installed; pip install pyarrow"):
        dataset.read(str(copy), ALONE)
    with pytest.raises(InputError, match="--partitions: parquet needs pyarrow"):
        prepare(tmp_path, custom_log(str, str), "--partitions", "3", *KEEP_ALL)
    assert not (tmp_path / "out").exists()


# Training by one process

class Fresh:
    """What training.events.index asks of training.start.Start."""

    source = None

    def __init__(self, base=None):
        self.base_vocabulary = lambda: base


@pytest.mark.parametrize("base", [None, Vocabulary(np.array([3, 1000, 1]), np.ones(3, np.int64))])
def test_training_has_the_same_events_as_from_the_plain_file(prepared, base):
    found = []
    for name in ("rsc15_train_full.txt", "rsc15_train_full.parquet"):
        options = config.from_flags({"train_path": os.path.join(prepared, name),
                                     "valid_path": os.path.join(prepared, "rsc15_test.txt")})
        events, held_out, everything = training_events.training_events(options)
        vocabulary, trained = training_events.index(events, options, Fresh(base), ALONE)
        found.append((vocabulary, trained.sessions if isinstance(trained, Share) else trained))
        assert len(held_out.item) and everything is None
    for ours, theirs in zip(*found):
        for name in ("ids", "support") if isinstance(ours, Vocabulary) else ("items", "offsets"):
            assert_same(getattr(ours, name), getattr(theirs, name))


@pytest.mark.parametrize("flags",
                         [{"valid_fraction": "0.1"}, {"valid_days": "1"},
                          {"valid_path": "x", "refit": "1"}])
def test_a_dataset_is_not_split_or_joined(prepared, flags):
    options = config.from_flags(dict(flags,
                                     train_path=os.path.join(prepared, "rsc15_train_full.parquet")))
    with pytest.raises(ConfigError,
                       match="--%s %s has no meaning with --train_path .*: a dataset directory is "
                             "not split or "
                       "joined; validate with --valid_path" % sorted(flags.items())[0]):
        training_events.training_events(options)


def test_a_directory_that_is_no_dataset(tmp_path):
    with pytest.raises(DataError,
                       match="dataset.json: cannot be read: No such file or directory; give a "
                             "directory that"):
        training_events.training_events(config.from_flags({"train_path": str(tmp_path)}))

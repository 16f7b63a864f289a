"""`python -m gru4rec.report`: what the page of a run shows, and what it says if it cannot."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest

import gru4rec
from gru4rec.data.sessions import EvalSessions
from gru4rec.errors import InputError
from gru4rec.report import __main__ as command
from gru4rec.report import bias, page, svg
from gru4rec.runlog import rows
from gru4rec.runlog.rows import Metrics
from tests import serving_helpers as helpers


@pytest.fixture
def directory(tmp_path, monkeypatch):
    """A directory with `next_day.tsv` and the `checkpoint` of a whole, evaluated run."""
    (tmp_path / "checkpoint").mkdir()
    helpers.save(tmp_path / "checkpoint", monkeypatch)
    random = np.random.RandomState(0)
    events = pd.DataFrame(dict(SessionId=np.repeat(np.arange(30), 4),
                               ItemId=1000 + 7 * random.randint(0, 40, 120),
                               Time=np.arange(120)))
    events.to_csv(str(tmp_path / "next_day.tsv"), sep="\t", index=False)
    log = Metrics(str(tmp_path / "checkpoint"))
    for step in (1, 100, 200):
        log.add("train", epoch=0, step=step, lr=0.001, loss=4.0 - step / 100, seconds_per_step=0.01)
    log.add("epoch", epoch=0, loss=2.5, seconds=1.0, events=200, events_per_s=200.0)
    log.add("valid", **{"epoch": 0, "step": 200, "recall@20": 0.25, "mrr@20": 0.125})
    for recall in (0.1111, 0.3125):
        log.add("eval", **{"epoch": 0, "test_path": "next_day.tsv", "unknown": "drop",
                           "tie": "conservative", "events": 90, "recall@5": recall,
                           "recall@10": 0.5, "mrr@5": 0.0625, "rules_recall@5": 0.2188})
    for part, value in (("1", 0.75), ("10+", None)):
        log.add("split", **{"split": "position", "part": part, "events": 30, "recall@5": value,
                            "mrr@5": value})
    monkeypatch.chdir(str(tmp_path))
    return tmp_path


def run(capfd, *flags):
    """(exit status, stdout, stderr)."""
    capfd.readouterr()
    return (command.main(list(flags)),) + tuple(capfd.readouterr())


def test_command_of_the_readme(directory):
    words = [sys.executable, "-m", "gru4rec.report", "--checkpoint_dir", "checkpoint", "--out",
             "report.html"]
    done = subprocess.run(words, cwd=str(directory), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True)
    assert (done.returncode, done.stdout) == (0, "report.html: 9 rows\n"), done.stderr
    text = (directory / "report.html").read_text(encoding="utf-8")
    for shown in ("Loss", "Learning rate", "events/s", "Validation", "Recall of sequential rules",
                  "0.3125", "0.2188", "0.7500", "10+", "places in the lists", "batch_size",
                  "GRU4Rec run checkpoint, epoch 0"):
        assert shown in text, shown
    assert "0.1111" not in text  # an earlier evaluation of the same protocol
    assert text.count("<svg") == 7 and not re.search(r"https?://|src=|@import", text)
    for chart in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ElementTree.fromstring(chart)


def test_a_run_without_evaluation_says_what_would_add_it(directory, capfd):
    log = directory / "checkpoint" / "metrics.jsonl"
    log.write_text("".join(log.read_text().splitlines(True)[:4]))
    status, _, err = run(capfd, "--out", "page.html")
    assert status == 0, err
    text = (directory / "page.html").read_text()
    assert "--train 0 adds one" in text and "--split position,repeat adds it" in text
    assert "was not evaluated" in text
    status, _, err = run(capfd, "--out", "page.html", "--test_path", "next_day.tsv")
    assert status == 0 and "places in the lists" in (directory / "page.html").read_text(), err


def test_test_events_that_are_gone_are_said(directory, capfd):
    (directory / "next_day.tsv").unlink()
    status, _, err = run(capfd)
    assert status == 0 and "no popularity bias: next_day.tsv" in err
    assert "Not measured: next_day.tsv" in (directory / "report.html").read_text()


@pytest.mark.parametrize("flags, expected", [
    (["--out", "report.txt"], "--out 'report.txt' is not a file name ending in .html"),
    (["--nothing"], "--nothing"),
    (["--checkpoint_dir", "none"], "metrics.jsonl cannot be read"),
    (["--epoch", "4"], "no checkpoint of epoch 4"),
    (["--out", "none/report.html"], "--out none/report.html cannot be written"),
    (["--test_path", "none.tsv"], "none.tsv")])
def test_bad_input_is_one_line_and_writes_nothing(directory, capfd, flags, expected):
    status, out, err = run(capfd, *flags)
    assert (status, out) == (2, "") and err.splitlines()[-1].startswith("error: ")
    assert expected in err
    assert not list(directory.glob("*.html"))


def test_rows_are_read_and_a_damaged_line_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"kind": "train", "step": 1}\n{"kind": "tr')
    assert rows.read(str(tmp_path)) == [{"kind": "train", "step": 1}]  # still being written
    path.write_text('{"kind": "train"}\n[]\n{"kind": "eval"}\n')
    with pytest.raises(InputError, match="line 2"):
        rows.read(str(tmp_path))
    path.write_text('{"kind": "train"}\n' + '{"a":' * 100000 + '\n{"kind": "eval"}\n')
    with pytest.raises(InputError, match="line 2"):
        rows.read(str(tmp_path))


def test_a_curve_is_thinned_and_keeps_its_end():
    found = [dict(kind="train", step=step, loss=1.0 / (step + 1)) for step in range(1000)]
    odd = [dict(kind="train", step=1, loss=None), dict(kind="train", step=2, loss=float("nan")),
           dict(kind="eval", step=5, loss=9.0)]
    points = rows.curve(found + odd, "train", "step", "loss", most=100)
    assert len(points) == 100 and points[-1] == (999, 0.001)
    row = {"kind": "eval", "recall@20": 0, "recall@5": 0, "mrr@5": 0, "recall@x": 0}
    assert rows.metric_names([row], "eval", "recall") == ["recall@5", "recall@20"]


def test_charts_are_drawn_to_scale():
    chart = svg.lines("Loss", "step", [("a", [(0, 1.0), (10, 3.0)]), ("b", [(5, 2.0)])])
    first, last = re.search(r'd="M(\S+ \S+)L(\S+ \S+)"', chart).groups()
    assert first == "%.1f %.1f" % (svg.LEFT, svg.HEIGHT - svg.BOTTOM)
    assert last == "%.1f %.1f" % (svg.WIDTH - svg.RIGHT, svg.TOP)
    assert 'cx="%.1f"' % ((svg.LEFT + svg.WIDTH - svg.RIGHT) / 2.0) in chart
    chart = svg.bars("x", ["a", "b"], [("s", [0.5, 1.0]), ("t", [None, 0])])
    heights = [float(height) for height in re.findall(r'height="([\d.]+)"', chart)]
    assert heights == [pytest.approx(heights[1] / 2, abs=0.1), heights[1], 0.0]
    assert "<script" not in svg.bars("<script>", ["<script>"], [("<script>", [1.0])])
    assert "<script" not in page.make("<script>", [], helpers.make_config(session_key="<script>"),
                                      "<script>")


def test_bias_by_hand(tmp_path, monkeypatch):
    vocab = gru4rec.data.vocab.Vocabulary(np.arange(20, dtype=np.int64),
                                          np.arange(20, dtype=np.int64)[::-1] + 1)
    helpers.save(tmp_path, monkeypatch, vocab=vocab)
    model = gru4rec.load(str(tmp_path))
    items, offsets = np.array([3, 4, 0, 5, 19, 7, 1]), np.array([0, 3, 5, 7])
    found = bias.measure(model, EvalSessions(items, offsets, np.zeros(3, bool), 0, np.arange(3)),
                         k=2)
    assert found.sessions == 3
    np.testing.assert_allclose(found.training,
                               [(20 - 2 * g + 19 - 2 * g) / 210.0 for g in range(10)])
    np.testing.assert_allclose(found.targets, np.bincount([0, 9, 0], minlength=10) / 3.0)
    lists = [model.recommend(prefix, 2).ids for prefix in ([3, 4], [5], [7])]
    np.testing.assert_allclose(found.recommended,
                               np.bincount(np.concatenate(lists) // 2, minlength=10) / 6.0)
    assert bias.measure(model, EvalSessions(items, offsets, np.zeros(3, bool), 0, np.arange(3)),
                        count=1).sessions == 1

"""Choosing the epoch, without TensorFlow: the best, when to stop, what is written."""

import json
import logging
import types

import numpy as np
import pytest

from gru4rec import config
from gru4rec.data.reading.loader import Events
from gru4rec.data.vocab import Vocabulary
from gru4rec.evaluation import protocol
from gru4rec.parallel import workers
from gru4rec.training import validation

# a device
ALONE = types.SimpleNamespace(workers=workers.ALONE,
                              communicator=types.SimpleNamespace(exchange=None))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """function (values, *flags) -> (Validation told of epochs with these (recall, mrr), epoch it
    stopped at or None).
    """
    events = Events(np.array([1, 1]), np.array([0, 1]), np.array([1.0, 2.0]), "v.tsv", "s")

    def told(values, *flags):
        cfg = config.parse([str(flag) for flag in flags]
                           + ["--valid_fraction", "0.1", "--checkpoint_dir", str(tmp_path)])
        found = validation.Validation(cfg, ALONE,
                                      protocol.load(events, Vocabulary.build(np.arange(2)),
                                                    cfg.evaluation))
        measured = iter(values)
        monkeypatch.setattr(validation, "measure",
                            lambda *_: dict(zip(("recall", "mrr"), next(measured))))
        for epoch in range(len(values)):
            found.add(epoch, {"global_step": np.array(10 * epoch + 10)})
            if found.is_over(epoch):
                return found, epoch
        return found, None

    return told


VALUES = [(0.1, 0.3), (0.3, 0.1), (0.3, 0.2), (0.2, 0.2), (0.25, 0.4), (0.1, 0.1), (0.1, 0.1)]


@pytest.mark.parametrize("flags, best, stopped", [
    ([], 1, None),                       # the first of equal epochs
    (["--patience", 1], 1, 2), (["--patience", 3], 1, 4), (["--patience", 6], 1, None),
    (["--valid_metric", "mrr"], 4, None), (["--valid_metric", "mrr", "--patience", 3], 0, 3),
    (["--valid_metric", "mrr", "--patience", 4], 4, None)])
def test_the_best_epoch_and_the_end(run, flags, best, stopped):
    found, end = run(VALUES, *flags)
    assert (found.best_epoch, end) == (best, stopped)
    assert found.num_epochs == (len(VALUES) if stopped is None else stopped + 1)


def test_what_the_manifest_says(run):
    found, _ = run([])
    assert found.record(0) == {"metric": "recall@20", "value": None, "best_epoch": None,
                               "best_value": None,
                               "values": []}
    found, _ = run(VALUES[:4], "--cut_off", "5,20", "--valid_metric", "mrr")
    assert found.record(3) == {"metric": "mrr@5", "value": 0.2, "best_epoch": 0, "best_value": 0.3,
                               "values": [0.3, 0.1, 0.2, 0.2]}
    assert found.record(4) == {"metric": "mrr@5", "value": None, "best_epoch": 0, "best_value": 0.3,
                               "values": [0.3, 0.1, 0.2, 0.2]}
    assert found.summary() == "epoch 0 was the best of 4 trained (validation MRR@5: 0.3000)"


def test_one_line_and_one_row_an_epoch(run, tmp_path, caplog, capsys):
    with caplog.at_level(logging.INFO, "gru4rec"):
        run(VALUES[:4], "--unknown", "miss")
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 4 and capsys.readouterr().out == ""
    assert lines[1].startswith("epoch 1: validation Recall@20: 0.3000 MRR@20: 0.1000 (the best so "
                               "far, ")
    assert lines[3].startswith("epoch 3: validation Recall@20: 0.2000 MRR@20: 0.2000 (epoch 1 is "
                               "better, ")
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(r["kind"], r["epoch"], r["step"], r["best_epoch"], r["recall@20"], r["mrr@20"])
            for r in rows] == [
        ("valid", e, 10 * e + 10, min(e, 1)) + VALUES[e] for e in range(4)]
    assert all(row["unknown"] == "miss" and row["events"] == 1 and row["seconds"] >= 0
               for row in rows)


def test_a_refit_asks_for_no_validation_and_keeps_the_rest():
    cfg = config.parse(["--valid_days", "2", "--refit", "1", "--patience", "3", "--epoch", "9",
                        "--lr", "0.2"])
    again = validation.refit_config(cfg, 4)
    assert again.to_dict() == config.parse(["--epoch", "5", "--lr", "0.2"]).to_dict()

"""The clock of the log lines: mean seconds per step since the previous line, without saving."""

import json
import time

import numpy as np

from gru4rec import config
from gru4rec.training import log


class Clock:
    """A log with a clock that the test sets; each step has two live lanes of three."""

    def __init__(self, tmp_path, monkeypatch, *flags):
        self.now = 100.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)
        self.log = log.TrainLog(config.parse(["--checkpoint_dir", str(tmp_path), "--log_every",
                                              "10"] + list(flags)))
        self.path = tmp_path / "metrics.jsonl"

    def steps(self, done, losses, seconds):
        began = self.now
        self.now += seconds
        self.log.add(done, np.asarray(losses, float),
                     np.tile([True, True, False], [len(losses), 1]), began)

    def rows(self):
        return [json.loads(line) for line in self.path.read_text().splitlines()]


def test_saving_is_left_out_and_the_steps_before_it_are_not(tmp_path, monkeypatch, capsys):
    clock = Clock(tmp_path, monkeypatch)
    clock.log.start_epoch(0)
    clock.steps(0, np.ones(1), 5.0)
    clock.steps(1, np.ones(6), 12.0)
    with clock.log.clock_stopped():
        clock.now += 1000.0
    clock.log.start_epoch(1)
    clock.steps(7, np.ones(3), 6.0)
    assert [row["seconds_per_step"] for row in clock.rows()] == [5.0, (12.0 + 6.0) / 9]
    assert "Each Step time is:2.000000\n" in capsys.readouterr().out


def test_a_call_that_passes_log_lines_writes_them_all_with_its_shares_of_time(tmp_path,
                                                                              monkeypatch):
    clock = Clock(tmp_path, monkeypatch)
    clock.log.start_epoch(0)
    clock.steps(0, np.arange(25.0), 50.0)
    clock.steps(25, np.arange(25.0, 35.0), 10.0)
    rows = clock.rows()
    assert [row["step"] for row in rows] == [1, 10, 20, 30]
    assert [row["loss"] for row in rows] == [0.0, 4.5, 9.5, 14.5]
    assert [row["seconds_per_step"] for row in rows] == [2.0, 2.0, 2.0, (5 * 2.0 + 5 * 1.0) / 10]


def test_the_lines_that_scripts_of_the_older_port_look_for(tmp_path, monkeypatch, capsys):
    clock = Clock(tmp_path, monkeypatch, "--log_format", "modelzoo")
    clock.log.start_epoch(0)
    clock.steps(0, np.ones(1), 0.5)
    clock.steps(1, np.ones(9), 4.5)
    lines = capsys.readouterr().out.splitlines()
    assert lines[4:] == ["Epoch 0\tStep 10\tlr: 0.001000\tloss: 1.000000",
                         "Each Step time is:0.500000",
                         "Each Step npu time is: 0.500000", "TimeHistory: 4.00"]
    # as those scripts take them apart
    assert lines[6].split()[5] == "0.500000" and lines[7].split()[1] == "4.00"
    assert lines[4].split()[7] == "1.000000"

"""The clock of the log lines, without TensorFlow: mean wall seconds a step since the previous line, saving left out."""

import json

import numpy as np

from gru4rec import config, train


def test_saving_is_left_out_and_the_steps_before_it_are_not(tmp_path, monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(train.time, "perf_counter", lambda: now[0])
    log = train._Log(config.parse(["--checkpoint_dir", str(tmp_path), "--log_every", "10"]))

    def steps(until, count, seconds):
        now[0] += seconds
        log.add(until, np.ones(count))

    log.start_epoch(0)
    steps(1, 1, 5.0)
    steps(7, 6, 12.0)
    with log.clock_stopped():
        now[0] += 1000.0
    log.start_epoch(1)
    steps(10, 3, 6.0)
    times = [json.loads(line)["seconds_per_step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert times == [5.0, (12.0 + 6.0) / 9]
    assert "Each Step time is:2.000000\n" in capsys.readouterr().out

"""The command in this process, for the many cases where a new one would only cost time."""

import logging

import pytest

from gru4rec import main


@pytest.fixture
def inline(tmp_path, monkeypatch, capfd):
    """function (*flags) -> (exit status, stdout, stderr) of the command, run in tmp_path."""
    monkeypatch.chdir(str(tmp_path))
    logger = logging.getLogger("gru4rec")
    before = logger.handlers[:], logger.level, logger.propagate

    def run(*flags):
        capfd.readouterr()
        status = main.main([str(flag) for flag in flags])
        return (status,) + tuple(capfd.readouterr())

    yield run
    logger.handlers[:], logger.propagate = before[0], before[2]
    logger.setLevel(before[1])

"""The command in this process, for the many cases where a new one would only cost time."""

import pytest

from gru4rec import main


@pytest.fixture
def inline(tmp_path, monkeypatch, capfd):
    """function (*flags) -> (exit status, stdout, stderr) of the command, run in tmp_path."""
    monkeypatch.chdir(str(tmp_path))

    def run(*flags):
        capfd.readouterr()
        status = main.main([str(flag) for flag in flags])
        return (status,) + tuple(capfd.readouterr())

    return run

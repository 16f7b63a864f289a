"""Shared by the tests of commands: one that runs in this process, to save time, and shells."""

import shutil

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


@pytest.fixture(params=["dash", "bash"])
def shell(request):
    """str, path of a shell; the scripts are POSIX sh and run under both."""
    path = shutil.which(request.param)
    if path is None:
        pytest.skip("no %s on this machine" % request.param)
    return path

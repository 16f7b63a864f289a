"""One run at a time in a directory, an earlier one moved aside: never half, never lost."""

import os
import signal
import subprocess
import sys

import pytest

from gru4rec.errors import InputError, LockedError
from gru4rec.files.locks import Lock
from gru4rec.training.directory import REFIT, RunDirectory

HOLD = """
import sys
from gru4rec.files.locks import Lock
Lock(sys.argv[1]).acquire()
print("held", flush=True)
sys.stdin.read()
"""
RUN = ["gru-model-0.json", "metrics.jsonl", "rules.npz", "vocabulary.npz"]


def put(directory, names):
    for name in names:
        (directory / name).write_text(name)


def test_a_second_run_is_told_the_process_of_the_first_and_death_frees_the_lock(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(LockedError,
                           match=r"in use by another run \(process id %d\)" % holder.pid) as caught:
            with RunDirectory(str(tmp_path)):
                pass
        assert caught.value.exit_status == 4
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    with RunDirectory(str(tmp_path)) as directory:
        assert os.path.exists(directory.file(".lock"))  # of the dead one, taken over
    assert os.listdir(str(tmp_path)) == []


def test_a_lock_file_removed_meanwhile_is_made_anew(tmp_path, monkeypatch):
    """The holder removes the file when it ends; a lock on what was removed would guard nothing."""
    real, removed = Lock._lock, []

    def lock(self, handle):
        real(self, handle)
        if not removed:
            removed.append(os.remove(self._path))

    monkeypatch.setattr(Lock, "_lock", lock)
    first = Lock(str(tmp_path))
    first.acquire()
    with pytest.raises(LockedError):
        Lock(str(tmp_path)).acquire()
    first.release()


def test_a_directory_that_does_not_exist_is_made_by_begin_only(tmp_path):
    with RunDirectory(str(tmp_path / "a" / "b")) as directory:
        directory.tidy()
        assert os.listdir(str(tmp_path)) == []
        directory.begin()
        with pytest.raises(LockedError):
            RunDirectory(directory.path).__enter__()
    assert os.listdir(directory.path) == []


def test_what_cannot_be_a_directory_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with RunDirectory(str(tmp_path / "file")) as directory:
        with pytest.raises(InputError, match="--checkpoint_dir .*file cannot"):
            directory.begin()


def test_an_earlier_run_is_moved_aside_each_time_and_nothing_else(tmp_path):
    put(tmp_path, RUN + ["notes.txt", REFIT])
    with RunDirectory(str(tmp_path)) as directory:
        directory.begin()
        assert sorted(os.listdir(str(tmp_path))) == [".lock", "notes.txt", "previous-1"]
        directory.begin()  # nothing to move
        put(tmp_path, RUN)
        directory.begin()
    assert sorted(os.listdir(str(tmp_path))) == ["notes.txt", "previous-1", "previous-2"]
    assert sorted(os.listdir(str(tmp_path / "previous-1"))) == sorted(RUN + [REFIT])
    assert sorted(os.listdir(str(tmp_path / "previous-2"))) == RUN


def begin_cut_short(directory, monkeypatch, moves, refit=None):
    """`begin`, ended as by a signal after so many moves; where there are fewer it ends itself."""
    real, calls = os.replace, []

    def replace(source, target):
        calls.append(target)
        if len(calls) == moves + 1:
            raise KeyboardInterrupt
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        try:
            directory.begin(refit)
        except KeyboardInterrupt:
            pass


@pytest.mark.parametrize("refit", [None, "text"])
@pytest.mark.parametrize("moves", range(7))
def test_moving_that_was_cut_short_is_finished_by_whoever_comes_next(tmp_path, monkeypatch, moves,
                                                                     refit):
    put(tmp_path, RUN)
    with RunDirectory(str(tmp_path)) as directory:
        begin_cut_short(directory, monkeypatch, moves, refit)
        directory.tidy()
        names = set(os.listdir(directory.path)) - {".lock"}
        if refit and moves == 0:  # not even the mark of the second part was there
            assert names == set(RUN)
        else:
            assert names == {"previous-1"} | ({REFIT} if refit else set())
            assert sorted(os.listdir(directory.file("previous-1"))) == RUN


@pytest.mark.parametrize("moves", range(1, 6))
def test_the_mark_of_a_refit_goes_with_the_run_it_belongs_to(tmp_path, monkeypatch, moves):
    """A new run that moves a finished refit aside and is cut short must not have its mark."""
    put(tmp_path, RUN + [REFIT])
    with RunDirectory(str(tmp_path)) as directory:
        begin_cut_short(directory, monkeypatch, moves)
        directory.tidy()
        assert sorted(os.listdir(directory.path)) == [".lock", "previous-1"]
        assert sorted(os.listdir(directory.file("previous-1"))) == sorted(RUN + [REFIT])


def test_what_dead_runs_were_writing_is_removed(tmp_path):
    (tmp_path / ".tmp-a").mkdir()
    put(tmp_path / ".tmp-a", ["gru-model-0.index"])
    put(tmp_path, [".tmp-b", ".tmpc", "gru-model-0.json"])
    with RunDirectory(str(tmp_path)) as directory:
        directory.tidy()
        assert sorted(os.listdir(str(tmp_path))) == [".lock", ".tmpc", "gru-model-0.json"]

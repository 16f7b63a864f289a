"""Signals while steps are run: noted, obeyed at the next check, and put back afterwards."""

import os
import signal
import subprocess
import sys
import threading
import types

import numpy as np
import pytest

from gru4rec import config, engine
from gru4rec.command.interrupts import StopRequest
from gru4rec.data.sessions import Sessions
from gru4rec.data.vocab import Vocabulary
from gru4rec.errors import Interrupted
from gru4rec.parallel import workers
from gru4rec.training import loop


def test_the_suite_hears_sigint_though_it_was_started_in_the_background():
    assert signal.getsignal(signal.SIGINT) != signal.SIG_IGN


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_waits_for_the_check(number, status):
    before = signal.getsignal(number)
    with StopRequest() as stop:
        stop.check()
        os.kill(os.getpid(), number)
        with pytest.raises(Interrupted, match="finished epochs are complete") as caught:
            stop.check()
    assert caught.value.exit_status == status
    assert signal.getsignal(number) == before


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            stop.check()
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_outside_the_main_thread_handlers_are_left_alone():
    seen = []

    def work():
        with StopRequest() as stop:
            stop.check()
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_the_process_at_once(number):
    script = ("import os\nfrom gru4rec.command.interrupts import StopRequest\nwith StopRequest():\n"
              "    os.kill(os.getpid(), %d)\n    print('first', flush=True)\n    "
              "os.kill(os.getpid(), %d)\n"
              "    print('never')\n" % (number, number))
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE,
                          universal_newlines=True,
                          preexec_fn=lambda: signal.signal(signal.SIGINT,
                                                           signal.default_int_handler))
    assert (done.returncode, done.stdout) == (-number, "first\n")


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_what_comes_inside_is_obeyed_inside_or_by_the_next_check_outside(number, status):
    before = signal.getsignal(number)
    with StopRequest() as outer:
        with StopRequest() as inner:
            inner.check()
            os.kill(os.getpid(), number)  # after the last check of the inner one
        for check in (outer.check, inner.check):
            with pytest.raises(Interrupted) as caught:
                check()
            assert caught.value.exit_status == status
        with StopRequest() as another, pytest.raises(Interrupted):
            another.check()
    assert signal.getsignal(number) == before
    with StopRequest() as later:
        later.check()


def test_a_signal_while_the_engine_is_made_stops_before_anything_is_written(monkeypatch, tmp_path):
    closed = []

    class Engine:
        def close(self):
            closed.append(self)

    def create(*_):
        os.kill(os.getpid(), signal.SIGTERM)
        return Engine()

    monkeypatch.setattr(engine, "create", create)
    cfg = config.from_flags({"batch_size": "2", "size": "4",
                             "checkpoint_dir": str(tmp_path / "new")})
    sessions = Sessions(np.array([0, 1, 2, 1], np.int32), np.array([0, 2, 4]))
    with pytest.raises(Interrupted):
        device = types.SimpleNamespace(workers=workers.ALONE,
                                       communicator=types.SimpleNamespace(exchange=None))
        loop.train(cfg, device, Vocabulary.build(np.arange(3)), sessions)
    assert len(closed) == 1 and os.listdir(str(tmp_path)) == []

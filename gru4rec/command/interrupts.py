"""Stopping between two steps: a signal is noted at once and obeyed where nothing is half done.

Python raises KeyboardInterrupt wherever it happens to be. Inside TensorFlow's calls that can end
the process by a segmentation fault, and in the middle of a save it is no better; so while steps are
run, signals only set a mark.
"""

import os
import signal
import threading

from gru4rec.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def install(handler):
    """Set a handler for SIGINT and SIGTERM, except where one is ignored (nohup, a background job).

    Python can set handlers in the main thread only; elsewhere nothing is done.
    Returns: dict of the handlers before, for `restore`.
    """
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.signal(number, handler) for number in SIGNALS
            if signal.getsignal(number) not in (signal.SIG_IGN, None)}


def restore(handlers):
    """Undo `install`."""
    for number, handler in handlers.items():
        signal.signal(number, handler)


def run_command(load):
    """Import and run a command, so that a signal leaves one line, and its own status, at any
    moment.

    While modules are imported nothing is there to be cleaned up, so the process ends at once; once
    the command has ended its status stands.
    Args:
      load: function () -> the command's main, itself a function () -> exit status.
    """
    before = install(_end)
    status = load()()
    for number in before:
        signal.signal(number, signal.SIG_IGN)
    return status


def _end(number, _):
    os.write(2, b"error: interrupted\n")
    os._exit(128 + number)


class StopRequest:
    """Context in which SIGINT and SIGTERM wait for the next `check`; a second signal ends the
    process at once.

    A signal that was ignored before (nohup, a background job) stays ignored. Outside the main
    thread, where Python cannot set handlers, nothing changes. Inside another one it is that one:
    what comes after its last check is obeyed by
    the next check of the outer.
    """

    _outermost = None

    def __enter__(self):
        self._asked, self._before, self._outer = None, {}, None
        if threading.current_thread() is threading.main_thread():
            self._outer = StopRequest._outermost
            if self._outer is not None:
                return self
            StopRequest._outermost = self
            self._before = install(self._note)
        return self

    def __exit__(self, *_):
        restore(self._before)
        if StopRequest._outermost is self:
            StopRequest._outermost = None

    def _note(self, number, _):
        if self._asked is not None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self._asked = number

    def check(self):
        """Raises Interrupted (exit status 128 + signal number) if a signal has come."""
        asked = (self._outer or self)._asked
        if asked is not None:
            raise Interrupted(asked)

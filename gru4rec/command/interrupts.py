"""Stop on a signal between two steps, so that no step is half done.

Python raises KeyboardInterrupt at any place. Inside a call of TensorFlow it can end in a
segmentation fault, and within a save it would leave half a file. So while steps run, a signal is
only noted, and the code asks for it between two steps.
"""

import os
import signal
import threading

from gru4rec.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def install(handler):
    """Set a handler for SIGINT and SIGTERM; a signal that is ignored (nohup) stays ignored.

    Python can set handlers in the main thread only; in another thread nothing is done.
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
    """Import and run a command; a signal at any moment gives one line and an exit status.

    While modules are imported there is nothing to clean up, so a signal ends the process at once.
    When the command has ended, signals are ignored and its exit status stands.
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
    """Context in which SIGINT and SIGTERM wait for the next `check`; a second one ends at once.

    A signal that was ignored before (nohup, a background job) stays ignored. Outside the main
    thread, where Python cannot set handlers, nothing changes. A context inside another shares its
    signals: one that comes after the last check of the inner is obeyed by the next of the outer.
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
        """Raise Interrupted (exit status 128 + signal number) if a signal has come."""
        asked = (self._outer or self)._asked
        if asked is not None:
            raise Interrupted(asked)

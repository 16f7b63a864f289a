"""How a command prints and ends: log, lines on stdout, one-line errors, exit status."""

import contextlib
import logging
import os
import signal
import sys

from gru4rec.command import invocation
from gru4rec.errors import Gru4RecError, InputError


def setup_logging(level=logging.INFO):
    """Send the package's log records to stderr; called once by a command, never by the library."""
    invocation.begun()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname).1s %(name)s: %(message)s"))
    root = logging.getLogger("gru4rec")
    root.handlers[:] = [handler]
    root.setLevel(level)
    root.propagate = False


def exit_status(job, memory_advice="use a machine with more, or smaller files"):
    """Run a command and return its exit status; an error is one line on stderr, no traceback.

    Args:
      job: function () that does the work.
      memory_advice: what to do where memory runs out, for the error.
    Returns: 0 done; 2 input, flag, device or memory; 3 divergence; 4 the directory is in use;
      130 or 143 stopped by SIGINT or SIGTERM.
    """
    try:
        job()
        return 0
    except Gru4RecError as error:
        message, status = str(error), error.exit_status
    except MemoryError as error:
        reason = str(error) or "no more memory is free"
        message, status = "out of memory (%s); %s" % (reason, memory_advice), 2
    except KeyboardInterrupt:
        message, status = "interrupted", 128 + signal.SIGINT
    _say_error(message)
    return status


def end_process(error):
    """Print a Gru4RecError and end the process at once with its status, as `leave` does."""
    _say_error(str(error))
    leave(error.exit_status)


def leave(status):
    """End the process at once with a status; no other thread and no clean-up is waited for."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def _say_error(message):
    sys.stderr.write("error: %s\n" % " ".join(message.split()))


def say(line):
    """Print one line on stdout, which appears at once even in a pipe.

    Raises: InputError if the other end of the pipe is closed, or the disk is full.
    """
    try:
        print(line, flush=True)
    except OSError as error:
        raise InputError("stdout cannot be written: %s; let the program that reads it read to the "
                         "end, or write it to a disk with free space" % error.strerror) from None


def progress(text, unit):
    """function (total) -> context of a progress bar; of None in a pipe or without tqdm.

    Args: text: str before the bar. unit: str, what is counted.
    """
    def make(total):
        try:
            from tqdm import tqdm
        except ImportError:  # device images may lack it
            return contextlib.nullcontext()
        return tqdm(total=total, desc=text, unit=unit, disable=None, leave=False, mininterval=0.5,
                    file=sys.stderr)
    return make

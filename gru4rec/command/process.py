"""How a command speaks and ends: its log, its lines on stdout, its errors in one line, its exit
status.
"""

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
    """Run a command's job -> its exit status: 0 done, 2 input, device or memory, 3 divergence, 130
    or 143 stopped.

    Whatever a user can cause or meet is one line on stderr, never a traceback.
    """
    try:
        job()
        return 0
    except Gru4RecError as error:
        message, status = str(error), error.exit_status
    except MemoryError as error:
        message, status = "out of memory (%s); %s" % (str(error) or "no more to be had",
                                                      memory_advice), 2
    except KeyboardInterrupt:
        message, status = "interrupted", 128 + signal.SIGINT
    _say_error(message)
    return status


def end_process(error):
    """End the process at once with the line and the status of a Gru4RecError; nothing is waited for
    or cleaned up.
    """
    _say_error(str(error))
    leave(error.exit_status)


def leave(status):
    """End the process with a status; what the libraries would do at its end is not waited for."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def _say_error(message):
    sys.stderr.write("error: %s\n" % " ".join(message.split()))


def say(line):
    """One result line on stdout, at once even in a pipe.

    Raises: InputError if nobody reads the pipe any more, or the disk behind it is full.
    """
    try:
        print(line, flush=True)
    except OSError as error:
        raise InputError("stdout cannot be written: %s; let its reader read to the end, or send it "
                         "to a file with room"
                         % error.strerror) from None


def progress(text, unit):
    """function (total) -> progress bar on a terminal, nothing in a pipe or without tqdm."""
    def make(total):
        try:
            from tqdm import tqdm
        except ImportError:  # device images may lack it; a bar is not worth a stop
            return contextlib.nullcontext()
        return tqdm(total=total, desc=text, unit=unit, disable=None, leave=False, mininterval=0.5,
                    file=sys.stderr)
    return make

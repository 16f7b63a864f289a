"""Whether a command runs in this process, and what the user typed to start it, for its help and
errors.
"""

_typed = None
_running = False


def begun():
    """Note that a command of this package runs in this process, not a program that imports it."""
    global _running
    _running = True


def is_running():
    """Whether `begun` was called."""
    return _running


def started_as(name):
    """Note what was typed, such as "gru4rec train"; the console script's task, before the command
    runs.
    """
    global _typed
    _typed = name


def name(line):
    """What to call a command in its usage line, and where another is shown how to start it.

    Args:
      line: str that starts it without the console script, such as "python -m gru4rec.compare A B".
    Returns: str, the same with the console script if that was typed: "gru4rec compare A B".
    """
    return " ".join([_typed] + line.split(" ")[3:]) if _typed else line


def see_help():
    """Where an error of a command line sends its reader."""
    return "see %s --help" % _typed if _typed else "see --help"

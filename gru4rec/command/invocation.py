"""What the user typed to start the command of this process, for its help and its errors."""

_typed = None
_running = False


def begun():
    """Note that this process runs a command of the package, not a program that imports it."""
    global _running
    _running = True


def is_running():
    """Whether `begun` was called."""
    return _running


def started_as(name):
    """Note what was typed, such as "gru4rec train"; the console script calls it first."""
    global _typed
    _typed = name


def name(line):
    """How to start this command, in the words the user typed.

    Args:
      line: str that starts it without the console script, such as "python -m gru4rec.compare A B".
    Returns: str, the same with the console script if that was typed: "gru4rec compare A B".
    """
    if _typed is None:
        return line
    return " ".join([_typed] + line.split(" ")[3:])


def see_help():
    """What an error of a command line tells the user to read: "see gru4rec train --help"."""
    if _typed is None:
        return "see --help"
    return "see %s --help" % _typed

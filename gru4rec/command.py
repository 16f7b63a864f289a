"""What the user typed to start a command, for its help and its errors."""

_typed = None


def started_as(name):
    """Note what was typed, such as "gru4rec train"; the console script's task, before the command runs."""
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

"""`python -m gru4rec.prepare`."""

import sys

from gru4rec.command.interrupts import run_command


def _load():
    from gru4rec.prepare.cli import main
    return main


if __name__ == "__main__":
    sys.exit(run_command(_load))

"""Command `python -m gru4rec.recommend`: see recommend.cli.

Nothing here imports numpy before its number of threads is set.
"""

import sys


def main(argv=None):
    """Run the command; returns its exit status (command.process.exit_status)."""
    from gru4rec.recommend import cli
    return cli.main(argv)


if __name__ == "__main__":
    from gru4rec.recommend.threads import one_blas_thread
    one_blas_thread()
    sys.exit(main())

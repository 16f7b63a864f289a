"""Command: serve recommendations over HTTP. `python -m gru4rec.serve --help`."""

import sys


def main(argv=None):
    """Run the command; returns its exit status (command.process.exit_status)."""
    from gru4rec.serve import server
    return server.main(argv)


if __name__ == "__main__":
    from gru4rec.recommend.threads import one_blas_thread
    one_blas_thread()
    sys.exit(main())

"""`python -m gru4rec`: the console script `gru4rec` where it is not on the path."""

import sys

from gru4rec.cli import main

if __name__ == "__main__":
    sys.exit(main())

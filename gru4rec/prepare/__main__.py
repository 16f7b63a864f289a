"""`python -m gru4rec.prepare`."""

import sys

from gru4rec.prepare.cli import main

sys.exit(main())

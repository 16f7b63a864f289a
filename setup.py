"""Thin: the metadata is in pyproject.toml. Here is what no form of it there suits every setuptools
from 61 on.

New ones warn that they will refuse a `license` table; those that Python 3.7 can have refuse a
`license` text, and with a text new ones refuse the classifier.
"""

import setuptools

if int(setuptools.__version__.split(".")[0]) < 61:
    raise SystemExit("setuptools %s does not read pyproject.toml; use 61 or later, or let pip "
                     "fetch one "
                     "(no --no-build-isolation)" % setuptools.__version__)
setuptools.setup(license="Apache-2.0")

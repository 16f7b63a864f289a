"""The bundled sample: click sessions of `data.synthetic` (data/README.md). Imports errors."""

import os

from gru4rec.errors import InputError

_HERE = os.path.dirname(os.path.abspath(__file__))


def path(part):
    """File of a part of the sample.

    Args:
      part: "train" or "test".
    Returns: str, absolute path of a gzipped text file.
    Raises: InputError if the installation lacks it.
    """
    found = os.path.join(_HERE, "sample_%s.tsv.gz" % part)
    if not os.path.exists(found):
        raise InputError("the bundled sample %s is not installed; give --train_path and --test_path"
                         % found)
    return found

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
    file = os.path.join(_HERE, "sample_%s.tsv.gz" % part)
    if not os.path.exists(file):
        raise InputError("the bundled sample %s is not installed; give --train_path and --test_path"
                         % file)
    return file


def train_file(train_path):
    """File of training events: --train_path, else that of the sample."""
    return train_path or path("train")


def test_file(test_path, trained_on, trained_with=None):
    """File of test events: --test_path, else the model's own test file, else that of the sample.

    Args:
      test_path: --test_path of this command, or None.
      trained_on, trained_with: --train_path and --test_path of the model's training, or None.
    Raises: InputError if there is no test file and the model was not trained on the sample.
    """
    if test_path or trained_with:
        return test_path or trained_with
    if trained_on is not None:
        raise InputError("--test_path is missing: the model was trained on %s, so the bundled "
                         "sample cannot test it; give a test file" % trained_on)
    return path("test")

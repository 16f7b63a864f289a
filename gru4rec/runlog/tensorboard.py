"""TensorBoard's event files: the rows of metrics.jsonl as curves."""

import functools
import os
import re

from gru4rec.errors import InputError

# kind of row -> (prefix of the tag, keys that are drawn, key of the x axis); "recall@" stands for
# the recall at any cut-off
_DRAWN = {"train": ("train", ("loss", "lr"), "step"),
          "epoch": ("epoch", ("loss", "events_per_s"), "epoch"),
          "valid": ("valid", ("recall@", "mrr@"), "step"),
          "eval": ("test", ("recall@", "mrr@", "ndcg@"), "step")}


def check(directory):
    """Make the directory, before anything else is done; None: nothing to do.

    Raises: InputError if it cannot be made or written.
    """
    if directory is None:
        return
    try:
        os.makedirs(directory, exist_ok=True)
    except OSError as error:
        raise InputError("--tensorboard %s cannot be made: %s; give another"
                         % (directory, error.strerror)) from error
    if not os.access(directory, os.W_OK):
        raise InputError("--tensorboard %s is not writable; give another" % directory)


def scalars(kind, values):
    """(list of (tag, float), step) of a row; an empty list for a kind that is not drawn.

    Example: "valid", {"step": 7, "epoch": 0, "recall@20": 0.5} -> ([("valid/recall@20", 0.5)], 7).
    """
    prefix, names, x = _DRAWN.get(kind, ("", (), ""))
    drawn = [key for key in sorted(values) if re.sub("@.*", "@", key) in names
             and values[key] is not None]
    return [("%s/%s" % (prefix, key), float(values[key])) for key in drawn], values.get(x, 0)


class Summaries:
    """One event file of this process."""

    def __init__(self, directory):
        from gru4rec.tf_compat import tf
        self._tf = tf
        # A file is named by second and host; a run and its evaluation may share both.
        self._writer = tf.summary.FileWriter(directory, filename_suffix=".%d" % os.getpid())

    def add(self, kind, values):
        """Write the values of a row that are drawn, at once."""
        points, step = scalars(kind, values)
        if points:
            value = [self._tf.Summary.Value(tag=tag, simple_value=number) for tag, number in points]
            self._writer.add_summary(self._tf.Summary(value=value), step)
            self._writer.flush()


@functools.lru_cache(maxsize=None)
def summaries(directory):
    """The Summaries of a directory (absolute path), one for all of this process."""
    check(directory)
    return Summaries(directory)

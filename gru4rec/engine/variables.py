"""Variables made from arrays."""

import numpy as np

from gru4rec.tf_compat import tf


class Variables:
    """Collects variables while a graph is built and gives them their values afterwards.

    Values pass through placeholders: a table must never become a constant of the graph (2 GB limit,
    and copies).
    """

    def __init__(self, use_resource):
        self._use_resource = use_resource
        self._pending, self._loads = [], {}

    def add(self, name, array):
        """A variable that starts as `array` (float32 or int)."""
        array = np.asarray(array)
        value_ph = tf.placeholder(array.dtype, array.shape, name=name.replace("/", "_") + "_value")
        var = tf.Variable(value_ph, trainable=False, use_resource=self._use_resource, name=name,
                          collections=[tf.GraphKeys.GLOBAL_VARIABLES])
        self._pending.append((var.initializer, value_ph, array))
        self._loads[name] = var.initializer, value_ph
        return var

    def assign(self, var, array):
        """Give a variable that the optimizer made (a slot) its starting value."""
        array = np.asarray(array)
        value_ph = tf.placeholder(array.dtype, array.shape)
        self._pending.append((tf.assign(var, value_ph).op, value_ph, array))

    def initialise(self, session):
        """Give all variables their values; one at a time, as each feed copies a large table."""
        for op, value_ph, array in self._pending:
            session.run(op, {value_ph: array})
        self._pending = []

    def load(self, session, name, array):
        """Give a variable that `add` made another value of the same shape."""
        op, value_ph = self._loads[name]
        session.run(op, {value_ph: array})


def padded(array, rows):
    """`array` with zero rows appended up to `rows`; the same object if it has as many."""
    missing = rows - len(array)
    if not missing:
        return array
    return np.concatenate([array, np.zeros((missing,) + array.shape[1:], array.dtype)])

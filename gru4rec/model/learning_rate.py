"""The staircase learning rate, for the graph's tables and for the log lines alike."""

import numpy as np

FLOOR = 1e-5


def learning_rate(step, lr, decay, decay_steps):
    """max(1e-5, lr * decay ^ floor((step - 1) / decay_steps)) for update number `step`.

    Args:
      step: int or array of ints, 1-based (the Step of the log).
      lr, decay: floats. decay_steps: int.
    Returns: float64 of the same shape.
    """
    exponent = (np.maximum(np.asarray(step, np.int64), 1) - 1) // decay_steps
    return np.maximum(FLOOR, lr * np.power(float(decay), exponent))

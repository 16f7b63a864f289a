"""Activations by their names in the configuration."""

from gru4rec.tf_compat import tf


def get(name, alpha):
    """The activation as a function of a tensor.

    Args:
      name: "tanh" | "relu" | "elu" | "linear" | "softmax" (here the identity: the softmax is part
        of the loss).
      alpha: float >= 0, of elu: x for x > 0, else alpha * (exp(x) - 1); 0 makes elu linear.
    """
    if name == "elu" and alpha:
        return lambda x: tf.maximum(x, 0.0) + alpha * (tf.exp(tf.minimum(x, 0.0)) - 1.0)
    return {"tanh": tf.tanh, "relu": tf.nn.relu}.get(name, tf.identity)

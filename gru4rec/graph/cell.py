"""One step of TensorFlow 1's GRUCell, written out."""

from typing import Any, NamedTuple

from gru4rec.tf_compat import tf

ACTIVATIONS = {"tanh": tf.tanh, "relu": tf.nn.relu}


class GRUWeights(NamedTuple):
    """Weights of one layer; `D` is the width of its input."""

    gates_kernel: Any  # [D + H, 2H]: columns [r | u], rows [x | h]
    gates_bias: Any  # [2H], starts at 1
    candidate_kernel: Any  # [D + H, H], rows [x | r * h]
    candidate_bias: Any  # [H], starts at 0


def gru_step(x_bd, state_bh, weights, act):
    """The state after one input.

        [r, u] = sigmoid([x ; h] Kg + bg)
        c      = act([x ; r * h] Kc + bc)
        h'     = u * h + (1 - u) * c

    The reset gate works on the state before the product, and `u` keeps the old state (both differ from cuDNN's GRU).

    Args:
      x_bd: [B, D] float. state_bh: [B, H] float.
      weights: GRUWeights.
      act: "tanh" | "relu".
    Returns: [B, H] float.
    Source: Cho et al. 2014 (arXiv 1406.1078) as in tf.nn.rnn_cell.GRUCell. Differs: no.
    """
    gates = tf.sigmoid(tf.matmul(tf.concat([x_bd, state_bh], 1), weights.gates_kernel) + weights.gates_bias)
    r, u = tf.split(gates, 2, 1)  # not slices, whose gradient (pad and add) compiles to a branch per element
    c = ACTIVATIONS[act](
        tf.matmul(tf.concat([x_bd, r * state_bh], 1), weights.candidate_kernel) + weights.candidate_bias)
    return u * state_bh + (1.0 - u) * c

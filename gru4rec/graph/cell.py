"""One step of a GRU, written out: TensorFlow 1's GRUCell and the variant of the authors' code."""

from typing import Any, NamedTuple

from gru4rec.tf_compat import tf


class GRUWeights(NamedTuple):
    """Weights of one layer; `D` is the width of its input.

    D is 0 where the input is itself a row of the kernels (--embedding none).
    """

    gates_kernel: Any  # [D + H, 2H]: columns [r | u], rows [x | h]
    gates_bias: Any  # [2H]
    candidate_kernel: Any  # [D + H, H], rows [x | r * h]
    candidate_bias: Any  # [H]


def gru_step(x_bd, state_bh, weights, act, official=False):
    """The state after one input.

        [r, u] = sigmoid([x ; h] Kg + bg)
        c      = act([x ; r * h] Kc + bc)
        h'     = u * h + (1 - u) * c          official: h' = (1 - u) * h + u * c

    The reset gate works on the state before the product (cuDNN's GRU does not).

    Args:
      x_bd: [B, D] float; for D = 0 [B, 3H], what x would have added before the activations of r,
        u and c.
      state_bh: [B, H] float.
      weights: GRUWeights.
      act: function of a tensor.
      official: whether u is the share of the new state, as in the authors' code, or of the old one.
    Returns: [B, H] float.
    Source: Cho et al. 2014 (arXiv 1406.1078) as in tf.nn.rnn_cell.GRUCell; arXiv 1511.06939 section
      3.1 for `official`. Differs: no.
    """
    hidden = state_bh.shape.as_list()[1]
    x_gates = x_candidate = None
    if _is_row_of_kernels(weights):
        x_gates, x_candidate = tf.split(x_bd, [2 * hidden, hidden], 1)
    gates = tf.sigmoid(_product(x_bd, x_gates, state_bh, weights.gates_kernel) + weights.gates_bias)
    # not slices, whose gradient (pad and add) compiles to a branch per element
    r, u = tf.split(gates, 2, 1)
    c = act(_product(x_bd, x_candidate, r * state_bh, weights.candidate_kernel)
            + weights.candidate_bias)
    if official:
        return (1.0 - u) * state_bh + u * c
    return u * state_bh + (1.0 - u) * c


def _is_row_of_kernels(weights):
    rows, columns = weights.candidate_kernel.shape.as_list()
    return rows == columns


def _product(x_bd, x_part, state_bh, kernel):
    """[x ; h] K, or `x_part` + h K where the part of x is known already."""
    if x_part is not None:
        return x_part + tf.matmul(state_bh, kernel)
    return tf.matmul(tf.concat([x_bd, state_bh], 1), kernel)

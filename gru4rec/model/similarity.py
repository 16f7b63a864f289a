"""How an output and an item's row make a score: their product (dot), or the scaled cosine between
them.

    dot      s_j = h . w_j + b_j
    cosine   s_j = c h . w_j / (|h| |w_j|) + b_j,   |x| = sqrt(x . x + 1e-6)

With the cosine a row's length, which grows with the item's support, says nothing; `c`
(--score_scale) sets how sharp the softmax can be. What ranks items is a product in both cases: of
`model.state.output_rows`, and of the output or its
`unit`.

Source: arXiv 1909.04276 (NISER), which normalises items and sessions of a graph network. Differs:
the rows at the input stay as they are, and there is a bias.
"""

import numpy as np

EPSILON = 1e-6  # inside the root: a zero vector stays zero, and its gradient finite


def unit(x):
    """[..., D] float -> the same divided by |x|."""
    return x / np.sqrt(np.square(x).sum(-1, keepdims=True) + x.dtype.type(EPSILON))

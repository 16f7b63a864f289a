"""How an output and an item's row make a score: their product (dot), or their scaled cosine.

    dot      s_j = h . w_j + b_j
    cosine   s_j = c h . w_j / (|h| |w_j|) + b_j,   |x| = sqrt(x . x + 1e-6)

With the cosine the length of a row, which grows with the item's support, has no effect; `c`
(--score_scale) sets how sharp the softmax can be. In both cases items are ranked by a product: of
`model.state.output_rows` with the output (dot) or with its `unit` (cosine).

Source: arXiv 1909.04276 (NISER), which normalises items and sessions of a graph network. Differs:
the rows at the input stay as they are, and there is a bias.
"""

import numpy as np

EPSILON = 1e-6  # inside the root: a zero vector stays zero, and its gradient finite


def unit(x):
    """[..., D] float -> the same divided by |x|."""
    return x / np.sqrt(np.square(x).sum(-1, keepdims=True) + x.dtype.type(EPSILON))

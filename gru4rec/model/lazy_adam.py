"""Adam as TensorFlow 1 applies it to sparse gradients, at a cost independent of the number of rows.

TF1's Adam decays m and v of *every* row of a table at every step and moves every row, whether or
not the row had a gradient. A row that had none from step tau + 1 to tau + k moves by

    p <- p - sum_{j=1..k} lr_{tau+j} * m_j / (sqrt(v_j) + eps),   m_j = b1^j m,  v_j = b2^j v

with lr_t = lr(t) sqrt(1 - b2^t) / (1 - b1^t). With rho = b1 / sqrt(b2) each term is

    lr_{tau+j} rho^j * m / (sqrt(v) + eps b2^(-j/2))

and since b2^(-j/2) = 1 + j (1 - b2) / 2 + ..., the sum is to first order

    C m / (sqrt(v) + eps'),   eps' = eps (1 + (1 - b2) / 2 * Dk / C)
    C  = sum_{j=1..k} lr_{tau+j} rho^j,   Dk = sum_{j=1..k} j lr_{tau+j} rho^j.

Both sums come from two tables over the steps, made once: A(t) = sum_{j>=1} rho^j lr_{t+j} and
D(t) = sum_{j>=1} j rho^j lr_{t+j}, by

    C  = A(tau) - rho^k A(tau + k),   Dk = D(tau) - rho^k (D(tau + k) + k A(tau + k)).

What the tables assume about steps beyond the last one cancels. So a row is brought up to date when
it is read, from its own m and v and the step it was last touched at; then it gets the ordinary Adam
update with its gradient. If a row occurs several times in a step, its gradients are summed first,
as in TF1.

The formulas are written once, for numpy (checkpoints, evaluation of a copy) and for the graph
(training).
"""

from typing import Any, NamedTuple

import numpy as np

# Rounded to float32, as a float32 graph holds them; 1 - 0.999 would differ by 1.3e-5 of itself.
BETA1, BETA2, EPSILON = float(np.float32(0.9)), float(np.float32(0.999)), 1e-8
RHO = BETA1 / np.sqrt(BETA2)
_REACH = 512  # rho ** 512 < 1e-23: later steps do not change a float64 sum


class Tables(NamedTuple):
    """Per-step constants, index = step (0 = before the first update); of adam all, of others lr."""

    lr: Any  # [T + 1] learning rate of step t, of adam bias-corrected; entry 0 is unused
    a: Any = None  # [T + 1] sum of rho^j lr_{t+j}
    d: Any = None  # [T + 1] sum of j rho^j lr_{t+j}


def tables(rate_of_step, num_steps):
    """Constants of a run.

    Args:
      rate_of_step: function, int64 array of 1-based steps -> float64 learning rates. It is called
        for steps beyond `num_steps` too, so that a longer run has the same entries.
      num_steps: T, the last step that will be taken.
    Returns: Tables of float64 [T + 1].
    """
    steps = np.arange(1, num_steps + _REACH + 1, dtype=np.int64)
    lr = np.zeros(num_steps + _REACH + 1)
    correction = np.sqrt(-np.expm1(steps * np.log(BETA2)))
    lr[1:] = rate_of_step(steps) * correction / -np.expm1(steps * np.log(BETA1))
    j = np.arange(1, _REACH + 1)
    weights = RHO ** j
    ahead = lr[1:]
    return Tables(lr[:num_steps + 1], np.convolve(ahead, weights[::-1], "valid"),
                  np.convolve(ahead, (j * weights)[::-1], "valid"))


def catch_up(np_or_tf, tables_, p, m, v, last, now):
    """Rows as dense Adam would have left them after step `now`, given no gradient since `last`.

    Args:
      np_or_tf: NUMPY or an object with the same functions on tensors (graph/tables.py).
      tables_: Tables in the dtype of the rows.
      p, m, v: [n, D] float values and moments after step `last`.
      last: [n] int, step each row was last brought up to. now: int scalar >= every last.
    Returns: (p, m, v), each [n, D].
    """
    f = np_or_tf
    k = f.cast(now - last, p)
    missed = k > 0
    rho_k = f.exp(k * f.constant(np.log(RHO), p))
    a_now, d_now = f.take(tables_.a, now), f.take(tables_.d, now)
    c = f.take(tables_.a, last) - rho_k * a_now
    dk = f.take(tables_.d, last) - rho_k * (d_now + k * a_now)
    c_safe = f.where(missed, c, f.ones_like(c))
    eps = EPSILON * (1.0 + 0.5 * (1.0 - BETA2) * dk / c_safe)
    move = f.where(missed, c, f.zeros_like(c))
    p = p - f.column(move) * m / (f.sqrt(v) + f.column(eps))
    m = m * f.column(f.exp(k * f.constant(np.log(BETA1), p)))
    v = v * f.column(f.exp(k * f.constant(np.log(BETA2), p)))
    return p, m, v


def update(np_or_tf, p, m, v, gradient, lr):
    """The ordinary Adam update (epsilon outside the bias correction, as TF1).

    Args:
      p, m, v, gradient: same shape. lr: scalar, `Tables.lr` of this step.
    Returns: (p, m, v).
    Source: Kingma and Ba 2015 (arXiv 1412.6980), the form before section 2.1.
    """
    m = BETA1 * m + (1.0 - BETA1) * gradient
    v = BETA2 * v + (1.0 - BETA2) * gradient * gradient
    return p - lr * m / (np_or_tf.sqrt(v) + EPSILON), m, v


class _Numpy:
    """The functions `catch_up` needs, on arrays."""

    exp, sqrt, where = staticmethod(np.exp), staticmethod(np.sqrt), staticmethod(np.where)
    ones_like, zeros_like = staticmethod(np.ones_like), staticmethod(np.zeros_like)

    @staticmethod
    def cast(value, like):
        return np.asarray(value).astype(like.dtype)

    @staticmethod
    def constant(value, like):
        return like.dtype.type(value)

    @staticmethod
    def take(table, index):
        return table[index]

    @staticmethod
    def column(vector):
        return vector[:, None]


NUMPY = _Numpy()


def caught_up(tables_, p, m, v, last, now, rows=65536):
    """`catch_up` of a whole table in float64, in tiles of `rows`.

    Args:
      tables_: Tables of float64. p, m, v: [I, D] float32. last: [I] int32. now: int.
    Returns: (p, m, v), copies of the dtype given; the arguments are not changed.
    """
    out = tuple(np.empty_like(a) for a in (p, m, v))
    for at in range(0, len(p), rows):
        part = slice(at, at + rows)
        wide = [a[part].astype(np.float64) for a in (p, m, v)]
        for target, values in zip(out, catch_up(NUMPY, tables_, *wide, last=last[part], now=now)):
            target[part] = values
    return out

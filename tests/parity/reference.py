"""The model in float64 numpy: slow, plain, and independent of the package it checks.

Symbols: B lanes, D input width, H hidden width, I items, M live columns. Weights are a dict under
the canonical names `embedding` [I, D], `softmax_w` [I, H], `softmax_b` [I] and, for each layer l,
`gru_layer_<l>/gates/kernel`
[D + H, 2H], `.../gates/bias` [2H], `.../candidate/kernel` [D + H, H], `.../candidate/bias` [H].
Every `*_grad` function is checked against finite differences in test_reference.py.
"""

from collections import OrderedDict
from fractions import Fraction
from typing import NamedTuple

import numpy as np

ADAM_BETA1, ADAM_BETA2, ADAM_EPSILON = 0.9, 0.999, 1e-8
TIES = ("conservative", "median", "standard")


def sigmoid(z):
    """1 / (1 + e^-z), without overflow for any z."""
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1.0, e) / (1.0 + e)


def softplus(z):
    """ln(1 + e^z)."""
    return np.maximum(z, 0.0) + np.log1p(np.exp(-np.abs(z)))


# name -> (value, derivative as a function of input and output)
ACTIVATIONS = {
    "linear": (lambda z: z, lambda z, y: np.ones_like(z)),
    # the softmax itself is part of the cross-entropy
    "softmax": (lambda z: z, lambda z, y: np.ones_like(z)),
    "tanh": (np.tanh, lambda z, y: 1.0 - y * y),
    "relu": (lambda z: np.maximum(z, 0.0), lambda z, y: (z > 0).astype(np.float64)),
}


# --- cell -----------------------------------------------------------------------------------------

class Cell(NamedTuple):
    """Weights of one GRU layer, or their gradients."""

    gates_kernel: np.ndarray      # [D + H, 2H], columns [r | u], rows [x | h]
    gates_bias: np.ndarray        # [2H]
    candidate_kernel: np.ndarray  # [D + H, H], rows [x | r·h]
    candidate_bias: np.ndarray    # [H]


def gru_step(x, h, cell, act="tanh"):
    """One step of TF1's GRUCell.

        [r, u] = σ([x; h]·Kg + bg),   c = act([x; r∘h]·Kc + bc),   h' = u∘h + (1−u)∘c

    Args:
      x: [B, D]. h: [B, H]. cell: Cell. act: "tanh" | "relu".
    Returns: [B, H], h'.
    """
    r, u, _, c = _gru_parts(x, h, cell, act)
    return u * h + (1.0 - u) * c


def _gru_parts(x, h, cell, act):
    gates = sigmoid(np.concatenate([x, h], 1).dot(cell.gates_kernel) + cell.gates_bias)
    r, u = np.split(gates, 2, axis=1)
    z = np.concatenate([x, r * h], 1).dot(cell.candidate_kernel) + cell.candidate_bias
    return r, u, z, ACTIVATIONS[act][0](z)


def gru_step_grad(x, h, cell, act, d_new):
    """Gradient of a loss through one step.

    Args:
      x, h, cell, act: as for `gru_step`. d_new: [B, H], gradient with respect to h'.
    Returns: (d_cell: Cell, d_x [B, D], d_h [B, H]); training drops d_h, for the state is carried
    as a constant."""
    r, u, z, c = _gru_parts(x, h, cell, act)
    width = x.shape[1]
    d_z = d_new * (1.0 - u) * ACTIVATIONS[act][1](z, c)
    d_candidate_in = d_z.dot(cell.candidate_kernel.T)  # of [x; r∘h]
    d_rh = d_candidate_in[:, width:]
    # before the sigmoid
    d_gates = np.concatenate([d_rh * h * r * (1.0 - r), d_new * (h - c) * u * (1.0 - u)], 1)
    d_gates_in = d_gates.dot(cell.gates_kernel.T)  # of [x; h]
    d_cell = Cell(np.concatenate([x, h], 1).T.dot(d_gates), d_gates.sum(0),
                  np.concatenate([x, r * h], 1).T.dot(d_z), d_z.sum(0))
    d_x = d_candidate_in[:, :width] + d_gates_in[:, :width]
    return d_cell, d_x, d_new * u + d_rh * r + d_gates_in[:, width:]


# --- scores and losses ----------------------------------------------------------------------------

def score_matrix(h, weights, items):
    """o = h·W[items]ᵀ + b[items]: [B, H], weights, [n] int -> [B, n]."""
    return h.dot(weights["softmax_w"][items].T) + weights["softmax_b"][items]


def loss_value(scores, weight, loss, final_act):
    """Step loss: Σ over live lanes / B, in which only live columns take part.

    With r = final_act(o), i a live lane, j over the M live lanes (i included):

        cross-entropy  −ln( e^{r_ii} / Σ_j e^{r_ij} )
        bpr            Σ_j softplus(−(r_ii − r_ij)) / M
        top1           Σ_j [σ(r_ij − r_ii) + σ(r_ij²)] / M − σ(r_ii²) / M

    Args:
      scores: [B, B], o; row i's target is column i. weight: [B] of 0 and 1.
      loss: "cross-entropy" | "bpr" | "top1". final_act: name in ACTIVATIONS.
    Returns: float; 0 if no lane is live.
    """
    live = np.flatnonzero(weight)
    r = ACTIVATIONS[final_act][0](scores[np.ix_(live, live)])
    total = 0.0
    for i in range(len(live)):
        own, row = r[i, i], r[i]
        if loss == "cross-entropy":
            total += row.max() + np.log(np.exp(row - row.max()).sum()) - own
        elif loss == "bpr":
            total += softplus(-(own - row)).sum() / len(live)
        elif loss == "top1":
            total += ((sigmoid(row - own) + sigmoid(row ** 2)).sum()
                      - sigmoid(own ** 2)) / len(live)
        else:
            raise ValueError("loss %r" % loss)
    return total / len(scores)


def loss_grad(scores, weight, loss, final_act):
    """Gradient of `loss_value` with respect to the scores.

    Returns: [B, B]; rows and columns of weight-0 lanes are 0.
    """
    live = np.flatnonzero(weight)
    inside = np.ix_(live, live)
    value, slope = ACTIVATIONS[final_act]
    z = scores[inside]
    r = value(z)
    own, diagonal = np.diag(r)[:, None], np.eye(len(live))
    if loss == "cross-entropy":
        e = np.exp(r - r.max(1, keepdims=True)) if len(live) else r
        d_r = e / e.sum(1, keepdims=True) - diagonal
    elif loss == "bpr":
        d_r = sigmoid(r - own) / max(len(live), 1)  # of Σ_j softplus(r_ij − r_ii) by r_ij
        d_r -= diagonal * d_r.sum(1, keepdims=True)
    elif loss == "top1":
        s, q = sigmoid(r - own), sigmoid(r ** 2)
        rise = s * (1.0 - s)
        d_r = (rise - diagonal * rise.sum(1, keepdims=True)
               + (1.0 - diagonal) * q * (1.0 - q) * 2.0 * r) / max(
            len(live), 1)
    else:
        raise ValueError("loss %r" % loss)
    out = np.zeros(scores.shape)
    out[inside] = d_r * slope(z, r) / len(scores)
    return out


# --- optimizer ------------------------------------------------------------------------------------

def learning_rate(step, lr=0.001, decay=0.96, decay_steps=1000):
    """Rate of update `step` (1-based): max(1e-5, lr·decay^⌊(step − 1) / decay_steps⌋)."""
    return max(1e-5, lr * decay ** ((step - 1) // decay_steps))


def sum_rows(rows, index, num_rows):
    """Gradient of a table from the gradients of its gathered rows; rows that occur twice add up.

    Example: rows [[1], [2], [4]], index [2, 0, 2], num_rows 3 -> [[2], [0], [5]].
    """
    out = np.zeros((num_rows,) + np.shape(rows)[1:])
    for row, at in zip(rows, index):
        out[at] += row
    return out


def adam_update(value, m, v, gradient, step, lr):
    """Dense Adam as in TF1: every row moves every step; ε is outside the root, not bias-corrected.

        m ← β₁m + (1−β₁)g,  v ← β₂v + (1−β₂)g²,  p ← p − lr·√(1−β₂ᵗ)/(1−β₁ᵗ) · m / (√v + ε)

    Args:
      value, m, v, gradient: arrays of one shape. step: t, 1-based. lr: rate of this step.
    Returns: (value, m, v), new arrays.
    """
    m = ADAM_BETA1 * m + (1.0 - ADAM_BETA1) * gradient
    v = ADAM_BETA2 * v + (1.0 - ADAM_BETA2) * gradient ** 2
    rate = lr * np.sqrt(1.0 - ADAM_BETA2 ** step) / (1.0 - ADAM_BETA1 ** step)
    return value - rate * m / (np.sqrt(v) + ADAM_EPSILON), m, v


def cap_norm(gradient, cap):
    """Gradient of one weight tensor scaled to an L2 norm of at most `cap`; 0 = no cap."""
    norm = np.sqrt((gradient ** 2).sum())
    return gradient * (cap / norm) if cap and norm > cap else gradient


# --- the whole model ------------------------------------------------------------------------------

def init_weights(num_items, sizes, seed):
    """Weights as the model starts.

    Tables uniform ±√(6/(I+width)), kernels Glorot uniform, gate biases 1, others 0.

    Args: num_items: I. sizes: hidden units of each layer; the embedding is as wide as the first.
    seed: int."""
    rng = np.random.RandomState(seed)

    def uniform(rows, columns):
        bound = np.sqrt(6.0 / (rows + columns))
        return rng.uniform(-bound, bound, (rows, columns))

    weights = OrderedDict(embedding=uniform(num_items, sizes[0]),
                          softmax_w=uniform(num_items, sizes[-1]),
                          softmax_b=np.zeros(num_items))
    width = sizes[0]
    for layer, hidden in enumerate(sizes):
        parts = (uniform(width + hidden, 2 * hidden), np.ones(2 * hidden),
                 uniform(width + hidden, hidden),
                 np.zeros(hidden))
        weights.update(zip(cell_names(layer), parts))
        width = hidden
    return weights


def cell_names(layer):
    """Canonical names of one layer's weights, in the order of `Cell`."""
    scope = "gru_layer_%d/" % layer
    return [scope + "gates/kernel", scope + "gates/bias", scope + "candidate/kernel",
            scope + "candidate/bias"]


def cells_of(weights):
    """[Cell] of all layers."""
    cells = []
    while cell_names(len(cells))[0] in weights:
        cells.append(Cell(*(weights[name] for name in cell_names(len(cells)))))
    return cells


def zero_states(weights, num_lanes):
    """Per layer [B, H] of zeros."""
    return [np.zeros((num_lanes, len(cell.candidate_bias))) for cell in cells_of(weights)]


def advance(weights, x, states, act="tanh", masks=None):
    """Run all layers once.

    Args:
      x: [B] item indices. states: per layer [B, H], already zeroed where a session starts.
      masks: None, or per layer [B, H]: what the layer's output is multiplied by (dropout: 0 or 1/(1
      − rate)). The
        carried state is the output before the mask.
    Returns: (inputs, new_states): per layer [B, D_l] what it read, plus at the end the masked
    output of the last one
      [B, H]; per layer [B, H].
    """
    inputs, new_states = [weights["embedding"][x]], []
    for layer, cell in enumerate(cells_of(weights)):
        new_states.append(gru_step(inputs[-1], states[layer], cell, act))
        inputs.append(new_states[-1] * (1.0 if masks is None else masks[layer]))
    return inputs, new_states


def reset_states(states, reset, weight):
    """States with the rows zeroed of lanes that start a session, or have none (weight 0)."""
    zero = np.asarray(reset, bool) | (np.asarray(weight) == 0)
    return [np.where(zero[:, None], 0.0, state) for state in states]


def step_loss(weights, states, x, y, reset, weight, masks=None, act="tanh", loss="cross-entropy",
              final_act="softmax"):
    """Loss of one training step, nothing else; what finite differences need."""
    inputs, _ = advance(weights, x, reset_states(states, reset, weight), act, masks)
    return loss_value(score_matrix(inputs[-1], weights, y), weight, loss, final_act)


def step_gradients(weights, states, x, y, reset, weight, masks=None, act="tanh",
                   loss="cross-entropy",
                   final_act="softmax"):
    """Loss, gradients and carried states of one step; no gradient reaches the incoming states.

    Args:
      weights: dict. states: per layer [B, H], before the reset.
      x, y: [B] item indices in and to predict. reset, weight: [B] of 0 and 1.
      masks, act, loss, final_act: as for `advance` and `loss_value`.
    Returns: (loss, gradients: dict like weights, dense, duplicates summed; new_states: per layer
    [B, H])."""
    states = reset_states(states, reset, weight)
    inputs, new_states = advance(weights, x, states, act, masks)
    scores = score_matrix(inputs[-1], weights, y)
    d_scores = loss_grad(scores, weight, loss, final_act)
    num_items = len(weights["embedding"])
    gradients = {"softmax_w": sum_rows(d_scores.T.dot(inputs[-1]), y, num_items),
                 "softmax_b": sum_rows(d_scores.sum(0), y, num_items)}
    d_output = d_scores.dot(weights["softmax_w"][y])
    for layer, cell in reversed(list(enumerate(cells_of(weights)))):
        d_new = d_output * (1.0 if masks is None else masks[layer])
        d_cell, d_output, _ = gru_step_grad(inputs[layer], states[layer], cell, act, d_new)
        gradients.update(zip(cell_names(layer), d_cell))
    gradients["embedding"] = sum_rows(d_output, x, num_items)
    return loss_value(scores, weight, loss, final_act), gradients, new_states


def zero_slots(weights):
    """Adam moments before the first step: dict name -> (m, v)."""
    return {name: (np.zeros_like(value), np.zeros_like(value)) for name, value in weights.items()}


def train_step(weights, slots, states, x, y, reset, weight, step, masks=None, act="tanh",
               loss="cross-entropy",
               final_act="softmax", lr=0.001, decay=0.96, decay_steps=1000, grad_cap=0.0):
    """One whole update: gradients, cap of each tensor, Adam at the scheduled rate.

    Args:
      slots: dict name -> (m, v). step: 1-based number of this update. Others as for
      `step_gradients`.
    Returns: (loss, weights, slots, states), new objects.
    """
    value, gradients, states = step_gradients(weights, states, x, y, reset, weight, masks, act,
                                              loss, final_act)
    rate = learning_rate(step, lr, decay, decay_steps)
    new_weights, new_slots = OrderedDict(), {}
    for name in weights:
        p, m, v = adam_update(weights[name], slots[name][0], slots[name][1],
                              cap_norm(gradients[name], grad_cap), step,
                              rate)
        new_weights[name], new_slots[name] = p, (m, v)
    return value, new_weights, new_slots, states


# --- schedule -------------------------------------------------------------------------------------

def schedule(sessions, num_lanes):
    """Session-parallel batches, one lane and one step at a time.

    Args:
      sessions: list of lists of item indices, in the order they are taken; shorter than 2 means
      nothing to predict.
      num_lanes: B.
    Returns: (x, y, reset, weight), lists [T][B] of ints; drained lanes hold 0 everywhere.
    Example: sessions [[1, 2, 3], [4, 5], [6, 7]], B = 2 ->
      x [[1, 4], [2, 6]], y [[2, 5], [3, 7]], reset [[1, 1], [0, 1]], weight [[1, 1], [1, 1]].
    """
    waiting = [list(session) for session in sessions if len(session) >= 2]
    lanes, fresh = [[] for _ in range(num_lanes)], [0] * num_lanes
    xs, ys, resets, weights = [], [], [], []
    while True:
        for lane in range(num_lanes):
            if len(lanes[lane]) < 2:  # no further target: take the next session, if there is one
                lanes[lane], fresh[lane] = (waiting.pop(0), 1) if waiting else ([], 0)
        if not any(lanes):
            return xs, ys, resets, weights
        xs.append([session[0] if session else 0 for session in lanes])
        ys.append([session[1] if session else 0 for session in lanes])
        resets.append(list(fresh))
        weights.append([int(bool(session)) for session in lanes])
        lanes, fresh = [session[1:] for session in lanes], [0] * num_lanes


# --- evaluation -----------------------------------------------------------------------------------

class Evaluated(NamedTuple):
    """What one pass over the test sessions finds; events are targets."""

    counts: list       # (greater, greater_equal) of each ranked target, in the order of the events
    num_misses: int    # targets the model does not know (unknown="miss" only)
    num_sessions: int  # sessions with at least one target
    num_dropped: int   # events removed because their item is unknown (unknown="drop" only)

    def ranks(self, tie):
        """[Fraction], one for each ranked target."""
        return [rank(greater, greater_equal, tie) for greater, greater_equal in self.counts]

    def recall_mrr(self, cut_off, tie="conservative"):
        """(Recall@c, MRR@c) as Fractions."""
        return recall_mrr(self.ranks(tie), cut_off, self.num_misses)


def rank(greater, greater_equal, tie):
    """Rank from #(s > target's) and #(s >= target's): last, middle or first of its equals.

    The second count includes the target itself.
    """
    return {"conservative": Fraction(int(greater_equal)), "standard": Fraction(1 + int(greater)),
            "median": Fraction(1 + int(greater) + int(greater_equal), 2)}[tie]


def recall_mrr(ranks, cut_off, num_misses=0):
    """Share of targets with rank <= c, and mean of 1/rank over those, misses counting as 0."""
    hits = [r for r in ranks if r <= cut_off]
    total = len(ranks) + num_misses
    return Fraction(len(hits), total), sum((1 / r for r in hits), Fraction(0)) / total


def evaluate(weights, sessions, unknown="drop", act="tanh"):
    """Rank every next event, one session and one event at a time, each session from the zero state.

    "drop" removes unknown events first, then sessions shorter than 2. "miss" keeps every next event
    of a session of at least 2: an unknown target is a miss, an unknown input leaves the state as it
    is; a known item that follows
    only unknown ones is predicted from the zero state.

    Args:
      weights: dict. sessions: list of lists of item indices, -1 for an item the model does not
      know.
      unknown: "drop" | "miss". act: activation of the candidate state.
    Returns: Evaluated.
    """
    counts, num_misses, num_sessions, num_dropped = [], 0, 0, 0
    for session in sessions:
        if unknown == "drop":
            num_dropped += sum(item < 0 for item in session)
            session = [item for item in session if item >= 0]
        num_sessions += len(session) >= 2
        states = zero_states(weights, 1)
        for item, target in zip(session[:-1], session[1:]):
            if item >= 0:
                _, states = advance(weights, [item], states, act)
            if target < 0:
                num_misses += 1
                continue
            scores = score_matrix(states[-1], weights, np.arange(len(weights["softmax_b"])))[0]
            counts.append((int((scores > scores[target]).sum()),
                           int((scores >= scores[target]).sum())))
    return Evaluated(counts, num_misses, num_sessions, num_dropped)

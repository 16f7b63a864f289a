"""The whole model family in float64 numpy, written forwards only; gradients by the complex step.

For an analytic f, Im f(w + ih) / h is its derivative to the last bit when h is tiny, so nothing
here is differentiated by
hand: a mistake in a derivative of the graph cannot be repeated. Sizes are those of tests.
"""

import numpy as np

from tests.parity import reference

STEP = 1e-30


def act(name, alpha, x):
    """Activation by name; relu and elu look at the real part only."""
    if name == "tanh":
        return np.tanh(x)
    if name == "relu":
        return np.where(x.real > 0, x, 0.0)
    if name == "elu" and alpha:
        return np.where(x.real > 0, x, alpha * (np.exp(np.where(x.real > 0, 0.0, x)) - 1.0))
    return x


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def cell_step(model, weights, layer, x, h):
    """h' of one layer; layer 0 of --embedding none gets [B, 3H] kernel rows as its x."""
    scope, hidden = "gru_layer_%d/" % layer, h.shape[1]
    kg, bg = weights[scope + "gates/kernel"], weights[scope + "gates/bias"]
    kc, bc = weights[scope + "candidate/kernel"], weights[scope + "candidate/bias"]
    inputs = len(kc) - hidden
    xg, xc = (x.dot(kg[:inputs]),
              x.dot(kc[:inputs])) if inputs else (x[:, :2 * hidden], x[:, 2 * hidden:])
    r = sigmoid(xg[:, :hidden] + h.dot(kg[inputs:, :hidden]) + bg[:hidden])
    u = sigmoid(xg[:, hidden:] + h.dot(kg[inputs:, hidden:]) + bg[hidden:])
    c = act(model.hidden_act, model.elu, xc + (r * h).dot(kc[inputs:]) + bc)
    return (1 - u) * h + u * c if model.cell == "official" else u * h + (1 - u) * c


def unit(x):
    """Vectors of length 1, a complex step kept (no conjugate)."""
    return x / np.sqrt((x * x).sum(-1, keepdims=True) + 1e-6)


def lane_loss(model, training, scores, own, live, shift):
    """Loss of one lane from its row of scores [M]; own: its column; live: [M] 0/1; shift: [M]."""
    r = act(model.final_act, model.elu, scores) - shift
    columns = [j for j in range(len(r)) if live[j]]
    negatives = [j for j in columns if j != own]
    m = len(columns)
    if "cross-entropy" in model.loss:
        e = np.exp(r[columns])
        minus_ln_p = dict(zip(columns, np.log(e.sum()) - r[columns]))
        smoothing = training.label_smoothing if m > 1 else 0.0
        if not smoothing:
            return minus_ln_p[own]
        return ((1 - smoothing * m / (m - 1)) * minus_ln_p[own]
                + smoothing / (m - 1) * sum(minus_ln_p.values()))
    if model.loss == "bpr":
        return sum(np.log(1 + np.exp(-(r[own] - r[j]))) for j in columns) / m
    if model.loss == "top1":
        return (sum(sigmoid(r[j] - r[own]) + sigmoid(r[j] ** 2)
                    for j in columns) - sigmoid(r[own] ** 2)) / m
    if not negatives:
        return 0.0
    e = np.exp(r[negatives])
    s = dict(zip(negatives, e / e.sum()))
    if model.loss == "bpr-max":
        return (-np.log(sum(s[j] * sigmoid(r[own] - r[j]) for j in negatives))
                + training.bpreg * sum(s[j] * r[j] ** 2 for j in negatives))
    return sum(s[j] * (sigmoid(r[j] - r[own]) + sigmoid(r[j] ** 2)) for j in negatives)


class Step:
    """One training step: what it sees, and its loss as a function of the weights."""

    def __init__(self, config, support, states, x, y, reset, weight, samples, masks):
        """samples: [N] drawn items. masks: {"embed" or layer: [B, .] factor}.

        states: per layer [B, H].
        """
        self.model, self.training, self.support = config.model, config.training, support
        self.x, self.y, self.weight, self.masks = x, y, np.asarray(weight, bool), masks
        idle = np.asarray(reset, bool) | ~self.weight
        self.states = [np.where(idle[:, None], 0.0, s) for s in states]
        self.columns = (np.arange(len(support)) if self.model.loss == "full-cross-entropy"
                        else np.concatenate([y, samples]).astype(int))

    def run(self, weights):
        """(loss, states carried on)."""
        model, training, lanes = self.model, self.training, len(self.x)
        table = weights["softmax_w" if model.embedding == "shared" else "embedding"]
        output, carried = table[self.x] * self.masks["embed"], []
        for layer in range(model.layer):
            clean = cell_step(model, weights, layer, output, self.states[layer])
            output = clean * self.masks[layer]
            carried.append(output if model.cell == "official" else clean)
        rows = weights["softmax_w"][self.columns]
        if model.score == "cosine":
            output, rows = model.score_scale * unit(output), unit(rows)
        scores = output.dot(rows.T) + weights["softmax_b"][self.columns]
        full = model.loss == "full-cross-entropy"
        shift = training.logq * np.log(self.support[self.columns])
        shift[lanes:] *= training.sample_alpha
        total = 0.0
        for lane in np.flatnonzero(self.weight):
            own = self.y[lane] if full else lane
            live = np.ones(len(self.columns), bool)
            if not full:
                live[:lanes] = self.weight
            if training.mask_hits:
                live &= (self.columns != self.y[lane]) | (np.arange(len(live)) == own)
            total = total + lane_loss(model, training, scores[lane], own, live, shift)
        return total / lanes, carried

    def gradients(self, weights):
        """name -> derivative of the loss by every weight."""
        out = {}
        for name, values in weights.items():
            flat = np.zeros(values.size)
            for i in range(values.size):
                moved = values.astype(complex)
                moved.flat[i] += 1j * STEP
                flat[i] = np.imag(self.run(dict(weights, **{name: moved}))[0]) / STEP
            out[name] = flat.reshape(values.shape)
        return out

    def touched(self, name):
        """[I] which rows of a table take part; None for weights every step uses."""
        if name not in ("embedding", "softmax_w", "softmax_b"):
            return None
        rows = np.zeros(len(self.support), bool)
        lanes = len(self.x)
        if name == "embedding" or self.model.embedding == "shared":
            rows[self.x[self.weight]] = True
        if name != "embedding":
            full = self.model.loss == "full-cross-entropy"
            rows[self.columns if full else self.columns[lanes:]] = True
            rows[self.y[self.weight]] = True
        return rows


def zero_slots(config, weights):
    """name -> zero arrays: two for adam, else one for a rule with memory, one for momentum."""
    count = {"adam": 2, "adagrad": 1, "rmsprop": 1,
             "sgd": 0}[config.training.optimizer] + (config.training.momentum > 0)
    return {name: [np.zeros_like(value) for _ in range(count)] for name, value in weights.items()}


def capped(training, gradients):
    """Gradients under --grad_cap and --grad_cap_mode."""
    if not training.grad_cap:
        return gradients
    norms = {name: np.sqrt((g ** 2).sum()) for name, g in gradients.items()}
    if training.grad_cap_mode == "global":
        whole = np.sqrt(sum(norm ** 2 for norm in norms.values()))
        norms = dict.fromkeys(norms, whole)
    return {name: g * min(1.0, training.grad_cap / norms[name]) if norms[name] else g for name,
            g in gradients.items()}


def update(config, weights, slots, gradients, touched, number):
    """(weights, slots) after one update; touched: name -> [I] bool or None."""
    training = config.training
    lr = max(1e-5, training.lr * training.decay ** ((number - 1) // training.decay_steps))
    new_weights, new_slots = {}, {}
    for name, g in capped(training, gradients).items():
        w, old = weights[name], slots[name]
        if training.optimizer == "adam":
            p, m, v = reference.adam_update(w, old[0], old[1], g, number, lr)
            new_weights[name], new_slots[name] = p, [m, v]
            continue
        kept = []
        if training.optimizer == "adagrad":
            kept = [old[0] + g ** 2]
            move = lr * g / np.sqrt(kept[0] + 1e-6)
        elif training.optimizer == "rmsprop":
            kept = [0.9 * old[0] + 0.1 * g ** 2]
            move = lr * g / np.sqrt(kept[0] + 1e-6)
        else:
            move = lr * g
        if training.momentum:
            kept.append(training.momentum * old[-1] - move)
            moved = w + kept[-1]
        else:
            moved = w - move
        if touched[name] is not None:
            rows = touched[name].reshape((-1,) + (1,) * (w.ndim - 1))
            moved, kept = np.where(rows, moved, w), [np.where(rows, a, b) for a,
                                                     b in zip(kept, old)]
        new_weights[name], new_slots[name] = moved, kept
    return new_weights, new_slots

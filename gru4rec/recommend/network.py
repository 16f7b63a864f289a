"""The network in numpy: computes what `graph/cell.py` and `graph/scorer.py` do in TensorFlow."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from gru4rec.model import similarity

SHARED_FROM = 100000  # from this many items on, several threads compute the scores together


class _Layer(NamedTuple):
    """Weights of a layer by what they are multiplied with; columns [r | u] or [r | u | c].

    r: reset gate, u: update gate, c: candidate state.
    """

    x: Any  # [D, 3H], or None where the input is a row of it already (--embedding none)
    bias: Any  # [3H]
    h_gates: Any  # [H, 2H]
    h_candidate: Any  # [H, H]


def activation(name, alpha):
    """The activation `name` as a function of an array, as graph.activations.get."""
    if name == "elu" and alpha:
        alpha = np.float32(alpha)
        return lambda x: np.maximum(x, 0) + alpha * np.expm1(np.minimum(x, 0))
    return {"tanh": np.tanh, "relu": lambda x: np.maximum(x, 0)}.get(name, lambda x: x)


class NumpyNetwork:
    """Hidden states and scores of many sessions at a time; threads may share it."""

    def __init__(self, weights, threads=1):
        """weights: checkpoint.weights.Weights. threads: for scores of SHARED_FROM items or more."""
        model = weights.config.model
        num_items = len(weights.item_vectors)
        self._pool = None
        if threads > 1 and num_items >= SHARED_FROM:
            self._pool = ThreadPoolExecutor(threads)
        bounds = [num_items * i // threads for i in range(threads + 1)]
        self._parts = [slice(*pair) for pair in zip(bounds, bounds[1:])]
        self.sizes = model.size
        self._cosine = model.score == "cosine"
        self._official = model.cell == "official"
        self._act = activation(model.hidden_act, model.elu)
        self._rows, self._vectors = weights.input_rows, weights.item_vectors
        self._layers = [_layer(weights.dense, i, hidden) for i, hidden in enumerate(model.size)]

    def zero_states(self, lanes):
        """States before the first item: list, per layer [lanes, H] float32."""
        return [np.zeros((lanes, hidden), np.float32) for hidden in self.sizes]

    def step(self, states, items):
        """States after one more item in every lane.

        Args:
          states: list, per layer [B, H] float32; not changed. items: [B] int, item indices.
        Returns: list, per layer [B, H] float32.
        Source: formulas of graph.cell.gru_step.
        """
        x, out = self._rows[items], []
        for layer, h in zip(self._layers, states):
            hidden = h.shape[1]
            if layer.x is not None:
                x = x.dot(layer.x)
            x = x + layer.bias
            # sigmoid(z) = (1 + tanh(z / 2)) / 2 cannot overflow
            gates = 0.5 + 0.5 * np.tanh(0.5 * (x[:, :2 * hidden] + h.dot(layer.h_gates)))
            r, u = gates[:, :hidden], gates[:, hidden:]
            c = self._act(x[:, 2 * hidden:] + (r * h).dot(layer.h_candidate))
            if self._official:
                x = h + u * (c - h)
            else:
                x = c + u * (h - c)
            out.append(x)
        return out

    def outputs(self, hidden):
        """[B, H + 1] float32 whose product with the item vectors is the scores: states and a 1.

        With --score cosine the states are scaled to length 1 (model.similarity.unit).
        """
        if self._cosine:
            hidden = similarity.unit(hidden)
        return np.concatenate([hidden, np.ones((len(hidden), 1), np.float32)], 1)

    def scores(self, hidden, candidates=None):
        """[B, I] float32 scores of all items, or [B, C] of `candidates` (int [C]).

        Args: hidden: [B, H] float32, state of the last layer.
        """
        outputs, vectors = self.outputs(hidden), self._vectors
        if candidates is not None:
            return outputs.dot(vectors[candidates].T)
        if self._pool is None:
            return outputs.dot(vectors.T)
        out = np.empty((len(hidden), len(vectors)), np.float32)
        list(self._pool.map(lambda part: np.matmul(outputs, vectors[part].T, out=out[:, part]),
                            self._parts))
        return out


def _layer(dense, number, hidden):
    """The _Layer of a layer's kernels, whose upper rows belong to the input."""
    scope = "gru_layer_%d/" % number
    gates, candidate = dense[scope + "gates/kernel"], dense[scope + "candidate/kernel"]
    width = len(candidate) - hidden
    x = np.concatenate([gates[:width], candidate[:width]], 1) if width else None
    bias = np.concatenate([dense[scope + "gates/bias"], dense[scope + "candidate/bias"]])
    return _Layer(x, bias, np.ascontiguousarray(gates[width:]),
                  np.ascontiguousarray(candidate[width:]))



"""The network as the TensorFlow graph of the evaluation, with the methods of NumpyNetwork."""

import threading

import numpy as np

from gru4rec import device
from gru4rec.engine.variables import Variables
from gru4rec.graph import scorer
from gru4rec.graph import step as net
from gru4rec.model import state
from gru4rec.tf_compat import tf


class TFNetwork:
    """States and scores from a graph and a session of its own; threads may share it.

    Shapes in the graph are static, so sessions are padded to a power of two, and each power has a
    part of the graph.
    """

    def __init__(self, weights):
        """weights: checkpoint.weights.Weights."""
        chosen = device.choose("cpu", job="infer")
        self._model = weights.config.model
        self.sizes = self._model.size
        self._graph, self._lock, self._steps, self._scorers = tf.Graph(), threading.Lock(), {}, {}
        variables = Variables(chosen.use_resource)
        with self._graph.as_default():
            dense = [variables.add(name, weights.dense[name])
                     for name in state.dense_shapes(self._model)]
            self._rows = variables.add("rows", weights.input_rows)
            self._vectors_var = variables.add("vectors", weights.item_vectors)
            self._dense = [tf.identity(w) for w in dense]
            self._session = tf.Session(graph=self._graph, config=chosen.session_config())
            variables.initialise(self._session)

    def zero_states(self, lanes):
        """As NumpyNetwork.zero_states."""
        return [np.zeros((lanes, hidden), np.float32) for hidden in self.sizes]

    def step(self, states, items):
        """As NumpyNetwork.step, by scorer.hidden_states."""
        count = len(items)
        lanes = 1 << (count - 1).bit_length()
        inputs, outputs = self._part(self._steps, lanes, self._build_step)
        feed = {inputs[0]: np.append(items, np.full(lanes - count, -1))[None]}
        feed.update({ph: np.concatenate([s, np.zeros((lanes - count, s.shape[1]), np.float32)])
                     for ph, s in zip(inputs[1:], states)})
        return [s[:count] for s in self._session.run(outputs, feed)]

    def outputs(self, hidden):
        """As NumpyNetwork.outputs."""
        (hidden_ph,), (outputs, _) = self._part(self._scorers, None, self._build_scores)
        return self._session.run(outputs, {hidden_ph: hidden})

    def scores(self, hidden, candidates=None):
        """As NumpyNetwork.scores."""
        (hidden_ph,), (_, scores) = self._part(self._scorers, None, self._build_scores)
        values = self._session.run(scores, {hidden_ph: hidden})
        if candidates is None:
            return np.array(values)  # one that may be written to
        return values[:, candidates]

    def _part(self, parts, key, build):
        """(placeholders, outputs) of the part of the graph for `key`, built when first used."""
        with self._lock:
            if key not in parts:
                with self._graph.as_default():
                    parts[key] = build(key)
            return parts[key]

    def _build_step(self, lanes):
        items_ph = tf.placeholder(tf.int32, [1, lanes])
        states_ph = [tf.placeholder(tf.float32, [lanes, hidden]) for hidden in self.sizes]
        _, states = scorer.hidden_states(self._model, self._dense, self._rows, items_ph,
                                         tf.zeros([1, lanes], tf.bool), states_ph)
        return [items_ph] + states_ph, list(states)

    def _build_scores(self, _):
        hidden_ph = tf.placeholder(tf.float32, [None, self.sizes[-1]])
        outputs = tf.concat([net.score_vectors(self._model, hidden_ph),
                             tf.ones([tf.shape(hidden_ph)[0], 1])], 1)
        return [hidden_ph], [outputs, tf.matmul(outputs, self._vectors_var, transpose_b=True)]

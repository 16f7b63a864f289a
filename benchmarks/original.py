"""The baseline of bench_train: training as the original TensorFlow 1 script did it.

The step is defined by today's code. One step per session call, hidden states fed in and fetched
back, stock AdamOptimizer on reference variables (TensorFlow 1's default), stock dropout, learning
rate by tf.train.exponential_decay.
"""

import numpy as np

from gru4rec.engine.variables import Variables
from gru4rec.graph import lookup
from gru4rec.graph import step as net
from gru4rec.model import state
from gru4rec.tf_compat import tf


class Original:
    """Has the part of an engine's interface that bench_train uses."""

    steps_per_run = 1

    def __init__(self, config, device, arrays):
        self._states = [arrays[state.hidden_state(i)] for i in range(config.model.layer)]
        variables, graph = Variables(use_resource=False), tf.Graph()
        with graph.as_default():
            weights = {name: variables.add(name, arrays[name])
                       for name in state.weight_shapes(config.model, len(arrays[state.EMBEDDING]))}
            self._build(config, weights)
            self._session = tf.Session(graph=graph, config=device.session_config())
            variables.initialise(self._session)
            known = {id(var) for var in weights.values()}
            # Adam's slots and powers, and the step number
            others = [var for var in tf.global_variables() if id(var) not in known]
            self._session.run(tf.variables_initializer(others))

    def _build(self, config, weights):
        model, training = config.model, config.training
        lanes = [training.batch_size]
        self._batch_phs = (tf.placeholder(tf.int32, lanes), tf.placeholder(tf.int32, lanes),
                           tf.placeholder(tf.bool, lanes), tf.placeholder(tf.float32, lanes))
        self._state_phs = [tf.placeholder(tf.float32, [training.batch_size, hidden])
                           for hidden in model.size]
        x_b, y_b, _, _ = self._batch_phs
        dense = [weights[name] for name in state.dense_shapes(model)]
        embedding = weights[state.EMBEDDING]
        softmax_w, softmax_b = weights[state.SOFTMAX_W], weights[state.SOFTMAX_B]

        def dropout(tensor, layer):
            rate = 0.0 if layer == net.EMBED else model.dropout[layer]
            return tf.nn.dropout(tensor, rate=rate) if rate else tensor

        outputs_bd = tf.concat([tf.gather(softmax_w, y_b), tf.gather(softmax_b, y_b)[:, None]], 1)
        batch = net.Batch(*self._batch_phs)
        read = net.Weights([tf.identity(w) for w in dense], [tf.gather(embedding, x_b), outputs_bd])
        step = net.train_step(model, training, read, batch,
                              lookup.lookup(model, training, batch).columns, self._state_phs,
                              dropout)
        hidden = model.size[-1]
        inputs, outputs = step.rows
        gradients = list(zip(step.dense, dense)) + [
            (tf.IndexedSlices(inputs, x_b, embedding.shape), embedding),
            (tf.IndexedSlices(outputs[:, :hidden], y_b, softmax_w.shape), softmax_w),
            (tf.IndexedSlices(outputs[:, hidden], y_b, softmax_b.shape), softmax_b)]
        number = tf.Variable(0, trainable=False, use_resource=False)
        decayed = tf.train.exponential_decay(training.lr, number, training.decay_steps,
                                             training.decay, staircase=True)
        lr = tf.maximum(1e-5, decayed)
        train_op = tf.train.AdamOptimizer(lr).apply_gradients(gradients, global_step=number)
        self._fetches = [step.loss, list(step.states), number, lr, train_op]

    def run(self, chunk):
        """Train on a chunk of one row; returns its loss, [1] float32."""
        feed = dict(zip(self._batch_phs, (a[0] for a in chunk[:4])))
        feed.update(zip(self._state_phs, self._states))
        loss, self._states, _, _, _ = self._session.run(self._fetches, feed)
        return np.array([loss], np.float32)

    def close(self):
        self._session.close()

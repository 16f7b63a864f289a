"""The plain engine: one step per session call and TensorFlow's own Adam, as the original runs.

It is the oracle the fast engine is tested against, and the conservative choice where a device's support of loops and
scatters is uncertain. The step itself is the same graph.model.train_step.
"""

from collections import OrderedDict

import numpy as np

from gru4rec import lazy_adam, lr_schedule
from gru4rec.engine import dropout_of_step, state
from gru4rec.engine.variables import Variables
from gru4rec.graph import model as net
from gru4rec.tf_compat import tf


class PlainEngine:
    """Engine (see `engine.create`) on `tf.train.AdamOptimizer`; sparse gradients update every row, as TF1 does."""

    steps_per_run = 1

    def __init__(self, config, device, arrays):
        self._model, self._training = config.model, config.training
        self._step_number = int(arrays[state.GLOBAL_STEP])
        arrays = state.caught_up(config, arrays)
        variables = Variables(device.use_resource)
        graph = tf.Graph()
        with graph.as_default():
            self._make_variables(variables, arrays)
            self._make_step(device, dropout_of_step(config, device))
            self._session = tf.Session(graph=graph, config=device.session_config())
            self._load_optimizer(variables, arrays)
            variables.initialise(self._session)

    def _make_variables(self, variables, arrays):
        self._weights = OrderedDict((name, variables.add(name, arrays[name]))
                                    for name in state.weight_shapes(self._model, len(arrays[state.EMBEDDING])))
        self._states = [variables.add(state.hidden_state(i), arrays[state.hidden_state(i)])
                        for i in range(self._model.layer)]

    def _make_step(self, device, dropout_of):
        lanes = [self._training.batch_size]
        self._placeholders = (tf.placeholder(tf.int32, lanes, "x"), tf.placeholder(tf.int32, lanes, "y"),
                              tf.placeholder(tf.bool, lanes, "reset"), tf.placeholder(tf.bool, lanes, "weight"),
                              tf.placeholder(tf.int32, [], "step"), tf.placeholder(tf.float32, [], "lr"))
        x_b, y_b, reset_b, weight_b, number, lr = self._placeholders
        batch = net.Batch(x_b, y_b, reset_b, tf.cast(weight_b, tf.float32))
        embedding, softmax_w, softmax_b = [self._weights[n] for n in
                                           (state.EMBEDDING, state.SOFTMAX_W, state.SOFTMAX_B)]
        dense = [self._weights[name] for name in state.dense_shapes(self._model)]

        outputs_bd = tf.concat([tf.gather(softmax_w, y_b), tf.gather(softmax_b, y_b)[:, None]], 1)
        step = net.train_step(self._model, [tf.identity(w) for w in dense], tf.gather(embedding, x_b), outputs_bd,
                              batch, [tf.identity(s) for s in self._states], dropout_of(number), self._training.grad_cap)
        hidden = self._model.size[-1]
        gradients = list(zip(step.dense, dense)) + [
            (tf.IndexedSlices(step.inputs_be, x_b, embedding.shape), embedding),
            (tf.IndexedSlices(step.outputs_bd[:, :hidden], y_b, softmax_w.shape), softmax_w),
            (tf.IndexedSlices(step.outputs_bd[:, hidden], y_b, softmax_b.shape), softmax_b)]
        self._optimizer = tf.train.AdamOptimizer(lr, lazy_adam.BETA1, lazy_adam.BETA2, lazy_adam.EPSILON)
        with tf.control_dependencies([step.loss] + [g for g, _ in gradients]):
            updates = [device.wrap_optimizer(self._optimizer).apply_gradients(gradients)]
            updates += [tf.assign(s, value).op for s, value in zip(self._states, step.states)]
        self._train_op, self._loss = tf.group(*updates), step.loss

    def _load_optimizer(self, variables, arrays):
        for name, var in self._weights.items():
            variables.assign(self._optimizer.get_slot(var, "m"), arrays[name + state.M_SLOT])
            variables.assign(self._optimizer.get_slot(var, "v"), arrays[name + state.V_SLOT])
        for power, beta in zip(self._optimizer._get_beta_accumulators(), (lazy_adam.BETA1, lazy_adam.BETA2)):
            variables.assign(power, _power(beta, self._step_number + 1))

    def run(self, chunk):
        """Train on a chunk of one row.

        Args:
          chunk: engine.Chunk.
        Returns: [1] float32 loss.
        """
        training = self._training
        rate = lr_schedule.learning_rate(chunk.first_step, training.lr, training.decay, training.decay_steps)
        feed = dict(zip(self._placeholders, [a[0] for a in chunk[:4]] + [chunk.first_step, rate]))
        loss, _ = self._session.run([self._loss, self._train_op], feed)
        self._step_number = chunk.first_step
        return np.array([loss], np.float32)

    def arrays(self):
        """The state under canonical names; every row is up to date."""
        out = OrderedDict()
        for name, var in self._weights.items():
            out[name], out[name + state.M_SLOT], out[name + state.V_SLOT] = self._session.run(
                [var, self._optimizer.get_slot(var, "m"), self._optimizer.get_slot(var, "v")])
        for name in state.TABLES:
            out[name + state.LAST_STEP] = np.full(len(out[name]), self._step_number, np.int32)
        for i, value in enumerate(self._session.run(self._states)):
            out[state.hidden_state(i)] = value
        out[state.GLOBAL_STEP] = np.array(self._step_number, np.int64)
        return out

    def close(self):
        self._session.close()


def _power(beta, exponent):
    """beta ** exponent by float32 products, as the optimizer's accumulator reaches it."""
    return np.multiply.accumulate(np.full(exponent, beta, np.float32))[-1]

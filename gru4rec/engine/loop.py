"""The fast engine: K steps per session call, and Adam that touches only the rows of the batch."""

from collections import OrderedDict

import numpy as np

from gru4rec import lazy_adam
from gru4rec.engine import dropout_of_step, state
from gru4rec.engine.variables import Variables, padded
from gru4rec.graph import model as net
from gru4rec.graph import tables as wide
from gru4rec.tf_compat import jit_function, tf

# Enough that the session call costs nothing beside its steps; a chunk of inputs stays far below a megabyte.
STEPS_PER_RUN = 250


class LoopEngine:
    """Engine (see `engine.create`): a compiled (TF >= 2.6) or plain `tf.while_loop` over the steps of a chunk.

    The loop always has room for `steps_per_run` steps and makes as many as the chunk has, so it is compiled once and a
    padding row runs no update. Tables are wide rows (graph.tables); `embedding` has E columns, `softmax_w` and
    `softmax_b` share rows of H + 1.
    """

    def __init__(self, config, device, arrays, num_steps, steps_per_run, xla):
        self._model, self._training = config.model, config.training
        self._dropout = dropout_of_step(config, device)
        self.steps_per_run = steps_per_run or STEPS_PER_RUN
        self._global_step = int(arrays[state.GLOBAL_STEP])
        variables = Variables(use_resource=True)
        graph = tf.Graph()
        with graph.as_default():
            self._make_variables(variables, arrays, state.adam_tables(config.training, num_steps))
            self._losses = self._make_loop(xla)
            self._session = tf.Session(graph=graph, config=device.session_config())
            variables.initialise(self._session)

    def _make_variables(self, variables, arrays, adam):
        slots = state.SLOTS
        self._dense = OrderedDict(
            (name, [variables.add(name + slot, arrays[name + slot]) for slot in slots])
            for name in state.dense_shapes(self._model))
        self._inputs = variables.add("input_rows", wide.pack(
            *[arrays[state.EMBEDDING + s] for s in slots], last=arrays[state.ROW_STEP[state.EMBEDDING]]))
        self._outputs = variables.add("output_rows", wide.pack(
            *[np.concatenate([arrays[state.SOFTMAX_W + s], arrays[state.SOFTMAX_B + s][:, None]], 1) for s in slots],
            last=arrays[state.ROW_STEP[state.SOFTMAX_W]]))
        self._states = [variables.add(state.hidden_state(i), arrays[state.hidden_state(i)])
                        for i in range(self._model.layer)]
        self._adam = [variables.add("adam_" + name, table.astype(np.float32))
                      for name, table in zip(adam._fields, adam)]

    def _make_loop(self, xla):
        shape = [self.steps_per_run, self._training.batch_size]
        self._placeholders = (
            tf.placeholder(tf.int32, shape, "x"), tf.placeholder(tf.int32, shape, "y"),
            tf.placeholder(tf.bool, shape, "reset"), tf.placeholder(tf.bool, shape, "weight"),
            tf.placeholder(tf.int32, [], "first_step"), tf.placeholder(tf.int32, [], "num_steps"))

        def loop(*tensors):
            return self._loop(*tensors)

        return (jit_function(loop) if xla else loop)(*self._placeholders)

    def _loop(self, x_kb, y_kb, reset_kb, weight_kb, first_step, num_steps):
        """[K] losses of the first `num_steps` rows; the loop ends early after a loss that is not finite."""
        k = self.steps_per_run
        positions = tf.range(k)

        def more(i, finite, *_):
            return tf.logical_and(i < num_steps, finite)

        def body(i, _, losses_k, *states):
            # Reads wait for i, and i for the updates of the step before.
            with tf.control_dependencies([i]):
                batch = net.Batch(x_kb[i], y_kb[i], reset_kb[i], tf.cast(weight_kb[i], tf.float32))
                step, updates = self._step(batch, states, first_step + i)
            with tf.control_dependencies(updates):
                losses_k = tf.where(tf.equal(positions, i), tf.fill([k], step.loss), losses_k)
                return [i + 1, tf.math.is_finite(step.loss), losses_k] + [tf.identity(s) for s in step.states]

        start = [tf.constant(0), tf.constant(True), tf.zeros([k])] + [s.read_value() for s in self._states]
        end = tf.while_loop(more, body, start, parallel_iterations=1, back_prop=False)
        with tf.control_dependencies([s.assign(value).op for s, value in zip(self._states, end[3:])]):
            return tf.identity(end[2])

    def _step(self, batch, states, number):
        """(net.Step of update `number`, its update ops)."""
        adam = lazy_adam.Tables(*[table.read_value() for table in self._adam])
        inputs = wide.read(self._inputs, batch.x_b, number, adam)
        outputs = wide.read(self._outputs, batch.y_b, number, adam)

        step = net.train_step(self._model, [p.read_value() for p, _, _ in self._dense.values()], inputs.p, outputs.p,
                              batch, states, self._dropout(number), self._training.grad_cap)
        # No update before every gradient is there: they read the same weights.
        with tf.control_dependencies(list(step.dense) + [step.inputs_be, step.outputs_bd]):
            lr = tf.gather(adam.lr, number)
            updates = [_apply_adam(p, m, v, lr, g) for (p, m, v), g in zip(self._dense.values(), step.dense)]
            updates.append(wide.write(self._inputs, batch.x_b, inputs, step.inputs_be, number, adam))
            updates.append(wide.write(self._outputs, batch.y_b, outputs, step.outputs_bd, number, adam))
        return step, updates

    def run(self, chunk):
        """Train on a chunk of at most `steps_per_run` rows.

        Args:
          chunk: engine.Chunk.
        Returns: [n] float32 losses. If one is not finite, the steps after it were not made (their entries are 0).
        """
        count = len(chunk.x)
        feed = dict(zip(self._placeholders, [padded(a, self.steps_per_run) for a in chunk[:4]]))
        feed[self._placeholders[4]], feed[self._placeholders[5]] = chunk.first_step, count
        losses = self._session.run(self._losses, feed)[:count]
        bad = np.flatnonzero(~np.isfinite(losses))
        self._global_step = chunk.first_step + (bad[0] if len(bad) else count - 1)
        return losses

    def arrays(self):
        """The state under canonical names, rows raw: nothing is caught up, so saving changes nothing."""
        out, slots = OrderedDict(), state.SLOTS
        *columns, out[state.ROW_STEP[state.EMBEDDING]] = wide.unpack(self._session.run(self._inputs))
        for slot, values in zip(slots, columns):
            out[state.EMBEDDING + slot] = values
        *columns, out[state.ROW_STEP[state.SOFTMAX_W]] = wide.unpack(self._session.run(self._outputs))
        for slot, values in zip(slots, columns):
            out[state.SOFTMAX_W + slot], out[state.SOFTMAX_B + slot] = values[:, :-1], values[:, -1]
        for name, variables in self._dense.items():
            for slot, value in zip(slots, self._session.run(variables)):
                out[name + slot] = value
        for i, value in enumerate(self._session.run(self._states)):
            out[state.hidden_state(i)] = value
        out[state.GLOBAL_STEP] = np.array(self._global_step, np.int64)
        return out

    def close(self):
        self._session.close()


def _apply_adam(p, m, v, lr, gradient):
    """TensorFlow's fused kernel; `lr` carries the bias correction already, hence powers of 0."""
    return tf.raw_ops.ResourceApplyAdam(
        var=p.handle, m=m.handle, v=v.handle, beta1_power=0.0, beta2_power=0.0, lr=lr, beta1=lazy_adam.BETA1,
        beta2=lazy_adam.BETA2, epsilon=lazy_adam.EPSILON, grad=gradient)

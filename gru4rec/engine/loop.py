"""The fast engine: K steps per session call, and updates that touch only the rows of the batch."""

from collections import OrderedDict

import numpy as np

from gru4rec.engine.base import Engine
from gru4rec.engine.sources import Sources
from gru4rec.engine.variables import Variables, padded
from gru4rec.graph import across, clip, loss_scale, optimizers, tables
from gru4rec.graph import step as net
from gru4rec.model import lazy_adam, state
from gru4rec.tf_compat import jit_function, tf

# So many that the session call costs next to nothing; a chunk of inputs is far below a megabyte.
STEPS_PER_RUN = 250


class LoopEngine(Engine):
    """Engine (see `engine.create`): a `tf.while_loop` over the steps of a chunk.

    XLA may compile it (TF >= 2.6). The loop always has room for `steps_per_run` steps and makes as
    many as the chunk has: so it is compiled once, and a padding row runs no update. graph.tables
    says how tables are stored; weights that share a table (`state.tables`) are columns of the same
    rows.
    """

    def __init__(self, config, device, arrays, num_steps, steps_per_run, xla, support=None):
        super().__init__(config, arrays)
        self.steps_per_run = steps_per_run or STEPS_PER_RUN
        variables = Variables(use_resource=True)
        graph = tf.Graph()
        with graph.as_default():
            self._sources = Sources(config, device, variables, len(arrays[state.SOFTMAX_B]),
                                    support)
            self._make_variables(variables, arrays, state.rate_tables(config.training, num_steps))
            self._fetches = self._make_loop(device, xla)
            self._session = device.communicator.session(graph, device.session_config())
            variables.initialise(self._session)

    def _make_variables(self, variables, arrays, rates):
        self._dense = OrderedDict(
            (name, [variables.add(name + slot, arrays[name + slot]) for slot in self._endings])
            for name in state.dense_shapes(self._model))
        self._packed = []
        last_steps = state.last_steps(self._config)
        for members in state.tables(self._model):
            values = [np.concatenate([arrays[m + slot].reshape(len(arrays[m]), -1)
                                      for m in members], 1)
                      for slot in self._endings]
            last = arrays[last_steps[members[0]]] if last_steps else None
            self._packed.append([variables.add("%s_rows_%d" % (members[0], i), array)
                                 for i, array in enumerate(tables.pack(values, last))])
        self._tables = [tables.Table(packed, self._training) for packed in self._packed]
        self._states = [variables.add(state.hidden_state(i), arrays[state.hidden_state(i)])
                        for i in range(self._model.layer)]
        self._scaling = loss_scale.make(self._config.accelerator, arrays, variables)
        self._rates = {name: variables.add("rates_" + name, table.astype(np.float32))
                       for name, table in zip(rates._fields, rates) if table is not None}

    def _make_loop(self, device, xla):
        shape = [self.steps_per_run, self._training.batch_size]
        self._placeholders = (
            tf.placeholder(tf.int32, shape, "x"), tf.placeholder(tf.int32, shape, "y"),
            tf.placeholder(tf.bool, shape, "reset"), tf.placeholder(tf.bool, shape, "weight"),
            tf.placeholder(tf.int32, [], "first_step"), tf.placeholder(tf.int32, [], "num_steps"))

        def loop(*tensors):
            return self._loop(device, *tensors)

        if xla:
            loop = jit_function(loop)
        return loop(*self._placeholders)

    def _part_of_step(self, function):
        """How a part of a step that is arithmetic alone becomes part of the graph."""
        return function

    def _loop(self, device, x_kb, y_kb, reset_kb, weight_kb, first_step, num_steps):
        """What a call fetches: [K] losses of the first `num_steps` rows.

        With --loss_scale also [2]: the scale and the number of skipped steps. The loop ends early
        after a loss that is not finite.
        """
        k = self.steps_per_run
        positions = tf.range(k)

        def more(i, finite, *_):
            return tf.logical_and(i < num_steps, finite)

        def body(i, _, losses_k, *states):
            # Reads wait for i, and i waits for the updates of the step before.
            with tf.control_dependencies([i]):
                batch = net.Batch(x_kb[i], y_kb[i], reset_kb[i], tf.cast(weight_kb[i], tf.float32))
                step, updates = self._step(device, batch, batch, states, first_step + i)
            with tf.control_dependencies(updates):
                losses_k = tf.where(tf.equal(positions, i), tf.fill([k], step.loss), losses_k)
                states = [tf.identity(s) for s in step.states]
                return [i + 1, tf.math.is_finite(step.loss), losses_k] + states

        start = [tf.constant(0), tf.constant(True), tf.zeros([k])]
        start += [s.read_value() for s in self._states]
        end = tf.while_loop(more, body, start, parallel_iterations=1, back_prop=False)
        with tf.control_dependencies([s.assign(value).op
                                      for s, value in zip(self._states, end[3:])]):
            return self._fetched(end[2])

    def _fetched(self, losses_k):
        if self._scaling is None:
            return [tf.identity(losses_k)]
        scale, _, skipped = self._scaling.variables
        return [tf.identity(losses_k),
                tf.stack([scale.read_value(), tf.cast(skipped.read_value(), tf.float32)])]

    def _step(self, device, batch, batch_of_all, states, number):
        """(step.Step of update `number`, its update ops).

        Args:
          batch: step.Batch of this worker. batch_of_all: that of all workers.
          states: per layer [B, H]. number: int32 scalar.
        """
        training, workers = self._training, device.workers
        rates = lazy_adam.Tables(**{name: var.read_value() for name, var in self._rates.items()})
        lookup = self._sources.lookup(batch_of_all, number)
        rows = [table.read(index, number, rates)
                for table, index in zip(self._tables, lookup.index)]
        same = self._sources.duplicates(lookup.index)
        scale = self._scaling.read() if self._scaling else None
        lr = tf.gather(rates.lr, number)
        weights = net.Weights([values[0].read_value() for values in self._dense.values()],
                              across.own_rows(workers, lookup, [values[0] for values in rows]))

        def gradients(number, weights, batch, columns, states, scale):
            return net.train_step(self._model, training, weights, batch, columns, states,
                                  self._sources.dropout(number), scale)

        def packed(step):
            return step if workers.size == 1 else across.packed(workers, step, lookup)

        def updated(step, rows, lr, number):
            if workers.size > 1:
                step = across.unpacked(workers, step, weights, lookup)
            if training.grad_cap:
                step = clip.capped(step, same, training)
            return step, [table.updated(*args, lr=lr, number=number)
                          for table, args in zip(self._tables, zip(rows, step.rows, same))]

        args, part = (number, weights, batch, lookup.columns, states, scale), self._part_of_step
        if self._scaling:
            step, counts, _ = self._scaling.settle(part(gradients)(*args), scale, device)
            message = part(packed)(step)
        else:
            message, counts = part(lambda *args: packed(gradients(*args)))(*args), []
        message = across.exchanged(device.communicator, message)
        step, new_rows = part(updated)(message, rows, lr, number)
        # No update before every gradient is there: they read the same weights.
        with tf.control_dependencies(list(step.dense) + list(step.rows)):
            updates = [_apply(training, values, gradient, lr)
                       for values, gradient in zip(self._dense.values(), step.dense)]
            for table, index, new in zip(self._tables, lookup.index, new_rows):
                updates += table.write(index, new)
        return step, updates + counts

    def run(self, chunk):
        """Train on a chunk of at most `steps_per_run` rows.

        Args:
          chunk: engine.base.Chunk.
        Returns: [n] float32 losses. If one is not finite, the steps after it were not made (their
          entries are 0).
        """
        count = len(chunk.x)
        feed = dict(zip(self._placeholders, [padded(a, self.steps_per_run) for a in chunk[:4]]))
        feed[self._placeholders[4]], feed[self._placeholders[5]] = chunk.first_step, count
        losses = self._losses(self._run(self._fetches, feed))[:count]
        bad = np.flatnonzero(~np.isfinite(losses))
        last = bad[0] if len(bad) else count - 1
        self._step_number = chunk.first_step + last
        return losses

    def arrays(self):
        """The state under canonical names; rows are not caught up, so saving changes nothing."""
        out, last_steps = OrderedDict(), state.last_steps(self._config)
        for members, packed in zip(state.tables(self._model), self._packed):
            columns, last = tables.unpack(self._run(packed), bool(last_steps))
            for slot, values in zip(self._endings, columns):
                out[members[0] + slot] = values
                if len(members) == 2:
                    out[members[0] + slot], out[members[1] + slot] = values[:, :-1], values[:, -1]
            if last_steps:
                out[last_steps[members[0]]] = last
        for name, variables in self._dense.items():
            for slot, value in zip(self._endings, self._run(variables)):
                out[name + slot] = value
        self._add_common(out)
        return out


def _apply(training, values, gradient, lr):
    """The op that updates a dense weight and its slots."""
    # TensorFlow's fused kernel; `lr` carries the bias correction, hence powers of 0
    if training.optimizer == "adam":
        weight, m, v = values
        return tf.raw_ops.ResourceApplyAdam(
            var=weight.handle, m=m.handle, v=v.handle, beta1_power=0.0, beta2_power=0.0, lr=lr,
            beta1=lazy_adam.BETA1, beta2=lazy_adam.BETA2, epsilon=lazy_adam.EPSILON, grad=gradient)
    new = optimizers.update(training, tuple(v.read_value() for v in values), gradient, lr)
    with tf.control_dependencies(list(new)):
        return tf.group(*[var.assign(value).op for var, value in zip(values, new)])

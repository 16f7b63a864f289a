"""The plain engine: one step per session call, and TensorFlow's own Adam, as the original runs.

The fast engine is tested against it, and it is the safe choice where a device may not support loops
or bit casts. The step itself is the same graph.step.train_step. Optimizers other than Adam are
those of graph.optimizers; every weight and slot has a variable of its own.
"""

from collections import OrderedDict

import numpy as np

from gru4rec.engine.base import Engine
from gru4rec.engine.sources import Sources
from gru4rec.engine.variables import Variables
from gru4rec.graph import across, clip, loss_scale, optimizers
from gru4rec.graph import step as net
from gru4rec.model import lazy_adam, learning_rate, state
from gru4rec.tf_compat import tf


class PlainEngine(Engine):
    """Engine (see `engine.create`) on `tf.train.AdamOptimizer`, which updates every row."""

    steps_per_run = 1

    def __init__(self, config, device, arrays, support=None):
        super().__init__(config, arrays)
        arrays = state.caught_up(config, arrays)
        variables = Variables(device.use_resource)
        graph = tf.Graph()
        with graph.as_default():
            self._sources = Sources(config, device, variables, len(arrays[state.SOFTMAX_B]),
                                    support)
            self._make_variables(variables, arrays)
            self._make_step(device)
            shared = self._broadcast(device)
            self._session = device.communicator.session(graph, device.session_config())
            if self._adam:
                self._load_adam(variables, arrays)
            variables.initialise(self._session)
            if shared is not None:
                self._session.run(shared)
            self._prepare(device)

    def _make_variables(self, variables, arrays):
        adam = self._training.optimizer == "adam"  # makes its slots itself
        endings = ("",) if adam else self._endings
        self._values = OrderedDict(
            (name, [variables.add(name + slot, arrays[name + slot]) for slot in endings])
            for name in state.weight_shapes(self._model, len(arrays[state.SOFTMAX_B])))
        self._states = [variables.add(state.hidden_state(i), arrays[state.hidden_state(i)])
                        for i in range(self._model.layer)]
        self._scaling = loss_scale.make(self._config.accelerator, arrays, variables)

    def _inputs(self):
        """Tensors of a step: x, y, reset, weight [B], number, learning rate, active.

        The last is None, or a bool scalar: whether this is a step, or only fills up a call.
        """
        lanes = [self._training.batch_size]
        self._placeholders = (tf.placeholder(tf.int32, lanes, "x"),
                              tf.placeholder(tf.int32, lanes, "y"),
                              tf.placeholder(tf.bool, lanes, "reset"),
                              tf.placeholder(tf.bool, lanes, "weight"),
                              tf.placeholder(tf.int32, [], "step"),
                              tf.placeholder(tf.float32, [], "lr"))
        return self._placeholders + (None,)

    def _prepare(self, device):
        """What is built once the variables have their values."""

    def _broadcast(self, device):
        """The op that gives every worker the weights of worker 0; None for one alone.

        It needs the whole model, so it is built after the step.
        """
        if device.workers.size == 1:
            return None
        weights = [values[0] for values in self._values.values()]
        received = device.communicator.broadcast(weights)
        return tf.group(*[tf.assign(var, value).op for var, value in zip(weights, received)])

    def _make_step(self, device):
        x_b, y_b, reset_b, weight_b, number, lr, self._active = self._inputs()
        batch = net.Batch(x_b, y_b, reset_b, tf.cast(weight_b, tf.float32))
        together = device.communicator
        x_all, y_all, weight_all = across.all_lanes(together, x_b, y_b, weight_b)
        batch_of_all = net.Batch(x_all, y_all, None, tf.cast(weight_all, tf.float32))
        lookup = self._sources.lookup(batch_of_all, number)
        rows = [self._gathered(members, index)
                for members, index in zip(state.tables(self._model), lookup.index)]
        same = self._sources.duplicates(lookup.index)
        scale = self._scaling.read() if self._scaling else None
        weights = net.Weights([tf.identity(self._values[name][0])
                               for name in state.dense_shapes(self._model)],
                              across.own_rows(together.workers, lookup, rows))
        step = net.train_step(self._model, self._training, weights, batch, lookup.columns,
                              [tf.identity(s) for s in self._states],
                              self._sources.dropout(number), scale)
        counts, after = [], []
        if self._scaling:
            step, counts, scaling = self._scaling.settle(step, scale, device, self._active)
            after = [scaling]
        step = across.combined(together, step, weights, lookup)
        if self._training.grad_cap:
            step = clip.capped(step, same, self._training)
        with tf.control_dependencies([step.loss] + list(step.dense) + list(step.rows)):
            if self._training.optimizer == "adam":
                updates = [self._adam_update(device, step, lookup, lr)]
            else:
                self._adam = None
                updates = self._own_updates(step, lookup, same, lr)
            updates += [tf.assign(s, self._if_active(value, s)).op
                        for s, value in zip(self._states, step.states)]
        self._finish_step(step.loss, after, updates + counts)

    def _finish_step(self, loss, after, updates):
        """Decide what a call fetches: the loss, the new loss scale if any, and the training op."""
        self._fetches = [loss] + after + [tf.group(*updates)]

    def _if_active(self, new, old):
        """`new` in a step, `old` where a row only fills up a call."""
        if self._active is None:
            return new
        return tf.where(tf.fill(new.shape, self._active), new, tf.identity(old))

    def _gathered(self, members, index_n):
        """[n, D] rows of the weights that share a table, side by side."""
        parts = [_as_rows(tf.gather(self._values[name][0], index_n)) for name in members]
        return tf.concat(parts, 1)

    def _adam_update(self, device, step, lookup, lr):
        betas = lazy_adam.BETA1, lazy_adam.BETA2
        # in a row that is no step: decays of 1, a rate of 0 and gradients of 0 change no bit
        if self._active is not None:
            lr = tf.where(self._active, lr, 0.0)
            betas = [tf.where(self._active, beta, 1.0) for beta in betas]
        self._adam = tf.train.AdamOptimizer(lr, betas[0], betas[1], lazy_adam.EPSILON)
        pairs = [(gradient, self._values[name][0])
                 for gradient, name in zip(step.dense, state.dense_shapes(self._model))]
        for members, index, gradient in zip(state.tables(self._model), lookup.index, step.rows):
            for name, part in zip(members, _parts(gradient, members)):
                var = self._values[name][0]
                part = tf.reshape(part, [-1] + var.shape.as_list()[1:])
                # TensorFlow's Adam would take the distinct rows of slices: an open shape
                if device.conservative_optimizer:
                    part = tf.math.unsorted_segment_sum(part, index, var.shape.as_list()[0])
                else:
                    part = tf.IndexedSlices(part, index, var.shape)
                pairs.append((part, var))
        return self._adam.apply_gradients(pairs)

    def _own_updates(self, step, lookup, same, lr):
        training, updates = self._training, []
        for name, gradient in zip(state.dense_shapes(self._model), step.dense):
            new = optimizers.update(training, tuple(tf.identity(v) for v in self._values[name]),
                                    gradient, lr)
            updates += [tf.assign(var, self._if_active(value, var)).op
                        for var, value in zip(self._values[name], new)]
        for members, index, gradient, duplicate in zip(state.tables(self._model), lookup.index,
                                                       step.rows, same):
            for name, part in zip(members, _parts(duplicate.sum(gradient), members)):
                old = tuple(_as_rows(tf.gather(var, index)) for var in self._values[name])
                new = optimizers.update(training, old, part, lr)
                new = [self._if_active(after, before) for after, before in zip(new, old)]
                for var, value in zip(self._values[name], new):
                    value = tf.reshape(value, [-1] + var.shape.as_list()[1:])
                    updates.append(tf.scatter_update(var, index, value))
        return updates

    def _load_adam(self, variables, arrays):
        for name, (var,) in self._values.items():
            variables.assign(self._adam.get_slot(var, "m"), arrays[name + state.M_SLOT])
            variables.assign(self._adam.get_slot(var, "v"), arrays[name + state.V_SLOT])
        for power, beta in zip(self._adam._get_beta_accumulators(),
                               (lazy_adam.BETA1, lazy_adam.BETA2)):
            variables.assign(power, _power(beta, self._step_number + 1))

    def run(self, chunk):
        """Train on a chunk of one row.

        Args:
          chunk: engine.base.Chunk.
        Returns: [1] float32 loss.
        """
        training = self._training
        rate = learning_rate.learning_rate(chunk.first_step, training.base_lr, training.decay,
                                           training.decay_steps)
        feed = dict(zip(self._placeholders, [a[0] for a in chunk[:4]] + [chunk.first_step, rate]))
        loss = self._losses(self._session.run(self._fetches, feed))
        self._step_number = chunk.first_step
        return np.array([loss], np.float32)

    def arrays(self):
        """The state under canonical names; every row is up to date."""
        out = OrderedDict()
        for name, values in self._values.items():
            if self._adam:
                values = values + [self._adam.get_slot(values[0], kind) for kind in ("m", "v")]
            for slot, value in zip(self._endings, self._session.run(values)):
                out[name + slot] = value
        for weight, name in state.last_steps(self._config).items():
            out[name] = np.full(len(out[weight]), self._step_number, np.int32)
        self._add_common(out)
        return out


def _as_rows(values):
    """[n, D], also of a vector."""
    return values if values.shape.ndims == 2 else values[:, None]


def _parts(rows_nd, members):
    """Columns of each of the weights that share a table: weights, and the bias last."""
    if len(members) == 1:
        return [rows_nd]
    return tf.split(rows_nd, [rows_nd.shape.as_list()[1] - 1, 1], 1)


def _power(beta, exponent):
    """beta ** exponent by float32 products, which is the value of the optimizer's accumulator."""
    return np.multiply.accumulate(np.full(exponent, beta, np.float32))[-1]

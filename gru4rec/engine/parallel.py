"""The loop engine for several processes that train together (data-parallel replicas).

XLA cannot compile collectives, so the loop is TensorFlow's own, and what is compiled is the
arithmetic between two collectives. Everything a step changes is in variables, and all of it waits
for the step's collectives. So whatever ends a call, the variables hold the state after a whole
number of steps, the same on every worker that got so far.
"""

import numpy as np

from gru4rec.engine.loop import LoopEngine
from gru4rec.graph import across
from gru4rec.graph import step as net
from gru4rec.model import state
from gru4rec.tf_compat import jit_part, tf

RESCUE_SECONDS = 120.0  # for one read of the state after another process has died
# processes agree with each other between two calls, which should not take long
STEPS_PER_RUN = 50


class ParallelEngine(LoopEngine):
    """Engine (see `engine.create`) of one of several workers, which call its methods together."""

    def __init__(self, config, device, arrays, num_steps, steps_per_run, xla, support=None):
        self._device, self._compiled = device, xla
        rank, lanes = device.workers.rank, config.training.batch_size
        arrays = dict(arrays)
        for name in self._hidden(config.model):  # a checkpoint has those of all workers
            if len(arrays[name]) != lanes:
                arrays[name] = arrays[name][rank * lanes:(rank + 1) * lanes]
        super().__init__(config, device, arrays, num_steps, steps_per_run or STEPS_PER_RUN, False,
                         support)

    @staticmethod
    def _hidden(model):
        return [state.hidden_state(i) for i in range(model.layer)]

    def _make_variables(self, variables, arrays, rates):
        super()._make_variables(variables, arrays, rates)
        self._done = variables.add("done", np.int32(arrays[state.GLOBAL_STEP]))

    def _part_of_step(self, function):
        return jit_part(function) if self._compiled else function

    def _make_loop(self, device, xla):
        fetches = super()._make_loop(device, xla)
        together = device.communicator
        self._votes_ph = tf.placeholder(tf.int32, [None], "votes")
        self._votes = together.all_reduce(self._votes_ph)
        self._all_states = [together.all_gather(s.read_value()) for s in self._states]
        return fetches

    def _loop(self, device, x_kb, y_kb, reset_kb, weight_kb, first_step, num_steps):
        """As that of the loop engine, with the hidden states in their variables."""
        k = self.steps_per_run
        of_all = across.all_lanes(device.communicator, x_kb, y_kb, weight_kb)

        def more(i, finite, _):
            return tf.logical_and(i < num_steps, finite)

        def body(i, _, losses_k):
            with tf.control_dependencies([i]):
                batch = net.Batch(x_kb[i], y_kb[i], reset_kb[i], tf.cast(weight_kb[i], tf.float32))
                x_all, y_all, weight_all = [values[i] for values in of_all]
                batch_of_all = net.Batch(x_all, y_all, None, tf.cast(weight_all, tf.float32))
                states = tuple(s.read_value() for s in self._states)
                step, updates = self._step(device, batch, batch_of_all, states, first_step + i)
            # The step's loss is a sum over the workers: once it is there, the collectives are over.
            with tf.control_dependencies([step.loss] + list(step.dense) + list(step.rows)
                                         + list(states)):
                updates += [s.assign(value).op for s, value in zip(self._states, step.states)]
                updates.append(self._done.assign(first_step + i).op)
            with tf.control_dependencies(updates):
                losses_k = tf.where(tf.equal(tf.range(k), i), tf.fill([k], step.loss), losses_k)
                return [i + 1, tf.math.is_finite(step.loss), losses_k]

        start = [tf.constant(0), tf.constant(True), tf.zeros([k])]
        end = tf.while_loop(more, body, start, parallel_iterations=1, back_prop=False)
        with tf.control_dependencies([end[2]]):
            return self._fetched(end[2])

    def _run(self, fetches, feed=None):
        return self._device.communicator.run(lambda: self._session.run(fetches, feed))

    def agree(self, *votes):
        """The sum over the workers of each of their votes, as a list."""
        return self._run(self._votes, {self._votes_ph: votes}).tolist()

    def arrays(self):
        """The state under canonical names; hidden states of all workers, one below the other."""
        out = super().arrays()
        out.update(zip(self._hidden(self._model), self._run(self._all_states)))
        return out

    def close(self):
        # with a broken cluster, closing waits for the call that was given up
        if not self._device.communicator.broken:
            super().close()

    def rescued(self):
        """As `arrays` after a call that was given up; hidden states are those of this worker alone.

        A session of its own reads them, because the old one may still wait for that call.
        """
        together = self._device.communicator
        self._session = together.session(self._session.graph, self._device.session_config())
        self._run = lambda fetches: together.within(RESCUE_SECONDS,
                                                    lambda: self._session.run(fetches))
        out = super().arrays()
        out[state.GLOBAL_STEP] = np.array(self._run(self._done), np.int64)
        return out

"""The plain engine in a loop that runs on the device: many steps in one session call.

The schedule of an epoch is a dataset, and the device fetches the next row itself. It repeats one op
as often as the session was set up for, no more and no less. So rows fill up the last call of an
epoch that are no steps: they change no bit of the state, and nothing counts them.
"""

import numpy as np

from gru4rec.data import schedule
from gru4rec.engine.plain import PlainEngine
from gru4rec.model import learning_rate
from gru4rec.tf_compat import tf


class DeviceLoopEngine(PlainEngine):
    """Engine (see `engine.create`) that makes `steps_per_run` steps in every call.

    Only the last call of an epoch may make fewer.
    """

    whole_calls = True

    def __init__(self, config, device, arrays, support, steps_per_run):
        self.steps_per_run = steps_per_run
        super().__init__(config, device, arrays, support)

    def _inputs(self):
        lanes = [None, self._training.batch_size]
        self._epoch = (tf.placeholder(tf.int32, lanes), tf.placeholder(tf.int32, lanes),
                       tf.placeholder(tf.bool, lanes), tf.placeholder(tf.bool, lanes),
                       tf.placeholder(tf.int32, [None]), tf.placeholder(tf.float32, [None]),
                       tf.placeholder(tf.bool, [None]))
        rows = tf.data.Dataset.from_tensor_slices(self._epoch)
        # Not one-shot: the adapter ends the process over one of those in a loop.
        self._iterator = tf.data.make_initializable_iterator(rows)
        return self._iterator.get_next()

    def _finish_step(self, loss, after, updates):
        """Keep the losses of a call in a variable: only values of its last step can be fetched."""
        steps = self.steps_per_run
        self._losses_var = tf.Variable(tf.zeros([steps]), trainable=False, use_resource=False,
                                       name="losses")
        self._place = tf.Variable(0, trainable=False, use_resource=False, name="place")
        place, losses = tf.identity(self._place), tf.identity(self._losses_var)
        losses = tf.where(tf.equal(tf.range(steps), place), tf.fill([steps], loss), losses)
        with tf.control_dependencies([losses]):
            updates = updates + [tf.assign(self._losses_var, losses).op,
                                 tf.assign(self._place, tf.math.floormod(place + 1, steps)).op]
        self._fetches = [losses] + after
        self._train_op = tf.group(*updates)

    def _prepare(self, device):
        self._session.run([self._losses_var.initializer, self._place.initializer])
        self._fetches.append(device.loop(self._session, self._train_op, self.steps_per_run))

    def start_epoch(self, epoch, steps_before, start=0):
        """Hand over an epoch's schedule; in a session call of its own, as the adapter wants it."""
        epoch = schedule.Epoch(*[rows[start:] for rows in epoch])
        first, count, training = steps_before + start + 1, epoch.num_steps, self._training
        rows = -(-count // self.steps_per_run) * self.steps_per_run
        number = np.arange(first, first + rows)
        rate = learning_rate.learning_rate(number, training.base_lr, training.decay,
                                           training.decay_steps)
        of_steps = number.astype(np.int32), rate.astype(np.float32), np.arange(rows) < count
        values = tuple(schedule.padded(epoch, rows)) + of_steps
        self._session.run(self._iterator.initializer, dict(zip(self._epoch, values)))
        self._first, self._count = first, count

    def run(self, chunk):
        """Train on the next chunk of the epoch that was begun.

        Args:
          chunk: engine.base.Chunk of `steps_per_run` rows, or the last of the epoch.
        Returns: [n] float32 losses.
        """
        count, place = len(chunk.x), chunk.first_step - self._first
        assert place % self.steps_per_run == 0
        assert count == self.steps_per_run or place + count == self._count
        losses = self._losses(self._session.run(self._fetches))
        self._step_number = chunk.first_step + count - 1
        return np.array(losses[:count], np.float32)

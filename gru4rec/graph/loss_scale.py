"""Loss scaling: gradients are computed of `scale * loss`, so small ones do not vanish in float16.

They are divided by the scale afterwards. A step whose scaled gradient overflows is skipped: its
gradient counts as zero for every weight, on every worker. Nothing else changes: the step has its
number, its learning rate and its loss, hidden states go on, and an optimizer with a momentum moves
as it does for rows that no batch names. (Lazy Adam lets a row catch up by the number of steps it
missed, so a step that no weight noticed cannot exist.) The rule is the same on every device:

    dynamic   halve the scale when a step is skipped; double it after GROWTH_STEPS steps in a row
              that were not
    a number  the scale never changes; steps are skipped all the same

Scales of dynamic are powers of two, so dividing by them rounds nothing.
"""

from gru4rec.model import state
from gru4rec.tf_compat import tf

GROWTH_STEPS = 1000
SMALLEST, LARGEST = 1.0, 2.0 ** 24


class LossScale:
    """The scale and its counters, as variables."""

    def __init__(self, is_dynamic, variables):
        """Take over the variables.

        Args:
          is_dynamic: whether the scale changes as above; else it is fixed.
          variables: of scale (float32), good steps and skipped steps (int32), scalars.
        """
        self._dynamic = is_dynamic
        self.variables = self._scale, self._good, self._skipped = list(variables)

    def read(self):
        """The factor of the loss, as a float32 tensor."""
        return self._scale.read_value()

    def settle(self, step, scale, device, active=None):
        """Gradients as they would be without a scale, or zero.

        Args:
          step: step.Step whose gradients are of `scale * loss`. scale: what `read` gave.
          device: device.base.Device; adds what it knows of overflows, and asks the other workers.
          active: None, or bool scalar: whether this is a step at all; if not, nothing is counted.
        Returns: (step.Step, list of update ops, float32 [2]: scale and number of skipped steps
          after the step).
        """
        gradients = list(step.dense) + list(step.rows)
        with tf.control_dependencies(gradients):
            checks = [tf.reduce_all(tf.math.is_finite(g)) for g in gradients]
            of_device = device.no_overflow(gradients)
        if of_device is not None:
            checks.append(of_device)
        fine = device.communicator.on_all_workers(tf.reduce_all(tf.stack(checks)))
        inverse = 1.0 / scale
        clean = [tf.where(tf.fill(g.shape, fine), g * inverse, tf.zeros_like(g)) for g in gradients]
        step = step._replace(dense=tuple(clean[:len(step.dense)]),
                             rows=tuple(clean[len(step.dense):]))
        # first the division by the old scale, whose memory a ref variable shares
        with tf.control_dependencies(clean):
            return (step,) + self._count(fine, scale, active)

    def _count(self, fine, scale, active):
        good, skipped = self._good.read_value(), self._skipped.read_value()
        grown = tf.constant(False)
        if self._dynamic:
            grown = tf.logical_and(fine, good + 1 >= GROWTH_STEPS)
        new = [scale,
               tf.where(tf.logical_or(grown, tf.logical_not(fine)), tf.zeros_like(good), good + 1),
               skipped + tf.cast(tf.logical_not(fine), tf.int32)]
        if self._dynamic:
            larger = tf.where(grown, tf.minimum(scale * 2.0, LARGEST), scale)
            new[0] = tf.where(fine, larger, tf.maximum(scale * 0.5, SMALLEST))
        old = [scale, good, skipped]
        if active is not None:
            new = [tf.where(active, after, before) for after, before in zip(new, old)]
        with tf.control_dependencies(old + new):
            updates = [tf.assign(variable, value).op
                       for variable, value in zip((self._scale, self._good, self._skipped), new)]
        return updates, tf.stack([new[0], tf.cast(new[2], tf.float32)])


def make(accelerator, arrays, variables):
    """LossScale, or None if it is off.

    Args:
      accelerator: config.AcceleratorConfig. arrays: names of `model.state` -> arrays.
      variables: engine.variables.Variables.
    """
    if not accelerator.scales_loss:
        return None
    return LossScale(accelerator.scale_moves,
                     [variables.add(name, arrays[name]) for name in state.LOSS_SCALE])

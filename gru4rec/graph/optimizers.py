"""Update rules: what a weight and its slots become, from its gradient and the learning rate.

Gradients of a row that occurs several times in a step are summed before. Names of slots are in
model.state, the formula of Adam is in model.lazy_adam.
"""

from gru4rec.model import lazy_adam
from gru4rec.tf_compat import tf

EPSILON = 1e-6  # inside the root of adagrad and rmsprop
RMSPROP_DECAY = 0.9


def update(training, values, gradient, lr):
    """Apply the configured rule.

        adagrad   a += g^2,                  move = lr g / sqrt(a + 1e-6), a starts at 0
        rmsprop   a  = 0.9 a + 0.1 g^2,      move = lr g / sqrt(a + 1e-6)
        sgd                                  move = lr g
        momentum  v  = mu v - move,          p += v          (else p -= move)

    Args:
      training: config.TrainConfig (`optimizer`, `momentum`).
      values: (weight, *slots) of one shape, slots in the order of `model.state.slots`.
      gradient: same shape.
      lr: scalar; for adam the bias-corrected one (`model.lazy_adam.Tables.lr`).
    Returns: tuple like `values`.
    Source: Duchi et al. 2011 (adagrad), Tieleman and Hinton 2012 (rmsprop), `model.lazy_adam`
      (adam). Differs: no.
    """
    if training.optimizer == "adam":
        return lazy_adam.update(tf, *values, gradient=gradient, lr=lr)
    weight, slots = values[0], values[1:]
    if training.momentum:
        slots, velocity = slots[:-1], slots[-1]
    move, slots = _RULES[training.optimizer](slots, gradient, lr)
    if not training.momentum:
        return (weight - move,) + slots
    velocity = training.momentum * velocity - move
    return (weight + velocity,) + slots + (velocity,)


def moves_without_gradient(training):
    """Whether a gradient of zero moves a weight or changes a slot.

    If so, a step may name only rows that take part in it.
    """
    return training.optimizer == "rmsprop" or training.momentum > 0


def _adagrad(slots, gradient, lr):
    total = slots[0] + gradient * gradient
    return lr * gradient * tf.rsqrt(total + EPSILON), (total,)


def _rmsprop(slots, gradient, lr):
    mean = RMSPROP_DECAY * slots[0] + (1.0 - RMSPROP_DECAY) * gradient * gradient
    return lr * gradient * tf.rsqrt(mean + EPSILON), (mean,)


def _sgd(slots, gradient, lr):
    return lr * gradient, ()


_RULES = {"adagrad": _adagrad, "rmsprop": _rmsprop, "sgd": _sgd}

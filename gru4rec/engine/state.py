"""The state of a training run as arrays under canonical names, whatever engine, device and TensorFlow made it.

    <weight>                  embedding, softmax_w, softmax_b, gru_layer_<i>/{gates,candidate}/{kernel,bias}
    <weight>/Adam, /Adam_1    first and second moment
    embedding/last_step, softmax_w/last_step
                              int32 [I]: the step up to which a row's value and moments are true (lazy_adam)
    state/layer_<i>           hidden state [B, H]
    global_step               int64 scalar: updates made
"""

from collections import OrderedDict

import numpy as np

from gru4rec import lazy_adam, lr_schedule

EMBEDDING, SOFTMAX_W, SOFTMAX_B, GLOBAL_STEP = "embedding", "softmax_w", "softmax_b", "global_step"
M_SLOT, V_SLOT, LAST_STEP = "/Adam", "/Adam_1", "/last_step"
SLOTS = ("", M_SLOT, V_SLOT)  # endings of a weight's value and moments
TABLES = (EMBEDDING, SOFTMAX_W)  # those with rows of their own; softmax_b shares the rows of softmax_w
ROW_STEP = {EMBEDDING: EMBEDDING + LAST_STEP, SOFTMAX_W: SOFTMAX_W + LAST_STEP, SOFTMAX_B: SOFTMAX_W + LAST_STEP}


def hidden_state(layer):
    """Name of a layer's hidden state."""
    return "state/layer_%d" % layer


def dense_shapes(model):
    """Name -> shape of the weights every step uses, layer by layer.

    Args:
      model: config.ModelConfig, resolved. The first layer reads embeddings as wide as itself.
    """
    shapes, width = OrderedDict(), model.size[0]
    for i, hidden in enumerate(model.size):
        scope = "gru_layer_%d/" % i
        shapes[scope + "gates/kernel"] = (width + hidden, 2 * hidden)
        shapes[scope + "gates/bias"] = (2 * hidden,)
        shapes[scope + "candidate/kernel"] = (width + hidden, hidden)
        shapes[scope + "candidate/bias"] = (hidden,)
        width = hidden
    return shapes


def weight_shapes(model, num_items):
    """Name -> shape of all weights: tables first, then `dense_shapes`."""
    shapes = OrderedDict([(EMBEDDING, (num_items, model.size[0])), (SOFTMAX_W, (num_items, model.size[-1])),
                          (SOFTMAX_B, (num_items,))])
    shapes.update(dense_shapes(model))
    return shapes


def initial(config, num_items):
    """State before the first step, made by numpy: the same on every device and TensorFlow.

    Glorot uniform kernels, gate biases 1, other biases 0, tables uniform +-sqrt(6 / (num_items + width)).

    Args:
      config: config.Config. num_items: I.
    Returns: OrderedDict name -> array (float32 but for the step counters).
    """
    random = np.random.RandomState(config.training.seed)
    arrays = OrderedDict()
    for name, shape in weight_shapes(config.model, num_items).items():
        if len(shape) == 2:
            bound = np.sqrt(6.0 / sum(shape))
            arrays[name] = random.uniform(-bound, bound, size=shape).astype(np.float32)
        else:
            arrays[name] = np.full(shape, 1.0 if name.endswith("gates/bias") else 0.0, np.float32)
    for name in list(arrays):
        arrays[name + M_SLOT], arrays[name + V_SLOT] = np.zeros_like(arrays[name]), np.zeros_like(arrays[name])
    for name in TABLES:
        arrays[name + LAST_STEP] = np.zeros(num_items, np.int32)
    for i, hidden in enumerate(config.model.size):
        arrays[hidden_state(i)] = np.zeros((config.training.batch_size, hidden), np.float32)
    arrays[GLOBAL_STEP] = np.array(0, np.int64)
    return arrays


def shapes(config, num_items):
    """Name -> (shape, dtype) of everything `initial` makes, without making it."""
    found = OrderedDict()
    for name, shape in weight_shapes(config.model, num_items).items():
        for slot in SLOTS:
            found[name + slot] = (shape, np.float32)
    for name in TABLES:
        found[name + LAST_STEP] = ((num_items,), np.int32)
    for i, hidden in enumerate(config.model.size):
        found[hidden_state(i)] = ((config.training.batch_size, hidden), np.float32)
    found[GLOBAL_STEP] = ((), np.int64)
    return found


def adam_tables(training, num_steps):
    """lazy_adam.Tables (float64) of the learning rates of a run."""
    return lazy_adam.tables(
        lambda step: lr_schedule.learning_rate(step, training.lr, training.decay, training.decay_steps), num_steps)


def caught_up(config, arrays):
    """The state with every row decayed to `global_step`, as dense Adam keeps it; the input is not changed.

    Args:
      arrays: name -> array; slots may be absent where nothing was trained.
    Returns: OrderedDict name -> array.
    """
    now = int(arrays[GLOBAL_STEP])
    out = OrderedDict(arrays)
    if all((arrays[ROW_STEP[name]] == now).all() for name in TABLES):
        return out
    tables = adam_tables(config.training, now)
    for name, row_step in ROW_STEP.items():
        columns = [arrays[name + slot].reshape(len(arrays[name]), -1) for slot in SLOTS]
        rows = lazy_adam.caught_up(tables, *columns, last=arrays[row_step], now=now)
        for slot, values in zip(SLOTS, rows):
            out[name + slot] = values.reshape(arrays[name].shape)
    for row_step in set(ROW_STEP.values()):
        out[row_step] = np.full_like(arrays[row_step], now)
    return out

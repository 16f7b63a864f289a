"""The state of a training run as arrays under canonical names.

The names are the same for every engine, device and TensorFlow.

    <weight>                  embedding (not with --embedding shared), softmax_w, softmax_b,
                              gru_layer_<i>/{gates,candidate}/{kernel,bias}
    <weight>/Adam, /Adam_1    first and second moment
    <weight>/Adagrad, /RMSProp
                              sum or mean of squares
    <weight>/Momentum         the last move
    embedding/last_step, softmax_w/last_step
                              int32 [I], adam only: the step up to which a row's value and moments
                              are true (lazy_adam)
    state/layer_<i>           hidden state [B, H]
    global_step               int64 scalar: updates made
    loss_scale/{scale,good_steps,skipped_steps}
                              scalars float32, int32, int32; with --loss_scale only

With --embedding none, embedding [I, 3H] holds the rows of the first layer's input kernels,
[r | u | c].
"""

import re
from collections import OrderedDict

import numpy as np

from gru4rec.model import lazy_adam, learning_rate, similarity

# The most steps of a run: each has a row in three tables, and a typing error in --epoch must not
# take all memory.
MAX_STEPS = 10 ** 8

EMBEDDING, SOFTMAX_W, SOFTMAX_B, GLOBAL_STEP = "embedding", "softmax_w", "softmax_b", "global_step"
LOSS_SCALE = ("loss_scale/scale", "loss_scale/good_steps", "loss_scale/skipped_steps")
FIRST_SCALE = 2.0 ** 15  # of --loss_scale dynamic
M_SLOT, V_SLOT, LAST_STEP = "/Adam", "/Adam_1", "/last_step"
_SLOTS = {"adam": (M_SLOT, V_SLOT), "adagrad": ("/Adagrad",), "rmsprop": ("/RMSProp",), "sgd": ()}


def slots(training):
    """Endings of the names of a weight's optimizer slots, in order of `graph.optimizers.update`."""
    momentum = ("/Momentum",) if training.momentum else ()
    return _SLOTS[training.optimizer] + momentum


def tables(model):
    """Per table, inputs before outputs: names of the weights that are columns of the same rows."""
    outputs = (SOFTMAX_W, SOFTMAX_B)
    return [outputs] if model.embedding == "shared" else [(EMBEDDING,), outputs]


def last_steps(config):
    """Weight -> name of the array that holds the last step of each of its rows.

    Empty for optimizers other than adam, which have no lazy rows.
    """
    if config.training.optimizer != "adam":
        return OrderedDict()
    return OrderedDict((weight, members[0] + LAST_STEP) for members in tables(config.model)
                       for weight in members)


def input_rows(model, arrays):
    """[I, E] the rows that represent items at the input."""
    return arrays[tables(model)[0][0]]


def output_rows(model, arrays):
    """[I, H + 1] float32 rows of the items at the output, bias last.

    The product of a row with the output and a 1 is the item's score. For --score cosine rows have
    the length --score_scale, and the output must be a `model.similarity.unit`.

    Args:
      model: config.ModelConfig. arrays: canonical, up to date (`caught_up`).
    """
    weights = arrays[SOFTMAX_W]
    if model.score == "cosine":
        weights = np.float32(model.score_scale) * similarity.unit(weights)
    return np.concatenate([weights, arrays[SOFTMAX_B][:, None]], 1)


def skipped_steps(arrays):
    """Number of steps that --loss_scale has skipped so far; 0 without it."""
    return int(arrays.get(LOSS_SCALE[2], 0))


def hidden_state(layer):
    """Name of a layer's hidden state."""
    return "state/layer_%d" % layer


def dense_shapes(model):
    """Name -> shape of the weights every step uses, layer by layer.

    Args:
      model: config.ModelConfig, resolved.
    """
    shapes = OrderedDict()
    width = 0 if model.embedding == "none" else model.embed_size
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
    shapes = OrderedDict()
    if model.embedding != "shared":
        shapes[EMBEDDING] = (num_items, model.embed_size)
    shapes[SOFTMAX_W] = (num_items, model.size[-1])
    shapes[SOFTMAX_B] = (num_items,)
    shapes.update(dense_shapes(model))
    return shapes


def initial(config, num_items):
    """State before the first step, made by numpy: the same on every device and TensorFlow.

    Kernels are Glorot uniform, gate biases 1, other biases 0, tables uniform
    +-sqrt(6 / (num_items + width)). The official cell has gate biases 0, and each block of its
    kernels (input or state to one gate) is Glorot uniform by itself. So are the blocks of the layer
    that reads one-hot items.

    Args:
      config: config.Config. num_items: I.
    Returns: OrderedDict name -> array (float32 but for the step counters).
    """
    random = np.random.RandomState(config.training.seed)
    official = config.model.cell == "official"
    arrays = OrderedDict()
    for name, shape in weight_shapes(config.model, num_items).items():
        if len(shape) == 2:
            bound = _glorot_bound(config.model, name, shape)
            arrays[name] = random.uniform(-bound, bound, size=shape).astype(np.float32)
        else:
            first = 1.0 if name.endswith("gates/bias") and not official else 0.0
            arrays[name] = np.full(shape, first, np.float32)
    for name, (shape, dtype) in shapes(config, num_items).items():
        if name not in arrays:
            arrays[name] = np.zeros(shape, dtype)
    if config.accelerator.scales_loss:
        moves = config.accelerator.scale_moves
        first_scale = FIRST_SCALE if moves else config.accelerator.loss_scale
        arrays[LOSS_SCALE[0]] = np.array(first_scale, np.float32)
    return arrays


def _glorot_bound(model, name, shape):
    """sqrt(6 / (rows + columns)) of a matrix; [rows, 1] where the blocks of a kernel differ."""
    rows, columns = shape
    if name == EMBEDDING and model.embedding == "none":
        return np.sqrt(6.0 / (rows + columns // 3))
    in_layer = re.match(r"gru_layer_(\d+)/(gates|candidate)", name)
    if not in_layer or (model.cell == "gru"
                        and (model.embedding != "none" or in_layer.group(1) != "0")):
        return np.sqrt(6.0 / (rows + columns))
    hidden = columns // 2 if in_layer.group(2) == "gates" else columns
    blocks = [rows - hidden, hidden]  # rows of the input (may be 0) and of the state
    return np.repeat([np.sqrt(6.0 / (width + hidden)) for width in blocks], blocks)[:, None]


def shapes(config, num_items, workers=1):
    """Name -> (shape, dtype) of everything `initial` makes, without making it.

    workers: number of processes that trained together; hidden states are of the lanes of all.
    """
    out = OrderedDict()
    weights = weight_shapes(config.model, num_items)
    for slot in ("",) + slots(config.training):
        for name, shape in weights.items():
            out[name + slot] = (shape, np.float32)
    for name in last_steps(config).values():
        out[name] = ((num_items,), np.int32)
    for i, hidden in enumerate(config.model.size):
        out[hidden_state(i)] = ((workers * config.training.batch_size, hidden), np.float32)
    if config.accelerator.scales_loss:
        out.update(zip(LOSS_SCALE, (((), np.float32), ((), np.int32), ((), np.int32))))
    out[GLOBAL_STEP] = ((), np.int64)
    return out


def without_hidden(arrays, config, workers=1):
    """The state with hidden states of zero for the lanes of `workers` processes."""
    lanes = workers * config.training.batch_size
    out = OrderedDict(arrays)
    for i, hidden in enumerate(config.model.size):
        out[hidden_state(i)] = np.zeros((lanes, hidden), np.float32)
    return out


def rate_tables(training, num_steps):
    """Learning rates of a run: model.lazy_adam.Tables of float64, with all of them for adam."""
    def rate(step):
        return learning_rate.learning_rate(step, training.base_lr, training.decay,
                                           training.decay_steps)
    if training.optimizer == "adam":
        return lazy_adam.tables(rate, num_steps)
    rates = rate(np.arange(1, num_steps + 1, dtype=np.int64))
    return lazy_adam.Tables(np.concatenate([[0.0], rates]))


def caught_up(config, arrays):
    """The state with every row brought up to `global_step`, as dense Adam keeps it.

    Args:
      arrays: name -> array, not changed; slots may be absent where nothing was trained.
    Returns: OrderedDict name -> array.
    """
    now, row_steps = int(arrays[GLOBAL_STEP]), last_steps(config)
    out = OrderedDict(arrays)
    if all((arrays[row_step] == now).all() for row_step in row_steps.values()):
        return out
    rates, endings = rate_tables(config.training, now), ("",) + slots(config.training)
    for name, row_step in row_steps.items():
        columns = [arrays[name + slot].reshape(len(arrays[name]), -1) for slot in endings]
        rows = lazy_adam.caught_up(rates, *columns, last=arrays[row_step], now=now)
        for slot, values in zip(endings, rows):
            out[name + slot] = values.reshape(arrays[name].shape)
    for row_step in row_steps.values():
        out[row_step] = np.full_like(arrays[row_step], now)
    return out

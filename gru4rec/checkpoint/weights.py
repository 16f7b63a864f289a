"""The one way from a checkpoint to the weights of inference; without TensorFlow.

recommend (so serve), export and evaluation use it. A training goes on from the whole state.

With Adam, a row of a table that got no gradient is not updated in every step (`model.lazy_adam`).
Its missed updates are made here, in blocks of rows, so that no second copy of a table is needed.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, NamedTuple

import numpy as np

from gru4rec import checkpoint
from gru4rec.data.vocab import Vocabulary
from gru4rec.errors import DivergenceError
from gru4rec.model import lazy_adam, similarity, state

# rows brought up to date at once: their values and two moments, in float64, fit in a core's cache
ROWS = 16384
THREADS = 2


class Weights(NamedTuple):
    """The weights of one checkpoint, as inference needs them; its arrays are read-only."""

    config: Any  # config.Config it was trained with
    vocabulary: Vocabulary
    dense: Dict[str, np.ndarray]  # names of model.state.dense_shapes
    input_rows: np.ndarray  # [I, E] float32
    item_vectors: np.ndarray  # [I, H + 1] float32, model.state.output_rows
    path: str  # prefix of the checkpoint
    epoch: int  # 0-based
    step: int  # updates made
    version: str  # differs between any two checkpoints


def load(directory, epoch=None, checksums=True):
    """Read the weights of a checkpoint.

    Args:
      directory: checkpoint directory.
      epoch: 0-based, or None for the best of a run with validation, else the newest.
      checksums: False compares file sizes only.
    Returns: Weights.
    Raises: CheckpointError if there is none or it is damaged; DivergenceError as `of`.
    """
    return of(checkpoint.load(directory, epoch, checksums))


def of(saved):
    """Weights of a checkpoint.Checkpoint.

    Raises: DivergenceError naming a weight that is not finite.
    """
    model, vectors = saved.config.model, _item_vectors(saved.config.model, saved.arrays)
    weights = _current(saved.config, saved.arrays, vectors)
    for name, values in weights.items():
        if not np.isfinite(values).all():
            raise DivergenceError("%s: weight %s is not finite; use an earlier epoch, or train "
                                  "with a lower --lr" % (saved.path, name))
    inputs = state.input_rows(model, weights)
    if model.score == "cosine":  # as model.state.output_rows, but in place
        if model.embedding == "shared":
            inputs = inputs.copy()
        vectors[:, :-1] = np.float32(model.score_scale) * similarity.unit(vectors[:, :-1])
    dense = {name: np.array(weights[name]) for name in state.dense_shapes(model)}
    for values in list(dense.values()) + [vectors, inputs]:
        values.setflags(write=False)
    return Weights(saved.config, saved.vocabulary, dense, inputs, vectors, saved.path, saved.epoch,
                   saved.step, saved.version)


def current(config, arrays):
    """The weights of a state after its last step: dict with the names of model.state.weight_shapes.

    They are those of `model.state.caught_up`, which makes the missed updates of the moments too.

    Args:
      config: config.Config. arrays: name -> array, names of model.state.shapes; not changed.
    """
    return _current(config, arrays, _item_vectors(config.model, arrays))


def _item_vectors(model, arrays):
    """Room for the [I, H + 1] float32 rows that rank items, bias last."""
    return np.empty((len(arrays[state.SOFTMAX_B]), model.size[-1] + 1), np.float32)


def _current(config, arrays, vectors):
    """As `current`; softmax_w and softmax_b are views of `vectors` [I, H + 1], which is filled."""
    tables = {state.SOFTMAX_W: vectors[:, :-1], state.SOFTMAX_B: vectors[:, -1]}
    if config.model.embedding != "shared":
        tables[state.EMBEDDING] = np.empty(arrays[state.EMBEDDING].shape, np.float32)
    rates = None
    if state.last_steps(config):
        rates = state.rate_tables(config.training, int(arrays[state.GLOBAL_STEP]))
    for name, rows in tables.items():
        _fill(config, arrays, name, rates, rows[:, None] if rows.ndim == 1 else rows)
    return {name: tables[name] if name in tables else arrays[name]
            for name in state.weight_shapes(config.model, len(vectors))}


def _fill(config, arrays, name, rates, out):
    """Fill `out` [I, D] with the rows of a table as they are after the last step."""
    now, row_step = int(arrays[state.GLOBAL_STEP]), state.last_steps(config).get(name)
    columns = [arrays[name + ending].reshape(out.shape)
               for ending in ("",) + state.slots(config.training)[:2]]

    def fill(start):
        part = slice(start, start + ROWS)
        out[part] = columns[0][part]
        if row_step is None:
            return
        last = arrays[row_step][part]
        # a row that was never touched has no moment to move by
        late = np.flatnonzero((last > 0) & (last < now))
        if len(late):
            wide = [column[part][late].astype(np.float64) for column in columns]
            out[start + late] = lazy_adam.catch_up(lazy_adam.NUMPY, rates, *wide, last=last[late],
                                                   now=now)[0]

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(fill, range(0, len(out), ROWS)))

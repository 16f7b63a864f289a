"""Count for every test target how many items score higher; metrics makes ranks from the counts."""

from typing import NamedTuple, Optional

import numpy as np

from gru4rec.command.interrupts import StopRequest
from gru4rec.data import schedule
from gru4rec.engine.variables import Variables, padded
from gru4rec.errors import DivergenceError
from gru4rec.graph import scorer
from gru4rec.model import state
from gru4rec.tf_compat import jit_function, tf

SCORE_BYTES = 16 << 20  # of one tile of scores: small enough to stay near the cores
MIN_TILE = 64  # targets: fewer would read the table of a large catalogue from memory too often
STEPS_PER_RUN = 64
COMPILE_FROM = 5 * 10 ** 8  # scores of a run: for fewer, compiling takes longer than it saves


class Ranked(NamedTuple):
    """Counts of every target, session by session, in the order of the events.

    greater, greater_equal: as evaluation.metrics.ranks_from_counts takes them.
    recommended: how many lists of each length hold each item, as evaluation.metrics.of_lists takes
      it; None without list lengths.
    """

    greater: np.ndarray        # [n] int32
    greater_equal: np.ndarray  # [n] int32
    recommended: Optional[np.ndarray] = None  # [number of list lengths, I] int64


class Evaluator:
    """Ranks sessions with one set of weights at a time.

    Memory beside the weights: max(16 MiB, 4 * 64 * num_items bytes) of scores, the same again
    while they are compared, and 4 * 64 * lanes * H bytes of hidden states.
    """

    def __init__(self, config, device, arrays, lanes, list_lengths=(), xla=True):
        """Build the graph and open its session.

        Args:
          config: config.Config. device: device.base.Device.
          arrays: weights up to date, of model.state.caught_up.
          lanes: number of sessions that run at the same time.
          list_lengths: lengths of recommended lists whose items are counted, which costs time.
          xla: False never compiles, not even where compiling saves time.
        """
        self._model, self._lanes, self._list_lengths = config.model, lanes, tuple(list_lengths)
        self._xla, self._compiled_counts = xla and device.xla, None
        self._num_items = len(arrays[state.SOFTMAX_B])
        self._tile = _tile(self._num_items, STEPS_PER_RUN * lanes)
        weights = self._weights_of(arrays)
        self._variables = variables = Variables(device.use_resource)
        graph = tf.Graph()
        with graph.as_default(), StopRequest() as stop:
            self._build(variables, weights)
            self._session = tf.Session(graph=graph, config=device.session_config())
            variables.initialise(self._session)
            stop.check()

    def load(self, arrays):
        """Rank with other weights of the same shapes from now on; `arrays` as in `__init__`."""
        for name, array in self._weights_of(arrays).items():
            self._variables.load(self._session, name, array)

    def _weights_of(self, arrays):
        """dict variable -> value; also sets the largest hidden state whose scores are finite.

        Raises: DivergenceError if a weight is not finite.
        """
        for name in state.weight_shapes(self._model, self._num_items):
            if not np.isfinite(arrays[name]).all():
                raise DivergenceError("weight %s is not finite; use an earlier epoch, or train "
                                      "with a lower --lr" % name)
        rows = state.output_rows(self._model, arrays)
        # |score| <= (H * max|h| + 1) * max|w|. Where that fits in float32, no score can be infinite
        # or NaN.
        largest = max(float(np.abs(rows).max()), 1.0)
        self._largest_safe = float(np.finfo(np.float32).max) / largest / rows.shape[1]
        weights = {name: arrays[name] for name in state.dense_shapes(self._model)}
        weights.update(embedding=state.input_rows(self._model, arrays), rows=rows)
        return weights

    def _build(self, variables, weights):
        """The graph: hidden states of STEPS_PER_RUN steps, and counts of a tile of targets."""
        k, lanes, hidden = STEPS_PER_RUN, self._lanes, self._model.size[-1]
        by_name = {name: variables.add(name, array) for name, array in weights.items()}
        dense = [tf.identity(by_name[name]) for name in state.dense_shapes(self._model)]
        states = [variables.add("state_%d" % i, np.zeros((lanes, h), np.float32))
                  for i, h in enumerate(self._model.size)]
        outputs = variables.add("outputs", np.zeros((k * lanes, hidden), np.float32))
        self._x_ph = tf.placeholder(tf.int32, [k, lanes], "x")
        self._reset_ph = tf.placeholder(tf.bool, [k, lanes], "reset")
        self._at_ph = tf.placeholder(tf.int32, [self._tile], "at")
        self._target_ph = tf.placeholder(tf.int32, [self._tile], "target")
        top_states, last_states = scorer.hidden_states(
            self._model, dense, by_name["embedding"], self._x_ph, self._reset_ph,
            [tf.identity(s) for s in states])
        self._advance_op = tf.group(
            tf.assign(outputs, tf.reshape(top_states, [k * lanes, hidden])).op,
            *[tf.assign(s, value).op for s, value in zip(states, last_states)])
        self._tile_inputs = (tf.gather(outputs, self._at_ph), self._target_ph,
                             tf.identity(by_name["rows"]))
        counts = scorer.rank_counts(*self._tile_inputs, top=max(self._list_lengths, default=0))
        self._counts = [part for part in counts if part is not None]

    def _counts_for(self, num_targets):
        """Tensors of scorer.Counts, compiled where that saves time."""
        # With lists nothing is compiled: XLA would sort a whole row to find its best items.
        if not self._xla or self._list_lengths or num_targets * self._num_items < COMPILE_FROM:
            return self._counts
        if self._compiled_counts is None:
            compiled = jit_function(lambda *inputs: scorer.rank_counts(*inputs, compiled=True)[:3])
            with self._session.graph.as_default():
                self._compiled_counts = list(compiled(*self._tile_inputs))
        return self._compiled_counts

    def run(self, sessions, progress=None, wanted=None):
        """Rank every target of the sessions.

        Args:
          sessions: data.sessions.EvalSessions.
          progress: None, or an object with update(number of targets).
          wanted: None, or bool [n]: the targets to rank; the result leaves out the others.
        Returns: Ranked.
        Raises: DivergenceError if a score is not finite; Interrupted, before the next tile, after
          SIGINT or SIGTERM.
        """
        epoch, cells = schedule.build_longest_first(sessions.items, sessions.offsets, self._lanes,
                                                    sessions.leading_skip)
        if wanted is not None:
            epoch.weight.ravel()[cells[~wanted]] = False
            cells = cells[wanted]
        counts = np.zeros((2, epoch.weight.size), np.int32)
        recommended = None
        if self._list_lengths:
            recommended = np.zeros((len(self._list_lengths), self._num_items), np.int64)
        fetches = self._counts_for(len(cells))
        with StopRequest() as stop:
            for start in range(0, epoch.num_steps, STEPS_PER_RUN):
                part = slice(start, start + STEPS_PER_RUN)
                self._session.run(self._advance_op, {
                    self._x_ph: padded(epoch.x[part], STEPS_PER_RUN),
                    self._reset_ph: padded(epoch.reset[part], STEPS_PER_RUN)})
                live = np.flatnonzero(epoch.weight[part])
                for first in range(0, len(live), self._tile):
                    stop.check()
                    at = live[first:first + self._tile]
                    greater, greater_equal, top = self._rank(fetches, at, epoch.y[part].ravel()[at])
                    counts[:, start * self._lanes + at] = greater, greater_equal
                    for row, length in enumerate(self._list_lengths):
                        recommended[row] += np.bincount(top[:, :length].ravel(),
                                                        minlength=self._num_items)
                    if progress is not None:
                        progress.update(len(at))
        return Ranked(*counts[:, cells], recommended=recommended)

    def _rank(self, fetches, at, targets):
        """Counts of a tile of n targets: (greater [n], greater_equal [n], top [n, k] or None).

        Args:
          fetches: of `_counts_for`. at: [n], rows of `outputs` with their states. targets: [n].
        """
        greater, greater_equal, largest, *top = self._session.run(fetches, {
            self._at_ph: padded(at.astype(np.int32), self._tile),
            self._target_ph: padded(targets, self._tile)})
        largest = largest[:len(at)]  # what follows is padding
        if not (largest <= self._largest_safe).all():
            raise DivergenceError("scores are not finite (hidden state up to %g); use an earlier "
                                  "epoch, or train with a lower --lr" % largest.max())
        return greater[:len(at)], greater_equal[:len(at)], top[0][:len(at)] if top else None

    def close(self):
        """Give back the memory of the session."""
        self._session.close()


def _tile(num_items, most):
    """Number of targets ranked at once: their scores fill SCORE_BYTES; a multiple of 16."""
    return min(max(MIN_TILE, SCORE_BYTES // (4 * num_items) // 16 * 16), most)

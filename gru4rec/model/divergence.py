"""Divergence: a loss that is not finite, or far above chance and above the best so far.

Of the losses l_1, l_2, ... of a run's steps (float64; means over the processes, if several):

    m_1 = l_1,   m_s = m_(s-1) + (l_s - m_(s-1)) / WINDOW       running mean
    b_s = min(m_1, ..., m_s)                                    best so far
    diverged at the first s > 1 with   m_s > limit * max(chance, b_(s-1))

`limit` is FACTOR, for bpr-max its square, because that loss grows with the square of the scores.
One step must be about WINDOW * limit times too large to end a run by itself. A loss that stays
too large ends it within a few WINDOW steps; until then the loss under a high learning rate may
fall again. A loss that is NaN or infinite has diverged at once.

`chance` is the loss of a model that gives every item the same score. With C columns (the lanes,
those of all workers with --global_negatives, and the --n_sample drawn ones; or all items):

    cross-entropy         ln C; with --logq, and S the support of the most frequent item,
                          at most ln C + logq * max(1, sample_alpha) * ln S
    full-cross-entropy    ln C
    bpr, bpr-max          ln 2
    top1, top1-max        1

Label smoothing changes none of them, and a drained lane only lowers the loss. Losses with a bound
(top1, top1-max, those of a tanh) never come near the limit: for them only NaN counts as diverged.

The rule sees nothing but the losses, one by one, and its two numbers are part of a checkpoint. So
it makes no difference where a call, an epoch or an interrupted run ends.
"""

import math
from typing import NamedTuple

WINDOW = 100  # steps
FACTOR = 1000.0  # by which scores may be too large


class Diverged(NamedTuple):
    """The first loss at which a run has diverged."""

    index: int  # among the losses given to `Watch.first`
    loss: float
    why: str  # what it was compared with; empty where it is not finite


class Watch:
    """Looks at the losses of a run, one after the other.

    mean, best: float, m and b of the module; None before the first loss.
    """

    def __init__(self, chance, mean=None, best=None, limit=FACTOR):
        """chance, limit: float, of the functions. mean, best: of an earlier watch to go on from."""
        self._chance, self._limit = chance, limit
        self.mean = self.best = None
        if mean is not None and best is not None:
            self.mean, self.best = mean, best

    def first(self, losses):
        """Take in the losses of the next steps, up to the first that has diverged.

        Args:
          losses: [n] float, a numpy array.
        Returns: Diverged, or None if all are fine.
        """
        for index, loss in enumerate(losses.tolist()):
            if not math.isfinite(loss):
                return Diverged(index, loss, "")
            if self.mean is None:
                self.mean = self.best = loss
                continue
            self.mean += (loss - self.mean) / WINDOW
            if self.mean > self._limit * max(self._chance, self.best):
                return Diverged(index, loss, self._compared())
            self.best = min(self.best, self.mean)
        return None

    def _compared(self):
        return (" and its running mean %g, more than %g times the loss of chance (%.4g) and the "
                "best so far (%.4g)" % (self.mean, self._limit, self._chance, self.best))


def limit(config):
    """How many times chance and the best so far a running mean may reach.

    config: config.Config.
    """
    return FACTOR ** 2 if config.model.loss == "bpr-max" else FACTOR


def chance(config, num_items, largest_support=1, workers=1):
    """The loss of a model that gives every item the same score, at least ln 2.

    Args:
      config: config.Config. num_items: int, items of the catalogue.
      largest_support: int, training events of the most frequent item.
      workers: int, processes that train together.
    Returns: float.
    """
    model, training = config.model, config.training
    if model.loss in ("top1", "top1-max"):
        return 1.0
    if model.loss in ("bpr", "bpr-max"):
        return math.log(2.0)
    columns = num_items
    if model.loss != "full-cross-entropy":
        columns = training.batch_size + training.n_sample
        if training.global_negatives:
            columns += training.batch_size * (workers - 1)
    exponent = training.logq * max(1.0, training.sample_alpha)
    return math.log(max(columns, 2)) + exponent * math.log(max(largest_support, 1))

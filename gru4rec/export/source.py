"""What an export is made of: the weights inference needs, up to date and checked, and where they
come from.
"""

import os
from typing import Any, Dict, NamedTuple

import numpy as np

from gru4rec import checkpoint
from gru4rec.data.vocab import Vocabulary
from gru4rec.errors import DivergenceError
from gru4rec.model import state


class Source(NamedTuple):
    """The model of one checkpoint, as far as inference needs it."""

    model: Any  # config.ModelConfig, resolved
    weights: Dict[str, np.ndarray]  # model.state.weight_shapes, float32
    vocabulary: Vocabulary
    config: Dict[str, Any]  # the whole configuration, as config.Config.to_dict
    record: Dict[str, Any]  # of the manifest: which checkpoint this is

    @property
    def num_items(self):
        return len(self.vocabulary)

    @property
    def shares_table(self):
        """Whether the rows at the input and those that rank items are one table, in the graph too.
        """
        return self.model.embedding == "shared" and self.model.score == "dot"

    def input_rows(self):
        """[I, E] float32 rows that stand for items at the input."""
        return state.input_rows(self.model, self.weights)

    def output_rows(self):
        """[I, H] float32 rows that rank items, without their bias, as model.state.output_rows."""
        if self.model.score == "dot":
            return self.weights[state.SOFTMAX_W]
        return np.ascontiguousarray(state.output_rows(self.model, self.weights)[:, :-1])

    def bias(self):
        """[I] float32."""
        return self.weights[state.SOFTMAX_B]

    @property
    def num_bytes(self):
        """Bytes of all weights that a graph holds."""
        twice = self.model.embedding == "shared" and not self.shares_table
        return sum(array.nbytes
                   for array
                   in self.weights.values()) + twice * self.weights[state.SOFTMAX_W].nbytes


def read(directory, epoch=None):
    """The model of a checkpoint, rows that lazy Adam left behind caught up.

    Args:
      directory: checkpoint directory. epoch: 0-based, or None as checkpoint.load.
    Returns: Source.
    Raises: CheckpointError as checkpoint.load; DivergenceError if a weight is not finite.
    """
    found = checkpoint.load(directory, epoch)
    arrays = state.caught_up(found.config, found.arrays)
    weights = {name: arrays[name]
               for name in state.weight_shapes(found.config.model, len(found.vocabulary))}
    for name, array in weights.items():
        if not np.isfinite(array).all():
            raise DivergenceError("weight %s of %s is not finite; export an earlier epoch (--test)" % (name, found.path))
    record = dict(checkpoint_dir=directory, checkpoint=os.path.basename(found.path),
                  epoch=found.epoch, step=found.step,
                  version=found.version)
    return Source(found.config.model, weights, found.vocabulary, found.config.to_dict(), record)

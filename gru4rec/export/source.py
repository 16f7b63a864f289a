"""What a graph is made of: the weights of one checkpoint, and which checkpoint that is."""

import os
from typing import Any, Dict, NamedTuple

import numpy as np

from gru4rec.checkpoint import weights as weights_module
from gru4rec.data.vocab import Vocabulary


class Source(NamedTuple):
    """The model of one checkpoint as the constants of a graph: contiguous float32 arrays."""

    model: Any  # config.ModelConfig, resolved
    dense: Dict[str, np.ndarray]  # names of model.state.dense_shapes
    input_rows: np.ndarray  # [I, E] rows that stand for items at the input
    output_rows: np.ndarray  # [I, H] rows that rank items, as model.state.output_rows
    bias: np.ndarray  # [I] of the scores
    vocabulary: Vocabulary
    config: Dict[str, Any]  # the whole configuration, as config.Config.to_dict
    record: Dict[str, Any]  # of the manifest: which checkpoint this is

    @property
    def num_items(self):
        return len(self.vocabulary)

    @property
    def shares_table(self):
        """Whether `input_rows` and `output_rows` are one table, in the graph too."""
        return self.input_rows is self.output_rows

    @property
    def num_bytes(self):
        """Bytes of all weights that a graph holds."""
        tables = [self.output_rows, self.bias] + ([] if self.shares_table else [self.input_rows])
        return sum(array.nbytes for array in tables + list(self.dense.values()))


def read(directory, epoch=None):
    """The Source of a checkpoint directory.

    Args:
      epoch: 0-based, or None for the best of a run with validation, else the newest.
    Raises: CheckpointError, DivergenceError as checkpoint.weights.load.
    """
    return of(weights_module.load(directory, epoch), directory)


def of(weights, directory):
    """The Source of checkpoint.weights.Weights that lie in `directory`."""
    model = weights.config.model
    output_rows = np.ascontiguousarray(weights.item_vectors[:, :-1])
    if model.embedding == "shared" and model.score == "dot":
        input_rows = output_rows
    else:
        input_rows = np.ascontiguousarray(weights.input_rows)
    record = dict(checkpoint_dir=directory, checkpoint=os.path.basename(weights.path),
                  epoch=weights.epoch, step=weights.step, version=weights.version)
    return Source(model, weights.dense, input_rows, output_rows,
                  np.ascontiguousarray(weights.item_vectors[:, -1]), weights.vocabulary,
                  weights.config.to_dict(), record)

"""What a step takes beside the schedule: random numbers, drawn negatives and what is known of the
items' support.
"""

import numpy as np

from gru4rec.device.base import EMBED_DROPOUT_STREAM, NEGATIVES_STREAM
from gru4rec.graph import duplicates, lookup, negatives
from gru4rec.graph import step as net
from gru4rec.model import state
from gru4rec.tf_compat import tf


class Sources:
    """Everything random or constant about the steps of a run; a function of (seed, number of the
    update).
    """

    def __init__(self, config, device, variables, num_items, support):
        """variables: engine.variables.Variables; support: [I] int or None, see `engine.create`."""
        self._model, self._training, self._device = config.model, config.training, device
        self._num_items, training = num_items, config.training
        if training.n_sample:
            self._alias = variables.add("alias",
                                        negatives.alias_table(support, training.sample_alpha))
        if training.logq:
            # an item that a warm start kept may not occur; log 0 times 0 is NaN
            occurring = np.maximum(support, 1)
            self._log_support = variables.add("log_support", np.log(occurring).astype(np.float32))
        workers, full = device.workers, self._model.loss == "full-cross-entropy"
        self._own_samples = (workers.size > 1 and bool(training.n_sample)
                             and not device.communicator.same_samples)
        samples = (num_items if full
                   else training.n_sample * (workers.size if self._own_samples else 1))
        lanes = training.batch_size * workers.size
        # per table int32 variable [I] that `graph.duplicates` may write, None where it need not
        self.scratch = []
        for members in state.tables(self._model):
            many = samples + (1 if full else 2) * lanes > duplicates.PAIRS
            self.scratch.append(variables.add(members[0] + "_slots",
                                              np.zeros(num_items, np.int32)) if many else None)

    def lookup(self, batch, number):
        """net.Lookup of the step that makes update `number`; batch: net.Batch of all ranks."""
        return lookup.lookup(self._model, self._training, batch, self._samples(number),
                             lambda index: tf.gather(self._log_support, index),
                             self._device.workers, self._own_samples)

    def _samples(self, number):
        if self._model.loss == "full-cross-entropy":
            return tf.range(self._num_items)
        if not self._training.n_sample:
            return None
        words = self._device.random_int31([2, self._training.n_sample], self._training.seed, number,
                                          NEGATIVES_STREAM)
        own = negatives.draw(self._alias, words)
        return self._device.communicator.all_gather(own) if self._own_samples else own

    def dropout(self, number):
        """function (tensor, net.EMBED or layer) -> tensor, the dropout of update `number` that
        `net.train_step` takes.
        """
        def drop(tensor, layer):
            rate, stream = ((self._model.embed_dropout, EMBED_DROPOUT_STREAM) if layer == net.EMBED
                            else (self._model.dropout[layer], layer))
            return self._device.dropout(tensor, rate, self._training.seed, number, stream)
        return drop

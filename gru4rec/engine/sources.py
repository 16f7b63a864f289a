"""What a step needs besides the schedule: random numbers, drawn negatives, the items' support."""

import numpy as np

from gru4rec.device.base import EMBED_DROPOUT_STREAM, NEGATIVES_STREAM
from gru4rec.graph import duplicates, lookup, negatives
from gru4rec.graph import step as net
from gru4rec.model import state
from gru4rec.tf_compat import tf


class Sources:
    """Everything random or constant about the steps of a run.

    Random numbers are a function of the seed and the number of the update.
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
        self._own_samples = (device.workers.size > 1 and bool(training.n_sample)
                             and not device.communicator.same_samples)
        # per table int32 variable [I] that `graph.duplicates` may write, None where it need not
        self._scratch = []
        for members in state.tables(self._model):
            slots = None
            if self._most_rows() > duplicates.PAIRS:
                slots = variables.add(members[0] + "_slots", np.zeros(num_items, np.int32))
            self._scratch.append(slots)

    def _most_rows(self):
        """The most rows that a step can read of one table."""
        workers, lanes = self._device.workers, self._training.batch_size
        if self._model.loss == "full-cross-entropy":
            return self._num_items + workers.size * lanes
        draws = workers.size if self._own_samples else 1
        return draws * self._training.n_sample + 2 * workers.size * lanes

    def lookup(self, batch, number):
        """lookup.Lookup of the step that makes update `number`.

        batch: step.Batch of all workers.
        """
        return lookup.lookup(self._model, self._training, batch, self._samples(number),
                             lambda index: tf.gather(self._log_support, index),
                             self._device.workers, self._own_samples)

    def duplicates(self, index):
        """Per table, what `graph.duplicates.of` gives for `Lookup.index`."""
        return [duplicates.of(index_n, scratch) for index_n, scratch in zip(index, self._scratch)]

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
        """Dropout of update `number`, as `step.train_step` takes it: (tensor, layer) -> tensor."""
        def drop(tensor, layer):
            if layer == net.EMBED:
                rate, stream = self._model.embed_dropout, EMBED_DROPOUT_STREAM
            else:
                rate, stream = self._model.dropout[layer], layer
            return self._device.dropout(tensor, rate, self._training.seed, number, stream)
        return drop

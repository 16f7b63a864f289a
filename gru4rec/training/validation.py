"""Validation after each epoch: the model is measured on held-out sessions, the best is remembered.
"""

import dataclasses
import logging
import time

from gru4rec.config.groups import ValidConfig
from gru4rec.evaluation import metrics, protocol
from gru4rec.model import state
from gru4rec.runlog.lines import LABELS, metric_line
from gru4rec.runlog.rows import Metrics

_log = logging.getLogger(__name__)


class Validation:
    """Told of every epoch by training.loop; the best epoch is the first with the largest metric.

    best_epoch: int, 0-based; None before the first. test: evaluation.protocol.TestSet.
    """

    def __init__(self, config, device, test):
        """What to measure, and where.

        Args:
          config: config.Config with a validation. device: device.base.Device. test:
          evaluation.protocol.TestSet to measure on.
        """
        self._config, self._device, self.test = config, device, test
        self._cut_off = config.evaluation.cut_off[0]
        self._values, self.best_epoch, self._evaluator = {}, None, None

    def add(self, epoch, arrays):
        """Measure the model after an epoch; writes one log line and one row of metrics.jsonl.

        Args:
          epoch: int, 0-based. arrays: engine.arrays().
        Raises: DivergenceError, Interrupted: as evaluation.evaluator.Evaluator.
        """
        started, name = time.perf_counter(), self._config.validation.valid_metric
        values = measure(self._evaluator_with, arrays, self.test, self._device.communicator)
        seconds = time.perf_counter() - started
        self._values[epoch] = values[name]
        if self.best_epoch is None or values[name] > self._values[self.best_epoch]:
            self.best_epoch = epoch
        verdict = "the best so far"
        if epoch != self.best_epoch:
            verdict = "epoch %d is better" % self.best_epoch
        line = metric_line(self._cut_off, values["recall"], values["mrr"])
        _log.info("epoch %d: validation %s (%s, %.1f s)", epoch, line.replace("\t", " "), verdict,
                  seconds)
        if self._device.workers.rank:
            return
        Metrics(self._config.run.checkpoint_dir, self._config.run.tensorboard).add(
            "valid", epoch=epoch, step=int(arrays[state.GLOBAL_STEP]), seconds=seconds,
            best_epoch=self.best_epoch,
            **protocol.eval_row(self.test, [(self._cut_off, values)]))

    def _evaluator_with(self, arrays):
        """evaluation.evaluator.Evaluator of a state; the graph is built once, and then loaded."""
        from gru4rec.evaluation import evaluator
        current = state.caught_up(self._config, arrays)
        if self._evaluator is None:
            self._evaluator = evaluator.Evaluator(
                self._config, self._device.without_loop(), current,
                self.test.options.eval_batch_size, xla=self._config.run.xla != "off")
        else:
            self._evaluator.load(current)
        return self._evaluator

    def close(self):
        """Close the evaluator."""
        if self._evaluator is not None:
            self._evaluator.close()

    def is_over(self, epoch):
        """Whether --patience epochs have passed since the best."""
        return is_over(epoch, self.best_epoch, self._config.validation.patience)

    def record(self, epoch):
        """What the manifest of an epoch's checkpoint says.

        Returns: dict: "metric", such as recall@20; "value" of the epoch; "best_epoch" and
          "best_value"; "values" of all epochs. None stands for what was not measured.
        """
        last = max(self._values, default=-1)
        return {"metric": "%s@%d" % (self._config.validation.valid_metric, self._cut_off),
                "value": self._values.get(epoch),
                "best_epoch": self.best_epoch, "best_value": self._values.get(self.best_epoch),
                "values": [self._values.get(e) for e in range(last + 1)]}

    def restore(self, record):
        """Go on from a `record`."""
        self._values = {epoch: value for epoch, value in enumerate(record["values"])
                        if value is not None}
        self.best_epoch = record["best_epoch"]

    def summary(self):
        """`epoch 2 was the best of 5 trained (validation Recall@20: 0.5123)`."""
        return summary(self.record(self.best_epoch))


def is_over(epoch, best_epoch, patience):
    """Whether `patience` epochs (0: any number) have passed since the best."""
    return patience > 0 and epoch - best_epoch >= patience


def summary(record):
    """`Validation.summary` of a Validation.record."""
    metric, cut_off = record["metric"].split("@")
    num_measured = sum(value is not None for value in record["values"])
    return ("epoch %d was the best of %d trained (validation %s@%s: %.4f)"
            % (record["best_epoch"], num_measured, LABELS[metric], cut_off, record["best_value"]))


def refit_config(config, best_epoch):
    """config.Config of a training on all sessions, without a validation, up to the best epoch."""
    training = dataclasses.replace(config.training, epoch=best_epoch + 1)
    return dataclasses.replace(config, training=training, validation=ValidConfig())


def measure(evaluator_with, arrays, test, communicator):
    """Recall and MRR at the first cut-off, as `--train 0` prints them for a checkpoint.

    Args:
      evaluator_with: function (arrays) -> evaluation.evaluator.Evaluator. arrays: engine.arrays().
      test: as for Validation.
      communicator: parallel.communicator.Communicator of the processes that share the work.
    Returns: dict "recall", "mrr" -> float.
    """
    if communicator.exchange is None:
        ranked = evaluator_with(arrays).run(test.sessions, wanted=test.wanted)
    else:
        from gru4rec.evaluation import sharded
        ranked = sharded.ranked_by(communicator, evaluator_with(arrays), test.sessions, test.wanted)
    (_, recall, mrr), = metrics.recall_mrr(protocol.ranks(test, ranked), test.options.cut_off[:1],
                                           test.num_misses)
    return {"recall": recall, "mrr": mrr}

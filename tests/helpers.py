"""What several tests of the engines need: configurations, an epoch, runs of an engine and of the
twin, wide rows.
"""

import re
import threading

import numpy as np
import pytest

from gru4rec import config
from gru4rec.config import groups
from gru4rec.data import schedule
from gru4rec.engine import create
from gru4rec.engine.base import chunk_of
from gru4rec.evaluation import metrics
from gru4rec.model import lazy_adam, learning_rate, state
from gru4rec.tf_compat import TF_VERSION, has_xla, tf
from tests.parity import reference
from tests.tolerance import assert_same_bits, assert_ulps, assert_ulps_of_all  # noqa: F401

# name -> flags
ENGINES = {"plain": dict(engine="plain"), "loop": dict(engine="loop", xla="off")}
if has_xla():
    ENGINES["xla"] = dict(engine="loop", xla="on")


def engines(names, release=()):
    """Parameters of a test of engines: CI runs the compiled ones on TensorFlow 2, those of
    `release` not at all.
    """
    marks = {name: [pytest.mark.slow] if name == "xla" else [pytest.mark.once_on_1]
             for name in names}
    return [pytest.param(name, marks=marks[name] + [pytest.mark.release] * (name in release))
            for name in names]


# What tf_compat says that it cannot hide, of TensorFlow 2.15 alone.
_OF_2_15 = (r"WARNING: All log messages before absl::InitializeLog\(\) .*"
            r"|.*\] Compiled cluster using XLA!.*|.*\] SetPriority unimplemented for this stream\.")


def foreign_lines(stderr):
    """Lines of a command's stderr that are not ours: no log record, no error, no "not usable"."""
    ours = r"(worker \d+: )?([IWE] gru4rec[.\w]*: |error: |not usable: )"
    lines = [line for line in stderr.splitlines() if not re.match(ours, line)]
    if TF_VERSION[:2] == (2, 15):
        lines = [line for line in lines if not re.match(_OF_2_15, line)]
    return lines


def make_config(engine="loop", **flags):
    """config.Config; engine: name in ENGINES."""
    return config.from_flags({name: str(value) for name,
                              value in dict(ENGINES[engine], **flags).items()})


def cpu():
    """The device all of these tests run on."""
    from gru4rec import device
    return device.choose("cpu")


def lengths_to_epoch(lengths, num_items, num_lanes, seed=0):
    """data.schedule.Epoch of random sessions of these lengths; few items, so that batches hold
    duplicates.
    """
    random = np.random.RandomState(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return schedule.build(random.randint(0, num_items, offsets[-1]).astype(np.int32), offsets,
                          num_lanes)


def start_arrays(config_, num_items, scale=1.0, seed=1):
    """A start whose weights are `scale` times standard normal, so that no gradient is lost in
    float32 rounding.
    """
    arrays, random = state.initial(config_, num_items), np.random.RandomState(seed)
    for name, shape in state.weight_shapes(config_.model, num_items).items():
        arrays[name] = (scale * random.standard_normal(shape)).astype(np.float32)
    return arrays


def run_steps(engine, epoch, start, stop, per_run=None):
    """Losses of rows start..stop of one epoch, in chunks of at most `per_run` (default: what the
    engine takes).
    """
    per_run, out = per_run or engine.steps_per_run, []
    while start < stop:
        end = min(start + per_run, stop)
        out.append(np.array(engine.run(chunk_of(epoch, start, end, 0))))
        start = end
    return np.concatenate(out)


def train(config_, arrays, epoch, start=0, stop=None, per_run=None, num_steps=None, support=None):
    """(losses, arrays) of a fresh engine that runs rows start..stop."""
    engine = create(config_, cpu(), arrays, num_steps or epoch.num_steps, support)
    try:
        losses = run_steps(engine, epoch, start, epoch.num_steps if stop is None else stop, per_run)
        return losses, engine.arrays()
    finally:
        engine.close()


def recall_mrr(evaluator, sessions, tie, cut_offs):
    """[(cut_off, recall, mrr)] of an Evaluator on data.sessions.EvalSessions."""
    ranked = evaluator.run(sessions)
    ranks = metrics.ranks_from_counts(ranked.greater, ranked.greater_equal, tie)
    return metrics.recall_mrr(ranks, cut_offs, sessions.num_misses)


def on_threads(count, job):
    """What `job(i)` gives for each i, all at the same time; the first error is raised."""
    results, errors = [None] * count, []

    def of(i):
        try:
            results[i] = job(i)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=of, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


def dropout_masks(config_, steps):
    """Per step a list of per layer [B, H]: what the layer's output is multiplied by in that update.
    """
    model, training, device = config_.model, config_.training, cpu()
    with tf.Graph().as_default(), tf.Session(config=device.session_config()) as session:
        step_ph = tf.placeholder(tf.int32, [])
        masks = [device.dropout(tf.ones([training.batch_size, hidden]), model.dropout[layer],
                                training.seed, step_ph, layer)
                 for layer, hidden in enumerate(model.size)]
        return [session.run(masks, {step_ph: step}) for step in steps]


def train_reference(config_, arrays, epoch, num_steps):
    """The same steps by the float64 twin: (losses, weights, slots, states)."""
    model, training = config_.model, config_.training
    weights = {name: arrays[name].astype(np.float64) for name in state.weight_shapes(model, 0)}
    slots, states = reference.zero_slots(weights), reference.zero_states(weights,
                                                                         training.batch_size)
    losses, masks = [], dropout_masks(config_, range(1, num_steps + 1))
    for t in range(num_steps):
        loss, weights, slots, states = reference.train_step(
            weights, slots, states, epoch.x[t], epoch.y[t], epoch.reset[t], epoch.weight[t], t + 1,
            masks[t], model.hidden_act, model.loss, model.final_act, training.lr, training.decay,
            training.decay_steps, training.grad_cap)
        losses.append(loss)
    return np.array(losses), weights, slots, states


def rate(config_, step):
    """Learning rate of update `step`, a number or an array."""
    training = config_.training
    return learning_rate.learning_rate(step, training.lr, training.decay, training.decay_steps)


def adam_tables(config_, num_steps):
    """model.lazy_adam.Tables of a configuration."""
    return lazy_adam.tables(lambda step: rate(config_, step), num_steps)


class LazyTable:
    """One table of wide rows in a graph of its own, fed with indices and gradients."""

    def __init__(self, p, m, v, last, adam, num_rows):
        """p, m, v: [I, D]. last: [I] int32. adam: model.lazy_adam.Tables, float64. num_rows:
        indices per step.
        """
        from gru4rec.graph import duplicates, tables
        self._wide, self._adam, dtype = tables, adam, p.dtype
        graph = tf.Graph()
        with graph.as_default():
            start, = tables.pack([p, m, v], last)
            start_ph = tf.placeholder(dtype, start.shape)
            self._var = tf.Variable(start_ph, use_resource=True)
            constants = lazy_adam.Tables(*[tf.constant(table.astype(dtype)) for table in adam])
            self._index_ph = tf.placeholder(tf.int32, [num_rows])
            self._step_ph = tf.placeholder(tf.int32, [])
            self._gradient_ph = tf.placeholder(dtype, [num_rows, p.shape[1]])
            table = tables.Table([self._var], groups.TrainConfig())
            self._rows = table.read(self._index_ph, self._step_ph, constants)
            with tf.control_dependencies(self._rows):
                same = duplicates.of(self._index_ph, None)
                lr = tf.gather(constants.lr, self._step_ph)
                new = table.updated(self._rows, self._gradient_ph, same, lr, self._step_ph)
                self._write_op = table.write(self._index_ph, new)
            self._session = tf.Session(graph=graph, config=cpu().session_config())
            self._session.run(self._var.initializer, {start_ph: start})

    def read(self, index, step):
        """(p, m, v) of rows as they are before update `step`."""
        return self._session.run(self._rows, {self._index_ph: index, self._step_ph: step})

    def step(self, index, gradient, step):
        """Update `step`: index [num_rows], gradient [num_rows, D], one row for each occurrence."""
        self._session.run(self._write_op,
                          {self._index_ph: index, self._gradient_ph: gradient, self._step_ph: step})

    def unpack(self):
        """(p, m, v, last), raw."""
        values, last = self._wide.unpack([self._session.run(self._var)], True)
        return values + [last]

    def caught_up(self, now):
        """(p, m, v) after step `now`."""
        *rows, last = self.unpack()
        return lazy_adam.caught_up(self._adam, *rows, last=last, now=now)

    def close(self):
        self._session.close()

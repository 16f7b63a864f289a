"""Evaluation by the workers of a cluster: each ranks the targets of its share of the sessions.

Only rank 0 needs the checkpoint and the test file. It sends weights and sessions to the others and
collects the result.
"""

import contextlib

import numpy as np

from gru4rec import config as config_module
from gru4rec.data.sessions import EvalSessions, rows_of
from gru4rec.evaluation.evaluator import Evaluator, Ranked
from gru4rec.model import state


def ranked(config, device, trained, test, list_lengths=(), progress=None):
    """evaluation.evaluator.Ranked of all counted targets on rank 0, None on the others.

    The result is that of one process.

    Args:
      config: config.Config of the command. device: device.base.Device of a cluster.
      trained: (config.Config of the model, its arrays up to date) on rank 0, None on others.
      test: evaluation.protocol.TestSet on rank 0, None on others.
      list_lengths: as for evaluator.Evaluator; those of rank 0 count.
      progress: None, or function (total) -> context manager with update(n).
    Raises: as evaluation.evaluator.Evaluator; ClusterError if a process is gone.
    """
    communicator, workers = device.communicator, device.workers
    settings, arrays = None, {}
    if trained is not None:
        trained_config, arrays = trained
        kinds = [[name, arrays[name].dtype.str, arrays[name].shape]
                 for name in state.weight_shapes(trained_config.model, 0)]
        settings = [trained_config.to_dict(), kinds, list(list_lengths),
                    config.evaluation.eval_batch_size, config.run.xla != "off",
                    test.wanted is not None]
    values, kinds, list_lengths, lanes, xla, has_wanted = communicator.exchange(settings)[0]
    if trained is None:
        trained_config = config_module.from_dict(values)
    weights = {}
    for name, kind, shape in kinds:
        own = np.zeros(shape, np.dtype(kind)) if trained is None else arrays[name]
        weights[name] = communicator.shared(own)
    sessions = _sessions_of_rank_0(communicator, test and test.sessions)
    wanted = None
    if has_wanted:
        wanted = None if test is None else test.wanted.astype(np.int32)
        wanted = _array_of_rank_0(communicator, wanted) != 0
    evaluator = Evaluator(trained_config, device, weights, lanes, list_lengths, xla)
    own, targets, own_wanted = _part(sessions, wanted, workers)
    with progress(len(targets)) if progress else contextlib.nullcontext() as bar:
        whole = _joined(communicator, evaluator.run(own, bar, own_wanted), targets)
    evaluator.close()
    return None if workers.rank else whole


def ranked_by(communicator, evaluator, sessions, wanted):
    """evaluator.Ranked of all counted targets, on every worker.

    All workers have the same weights and the same sessions.

    Args:
      communicator: parallel.collectives.Collectives. evaluator: evaluator.Evaluator.
      sessions, wanted: as for its `run`.
    """
    own, targets, own_wanted = _part(sessions, wanted, communicator.workers)
    return _joined(communicator, evaluator.run(own, wanted=own_wanted), targets)


def _part(sessions, wanted, workers):
    """(own sessions, numbers of their counted targets among all, `wanted` of their targets)."""
    own, targets = share(sessions, workers)
    if wanted is None:
        return own, targets, None
    return own, targets[wanted[targets]], wanted[targets]


def _joined(communicator, part, targets):
    """Ranked of all workers, targets in order."""
    order = np.argsort(np.concatenate(communicator.gather(targets)), kind="stable")
    counts = [np.concatenate(communicator.gather(values))[order]
              for values in (part.greater, part.greater_equal)]
    recommended = None
    if part.recommended is not None:
        recommended = np.sum(communicator.gather(part.recommended[None]), axis=(0, 1))
    return Ranked(*counts, recommended=recommended)


def share(sessions, workers):
    """(data.sessions.EvalSessions of one worker, numbers int64 [n] of their targets among all)."""
    lengths = np.diff(sessions.offsets)
    steps = lengths - 1 + sessions.leading_skip
    own = np.arange(workers.rank, len(lengths), workers.size)
    events, offsets = rows_of(sessions.offsets[own], lengths[own])
    targets, _ = rows_of((np.cumsum(steps) - steps)[own], steps[own])
    own_sessions = EvalSessions(sessions.items[events], offsets, sessions.leading_skip[own], 0,
                                sessions.session_index[own])
    return own_sessions, targets


def _sessions_of_rank_0(communicator, sessions):
    """EvalSessions of rank 0 on every worker; the others give None."""
    parts = [None] * 4
    if sessions is not None:
        parts = [sessions.items, sessions.offsets, sessions.leading_skip.astype(np.int32),
                 sessions.session_index]
    items, offsets, leading_skip, session_index = [_array_of_rank_0(communicator, part)
                                                   for part in parts]
    return EvalSessions(items, offsets, leading_skip != 0, 0, session_index)


def _array_of_rank_0(communicator, array):
    """An array of rank 0 on every worker; the others give None."""
    layout = None if array is None else [array.dtype.str, array.shape]
    kind, shape = communicator.exchange(layout)[0]
    if array is None:
        array = np.zeros(shape, np.dtype(kind))
    return communicator.shared(array)

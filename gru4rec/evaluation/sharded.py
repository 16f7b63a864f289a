"""Evaluation by the processes of a cluster: each ranks the targets of its share of the sessions,
rank 0 has the whole.

Only rank 0 needs the checkpoint and the test file; what the others are to rank, and with which
weights, it tells them."""

import contextlib

import numpy as np

from gru4rec import config as config_module
from gru4rec.data.sessions import EvalSessions, rows_of
from gru4rec.evaluation.evaluator import Evaluator, Ranked
from gru4rec.model import state


def ranked(config, device, found, test, list_lengths=(), progress=None):
    """evaluation.evaluator.Ranked of all counted targets, the same that one process gives; None on
    ranks other than 0.

    Args:
      config: config.Config of the command. device: device.base.Device of a cluster.
      found: (config.Config of the model, its arrays up to date) on rank 0, None on others.
      test: evaluation.protocol.TestSet on rank 0, None on others. list_lengths: as for
      evaluator.Evaluator; of rank 0.
      progress: None, or function (total) -> context manager with update(n).
    Raises: as evaluation.evaluator.Evaluator; ClusterError if a process is gone.
    """
    together, workers = device.communicator, device.workers
    said = None
    if found is not None:
        kinds = [[name, found[1][name].dtype.str, found[1][name].shape]
                 for name in state.weight_shapes(found[0].model, 0)]
        said = [found[0].to_dict(), kinds, list(list_lengths), config.evaluation.eval_batch_size,
                config.run.xla != "off", test.wanted is not None]
    model, kinds, list_lengths, lanes, xla, has_wanted = together.exchange(said)[0]
    model = found[0] if found is not None else config_module.from_dict(model)
    arrays = {name: together.shared(found[1][name] if found is not None
                                    else np.zeros(shape, np.dtype(kind)))
              for name, kind, shape in kinds}
    sessions = _of_rank_0(together, test and test.sessions)
    wanted = _one_of_rank_0(together,
                            None if test is None
                            else test.wanted.astype(np.int32)) != 0 if has_wanted else None
    evaluator = Evaluator(model, device, arrays, lanes, list_lengths, xla)
    own, targets, wanted_own = _part(sessions, wanted, workers)
    with progress(len(targets)) if progress else contextlib.nullcontext() as bar:
        found = _joined(together, evaluator.run(own, bar, wanted_own), targets)
    evaluator.close()
    return None if workers.rank else found


def ranked_by(communicator, evaluator, sessions, wanted):
    """evaluator.Ranked of all counted targets on every rank, each of which has the same weights and
    the same sessions.

    Args:
      communicator: parallel.collectives.Collectives. evaluator: evaluator.Evaluator. sessions,
      wanted: as for its `run`.
    """
    own, targets, wanted_own = _part(sessions, wanted, communicator.workers)
    return _joined(communicator, evaluator.run(own, wanted=wanted_own), targets)


def _part(sessions, wanted, workers):
    """(this rank's sessions, the counted targets of theirs among all, `wanted` of theirs)."""
    own, targets = share(sessions, workers)
    if wanted is None:
        return own, targets, None
    return own, targets[wanted[targets]], wanted[targets]


def _joined(together, part, targets):
    """Ranked of all ranks, targets in order."""
    order = np.argsort(np.concatenate(together.gather(targets)), kind="stable")
    counts = [np.concatenate(together.gather(values))[order]
              for values in (part.greater, part.greater_equal)]
    lists = (None if part.recommended is None
             else np.sum(together.gather(part.recommended[None]), axis=(0, 1)))
    return Ranked(*counts, recommended=lists)


def share(sessions, workers):
    """(data.sessions.EvalSessions of every size-th session, numbers [n] int64 of their targets
    among all).
    """
    lengths = np.diff(sessions.offsets)
    steps = lengths - 1 + sessions.leading_skip
    mine = np.arange(workers.rank, len(lengths), workers.size)
    events, offsets = rows_of(sessions.offsets[mine], lengths[mine])
    targets, _ = rows_of((np.cumsum(steps) - steps)[mine], steps[mine])
    own = EvalSessions(sessions.items[events], offsets, sessions.leading_skip[mine], 0,
                       sessions.session_index[mine])
    return own, targets


def _of_rank_0(together, sessions):
    parts = [None] * 4 if sessions is None else [sessions.items, sessions.offsets,
                                                 sessions.leading_skip.astype(np.int32),
                                                 sessions.session_index]
    items, offsets, leading_skip, session_index = [_one_of_rank_0(together, part) for part in parts]
    return EvalSessions(items, offsets, leading_skip != 0, 0, session_index)


def _one_of_rank_0(together, array):
    """An array of rank 0 on every rank; the others give None."""
    kind, shape = together.exchange(None if array is None else [array.dtype.str, array.shape])[0]
    return together.shared(np.zeros(shape, np.dtype(kind)) if array is None else array)

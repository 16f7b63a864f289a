"""Generate click sessions by a known process, so the best possible metrics are known.

Every item has a popularity `pop` (Zipf-like) and a group; `f` and `s` are permutations of the
groups. With x_t the last item, of group g(x_t), and x_{t-1} the one before it,

    p(x_{t+1} = k | x_t, x_{t-1}) = a·pop(k) + b·pop(k | group f(g(x_t)))
                                             + c·pop(k | group s(g(x_{t-1})))
    p(x_2 = k | x_1) = (a·pop(k) + b·pop(k | group f(g(x_1)))) / (a + b),    x_1 ~ pop

with a + b + c = 1: noise, a first-order Markov chain, and a part that only a model with memory can
learn. A session of t >= 2 events goes on with probability `go_on`, up to `max_len` events.

Every random choice compares `RandomState.random_sample` with integer weights, so that a seed gives
the same events on every Python and numpy.
"""

from typing import NamedTuple, Tuple

import numpy as np

from gru4rec.errors import InputError

NUM_GROUPS = 30
GROUP_SIZE = 10
SHARES = (0.12, 0.36, 0.52)  # a, b, c
GO_ON = 0.8
MAX_LEN = 20


class Process(NamedTuple):
    """Parameters of the process; items are indices 0..I-1, I = G·L."""

    pop: np.ndarray      # [I] int64 weights
    group: np.ndarray    # [I] int64 group of each item
    members: np.ndarray  # [G, L] int64 items of each group
    first: np.ndarray    # [G] int64 permutation f
    second: np.ndarray   # [G] int64 permutation s
    shares: Tuple[float, float, float]  # a, b, c
    go_on: float         # probability that a session of >= 2 events goes on
    max_len: int         # events in the longest session


class Ceiling(NamedTuple):
    """Recall@k and MRR@k of a predictor that knows the process, by its own order of all items."""

    expected: float  # its top-k probability mass under the true distribution, mean over the targets
    realised: float  # share of the targets in its top-k
    mrr_expected: float  # sum of p(item at rank r) / r over its ranks r <= k, mean over the targets
    mrr_realised: float  # 1 / rank of the target where rank <= k, else 0, mean over the targets


def make_process(seed, num_groups=NUM_GROUPS, group_size=GROUP_SIZE, shares=SHARES, go_on=GO_ON,
                 max_len=MAX_LEN):
    """Draw the parameters of a process.

    Args:
      seed: int in [0, 2^32).
      num_groups: G >= 1. group_size: L >= 1 items in each group.
      shares: (a, b, c), each >= 0, sum 1, a + b > 0. go_on: in [0, 1). max_len: >= 2.
    Returns: Process.
    Raises: InputError naming the argument out of range.
    """
    if num_groups < 1 or group_size < 1:
        raise InputError("num_groups %d and group_size %d must be at least 1"
                         % (num_groups, group_size))
    if min(shares) < 0 or shares[0] + shares[1] <= 0 or abs(sum(shares) - 1) > 1e-9:
        raise InputError("shares %s must be >= 0 with sum 1 and a + b > 0" % (shares,))
    if not 0 <= go_on < 1 or max_len < 2:
        raise InputError("go_on %s must lie in [0, 1) and max_len %d be >= 2" % (go_on, max_len))
    rng = np.random.RandomState(seed)
    num_items = num_groups * group_size
    rank = _permutation(rng, num_items)  # of each item, 0 = most popular
    by_rank = np.argsort(rank, kind="stable")
    # Zipf with a flattened head: 1 / (rank from 1 + I/15)
    pop = 10 ** 6 // (rank + num_items // 15 + 1)
    members = by_rank.reshape(group_size, num_groups).T  # every group has popular and rare items
    return Process(pop, rank % num_groups, members, _permutation(rng, num_groups),
                   _permutation(rng, num_groups), tuple(shares), go_on, max_len)


def _permutation(rng, size):
    return np.argsort(rng.random_sample(size), kind="stable")


def _draw(rng, weights):
    """One place per row of weights [N, L] (integers > 0), with probability weight / row sum."""
    bounds = np.cumsum(weights, axis=1)
    needle = np.floor(rng.random_sample(len(weights)) * bounds[:, -1])
    return (bounds <= needle[:, None]).sum(1)


def _popular(rng, process, size):
    """[size] items drawn by popularity."""
    bounds = np.cumsum(process.pop)
    return np.searchsorted(bounds, np.floor(rng.random_sample(size) * bounds[-1]), side="right")


def popularity(process):
    """pop as probabilities, [I] float64."""
    return process.pop / float(process.pop.sum())


def group_matrix(process):
    """pop(k | group g), [G, I] float64, rows sum to 1."""
    inside = process.group == np.arange(len(process.members))[:, None]
    weights = inside * process.pop
    return weights / weights.sum(1, keepdims=True).astype(np.float64)


def _parts(process):
    """(known, memory), [I, I] float64.

    Row i of `known` is a·pop + b·pop(. | group f(g(i))), from the last item i. Row i of `memory` is
    pop(. | group s(g(i))), from the item i before the last.
    """
    a, b, _ = process.shares
    groups = group_matrix(process)
    known = a * popularity(process) + b * groups[process.first[process.group]]
    return known, groups[process.second[process.group]]


def next_item(process, last, before):
    """The true distribution of the next item.

    Args:
      process: Process.
      last: [N] int, index of the last item.
      before: [N] int, index of the item before it; -1 where `last` opens the session.
    Returns: [N, I] float64, rows sum to 1.
    """
    a, b, c = process.shares
    last, before = np.asarray(last), np.asarray(before)
    known, memory = _parts(process)
    opening = (before < 0)[:, None]
    return np.where(opening, known[last] / (a + b), known[last] + c * memory[np.maximum(before, 0)])


def last_item_only(process):
    """The next-item distribution for a model that sees the last item only.

    It is exact: the joint distribution of two neighbours, P(x_t, x_{t+1}), is followed through the
    positions of a session.

    Returns: [I, I] float64; row i is p(next | last = i), rows sum to 1.
    """
    a, b, c = process.shares
    known, memory = _parts(process)
    pair = popularity(process)[:, None] * known / (a + b)  # P(x_1, x_2)
    total, alive = pair.copy(), 1.0
    for _ in range(process.max_len - 2):
        alive *= process.go_on
        pair = pair.sum(0)[:, None] * known + c * pair.T.dot(memory)
        total += alive * pair
    return total / total.sum(1, keepdims=True)


def draw_sessions(process, num_sessions, seed):
    """Draw sessions from the process: all sessions at once, position by position.

    Args:
      process: Process. num_sessions: int >= 1. seed: int in [0, 2^32).
    Returns: (items, offsets): [events] int64 item indices and [num_sessions + 1] int64; session s
      is items[offsets[s]:offsets[s + 1]], 2..max_len events long.
    """
    rng = np.random.RandomState(seed)
    a, b, _ = process.shares
    by_pop = _popular(rng, process, num_sessions)
    columns, live = [by_pop], np.ones((num_sessions, process.max_len), dtype=bool)
    for position in range(1, process.max_len):
        part = rng.random_sample(num_sessions) * (a + b if position == 1 else 1.0)
        by_pop = _popular(rng, process, num_sessions)
        group = np.where(part < a + b, process.first[process.group[columns[-1]]],
                         process.second[process.group[columns[max(position - 2, 0)]]])
        members = process.members[group]  # [N, L]
        by_group = members[np.arange(num_sessions), _draw(rng, process.pop[members])]
        columns.append(np.where(part < a, by_pop, by_group))
        goes_on = rng.random_sample(num_sessions) < process.go_on
        if position >= 2:
            live[:, position] = live[:, position - 1] & goes_on
    offsets = np.concatenate([[0], np.cumsum(live.sum(1))])
    return np.stack(columns, axis=1)[live], offsets


def contexts(items, offsets):
    """(last, before, target) of every next event, [targets] each; items, -1 for no `before`."""
    opens = np.zeros(len(items), dtype=bool)
    opens[offsets[:-1]] = True
    target = np.flatnonzero(~opens)
    before = np.where(opens[target - 1], -1, items[target - 2])
    return items[target - 1], before, items[target]


def _gains(true, believed, target, k):
    """The four values of a Ceiling for each target, [targets, 4] float64."""
    order = np.argsort(-believed, axis=1, kind="stable")[:, :k]
    per_rank = 1.0 / np.arange(1, order.shape[1] + 1)
    mass, hit = np.take_along_axis(true, order, axis=1), order == target[:, None]
    return np.stack([mass.sum(1), hit.sum(1), mass.dot(per_rank), hit.dot(per_rank)], axis=1)


def ceilings(process, items, offsets, k=20, chunk=4096):
    """Best Recall@k and MRR@k on sessions: of any model, and of any that sees the last item only.

    Both predictors rank all items by the probability p of being next, given what they see. This
    order is the best one for both metrics. A model that puts item i at rank r_i gains
    sum_i p_i w(r_i) in expectation, with w(r) = 1 for Recall and 1 / r for MRR where r <= k, and 0
    beyond. w never grows with r. So, by the rearrangement inequality, the sum is largest where the
    largest p has rank 1, the next rank 2 and so on; the order of items of equal p does not matter.
    This holds for each target, so it holds for the mean over the targets.

    Args:
      process: the Process the sessions were drawn from.
      items, offsets: as from `draw_sessions`.
      k: length of the recommendation list.
    Returns: (oracle, memoryless), a Ceiling each.
    """
    last, before, target = contexts(items, offsets)
    table = last_item_only(process)
    sums = np.zeros((2, len(Ceiling._fields)))
    for start in range(0, len(target), chunk):
        part = slice(start, start + chunk)
        true = next_item(process, last[part], before[part])
        for row, believed in enumerate((true, table[last[part]])):
            sums[row] += _gains(true, believed, target[part], k).sum(0)
    return tuple(Ceiling(*(float(v) for v in row)) for row in sums / len(target))

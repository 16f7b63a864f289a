"""Seeded click sessions whose next-item distribution, and so the best of any model, is known.

Every item has a popularity `pop` (Zipf-like) and a group; `f` and `s` are permutations of the
groups. With x_t the last item, of group g(x_t), and x_{t-1} the one before it,

    p(x_{t+1} = k | x_t, x_{t-1}) = a·pop(k) + b·pop(k | group f(g(x_t))) + c·pop(k | group s(g(x_{t-1})))
    p(x_2 = k | x_1)              = (a·pop(k) + b·pop(k | group f(g(x_1)))) / (a + b),    x_1 ~ pop

with a + b + c = 1: noise, an ordinary Markov chain, and a part for those who remember more than the
last item. A session of t >= 2 events goes on with probability `go_on`, up to `max_len`. Every
random choice compares
`RandomState.random_sample` with integer weights, so that a seed gives the same events on every
Python and numpy.

Command: python -m gru4rec.data.synthetic --out data
"""

import argparse
import gzip
import os
import sys
from typing import NamedTuple, Tuple

import numpy as np
import pandas as pd

from gru4rec.errors import Gru4RecError, InputError

NUM_SESSIONS = 27000
NUM_DAYS = 9  # the last one is the test file
FIRST_DAY = 1396310400  # 2014-04-01 00:00 UTC, unix seconds
SEED = 0

NUM_GROUPS = 30
GROUP_SIZE = 10
SHARES = (0.12, 0.36, 0.52)  # a, b, c
GO_ON = 0.8
MAX_LEN = 20


class Process(NamedTuple):
    """The generator's parameters; items are indices 0..I-1, I = G·L."""

    pop: np.ndarray      # [I] int64 weights
    group: np.ndarray    # [I] int64 group of each item
    members: np.ndarray  # [G, L] int64 items of each group
    first: np.ndarray    # [G] int64 permutation f
    second: np.ndarray   # [G] int64 permutation s
    shares: Tuple[float, float, float]  # a, b, c
    go_on: float         # probability that a session of >= 2 events goes on
    max_len: int         # events in the longest session


class Sample(NamedTuple):
    """Events of a process as two files, and what can be reached on the second."""

    train: pd.DataFrame  # SessionId, ItemId, Time: int64; sessions in order of their first Time
    test: pd.DataFrame   # the same columns; the sessions that start on the last day
    oracle: "Ceiling"    # best Recall@20 and MRR@20 of any model on `test`
    memoryless: "Ceiling"  # best of any model that sees the last item only


class Ceiling(NamedTuple):
    """Recall@k and MRR@k of a predictor that knows the process, by its own order of all items."""

    expected: float  # its top-k probability mass under the true distribution, mean over the targets
    realised: float  # share of the targets in its top-k
    mrr_expected: float  # sum of p(item at rank r) / r over its ranks r <= k, mean over the targets
    mrr_realised: float  # 1 / rank of the target where rank <= k, else 0, mean over the targets


def make_process(seed, num_groups=NUM_GROUPS, group_size=GROUP_SIZE, shares=SHARES, go_on=GO_ON,
                 max_len=MAX_LEN):
    """Draw a process.

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
                   _permutation(rng, num_groups),
                   tuple(shares), go_on, max_len)


def _permutation(rng, size):
    return np.argsort(rng.random_sample(size), kind="stable")


def _draw(rng, weights):
    """One place per row of weights [N, L], each with probability weight / row sum (positive
    integers).
    """
    bounds = np.cumsum(weights, axis=1)
    needle = np.floor(rng.random_sample(len(weights)) * bounds[:, -1])
    return (bounds <= needle[:, None]).sum(1)


def _popular(rng, process, size):
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
    """(known, memory), [I, I] float64: a·pop + b·(first-order row of the last item), and the row of
    the one before.
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
    """What is left of the next-item distribution when only the last item is seen.

    Follows the joint distribution of two neighbours, P(x_t, x_{t+1}), through a session's
    positions, so it is exact.

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
    """Draw sessions from the process, all of them one position at a time.

    Args:
      process: Process. num_sessions: int >= 1. seed: int in [0, 2^32).
    Returns: (items, offsets): [events] int64 item indices and [num_sessions + 1] int64; session s
    is
      items[offsets[s]:offsets[s + 1]], 2..max_len events long.
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
    """(last, before, target) of every next event: [targets] each; before is -1 at the first of a
    session.
    """
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

    Both predictors rank all items by the probability p of being next, given what they see. That
    order is the best for both metrics at once. A model that puts item i at rank r_i gains
    sum_i p_i w(r_i) in expectation, with w(r) = 1 for Recall and 1 / r for MRR where r <= k, and 0
    beyond. w never grows with r, so by the rearrangement inequality the sum is largest where the
    largest p has rank 1, the next rank 2 and so on; items of equal p may change places without
    changing it. It is so for each target, so also for the mean over targets.

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


def make_sample(seed=SEED, num_sessions=NUM_SESSIONS, num_days=NUM_DAYS):
    """Draw the bundled sample.

    Args:
      seed: int in [0, 2^32 - 2). num_sessions: int >= 2, train and test together.
      num_days: int >= 2, days over which sessions start, evenly; the last is the test.
    Returns: Sample.
    Raises: InputError if the seed is out of range, or one of the two parts stays without a session.
    """
    if not 0 <= seed < 2 ** 32 - 2:
        raise InputError("--seed %d must lie in 0..2^32 - 3" % seed)
    process = make_process(seed)
    items, offsets = draw_sessions(process, num_sessions, seed + 1)
    rng = np.random.RandomState(seed + 2)
    item_ids = 214000000 + np.cumsum(_between(rng, 1, 9999, len(process.pop)))
    session_ids = np.cumsum(_between(rng, 1, 5, num_sessions))
    day = np.arange(num_sessions) * num_days // num_sessions
    # before 22:00: none runs past midnight
    start_seconds = 86400 * day + _between(rng, 0, 79200, num_sessions)
    frame = _frame(item_ids[items], offsets, session_ids, np.sort(start_seconds),
                   _between(rng, 5, 180, len(items)))
    first_test = int(np.searchsorted(day, num_days - 1))
    if not 0 < first_test < num_sessions:
        raise InputError("%d sessions on %d days leave the train or the test part empty"
                         % (num_sessions, num_days))
    cut = offsets[first_test]
    oracle, memoryless = ceilings(process, items[cut:], offsets[first_test:] - cut)
    return Sample(frame[:cut], frame[cut:].reset_index(drop=True), oracle, memoryless)


def _between(rng, low, high, size):
    """[size] int64 uniform in low..high."""
    return low + np.floor(rng.random_sample(size) * (high - low + 1)).astype(np.int64)


def _frame(event_ids, offsets, session_ids, start_seconds, gap_seconds):
    """Events of sessions as a table; an event follows its predecessor after its gap."""
    lengths = np.diff(offsets)
    since = np.cumsum(gap_seconds)
    seconds = np.repeat(start_seconds - since[offsets[:-1]], lengths) + since
    return pd.DataFrame({"SessionId": np.repeat(session_ids, lengths), "ItemId": event_ids,
                         "Time": FIRST_DAY + seconds}).astype(np.int64)


def markov_sessions(num_sessions, num_items, seed, noise=0.0, length=6):
    """Predictable sessions: after item i comes i + 1 (the first after the last), or with `noise`
    any item.

    Args:
      num_sessions, num_items: ints >= 1. seed: int in [0, 2^32).
      noise: in [0, 1]. length: events in each session.
    Returns: DataFrame SessionId, ItemId (1..num_items), Time: int64, as the loader reads it.
    Example: 1 session of 3 items, length 4 may be 2, 3, 1, 2.
    """
    rng = np.random.RandomState(seed)
    columns = [_between(rng, 0, num_items - 1, num_sessions)]
    for _ in range(length - 1):
        anything = _between(rng, 0, num_items - 1, num_sessions)
        stray = rng.random_sample(num_sessions) < noise
        columns.append(np.where(stray, anything, (columns[-1] + 1) % num_items))
    sessions = np.arange(num_sessions)
    return _frame(1 + np.stack(columns, axis=1).ravel(), length * np.arange(num_sessions + 1),
                  1 + sessions,
                  600 * sessions, np.full(num_sessions * length, 30))


def write_events(frame, path):
    """Write SessionId, ItemId, Time as gzipped tab-separated text; equal tables give equal bytes.
    """
    lines = ["\t".join(frame.columns)]
    lines += ["%s\t%s\t%s" % row for row in zip(*(frame[name].tolist() for name in frame.columns))]
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as out:
        out.write(("\n".join(lines) + "\n").encode("ascii"))


def describe(sample):
    """The lines the command prints: counts of both parts, then the ceilings of both metrics."""
    lines = []
    for name, part in (("train", sample.train), ("test", sample.test)):
        lines.append("%s: %d events, %d sessions, %d items"
                     % (name, len(part), part.SessionId.nunique(), part.ItemId.nunique()))
    for name, ceiling in (("any model", sample.oracle), ("last item only", sample.memoryless)):
        for metric, expected, realised in (("Recall", ceiling.expected, ceiling.realised),
                                           ("MRR", ceiling.mrr_expected, ceiling.mrr_realised)):
            lines.append("best %s@20, %s: %.4f expected, %.4f realised"
                         % (metric, name, expected, realised))
    return lines


def main(argv=None):
    """Write the two sample files and print what can be reached on them; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m gru4rec.data.synthetic",
                                     description=main.__doc__)
    parser.add_argument("--out", default="data",
                        help="directory of sample_train.tsv.gz and sample_test.tsv.gz")
    parser.add_argument("--seed", type=int, default=SEED,
                        help="seed of the process and its sessions [%(default)s]")
    parser.add_argument("--sessions", type=int, default=NUM_SESSIONS,
                        help="sessions in all [%(default)s]")
    args = parser.parse_args(argv)
    try:
        sample = make_sample(args.seed, args.sessions)
        os.makedirs(args.out, exist_ok=True)
        write_events(sample.train, os.path.join(args.out, "sample_train.tsv.gz"))
        write_events(sample.test, os.path.join(args.out, "sample_test.tsv.gz"))
    except (Gru4RecError, OSError) as error:
        print("error: %s" % error, file=sys.stderr)
        return getattr(error, "exit_status", 2)
    print("\n".join(describe(sample)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

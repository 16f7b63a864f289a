"""Sequential rules and first-order Markov chains: what follows an item, and how soon.

The weight of a rule a -> b is the sum of 1/distance over all places of the training sessions where
b comes at most `window` events after a. The score of b is the weight of the rule from the session's
last item to b; without a rule it is 0. With window 1 the weights are counts of direct successors:
the first-order Markov chain.

Source: Ludewig and Jannach 2018, "Evaluation of session-based recommendation algorithms" (arXiv
1803.09587), sequential rules and Markov chain. Choices made here: rules from an item to itself
count like others; weights are whole numbers of 1/lcm(1..window), so that equal weights are equal
and no rounding decides a tie.
"""

import zlib
from typing import NamedTuple

import numpy as np

from gru4rec.data.targets import contexts
from gru4rec.errors import CheckpointError
from gru4rec.evaluation.baselines.counting import (
    Counts,
    batches,
    lookup,
    ordinals,
    places_in_rows,
    sums,
)
from gru4rec.files import durable, npz

FILE = "rules.npz"  # in --checkpoint_dir
WINDOW = 10


class Rules(NamedTuple):
    """All rules of a training file, by (antecedent, consequent)."""

    keys: np.ndarray     # [R] int64, antecedent * num_items + consequent, ascending
    weights: np.ndarray  # [R] int64 > 0, in units of 1/lcm(1..window)
    num_items: int

    def counts(self, sessions):
        """counting.Counts of every target of data.sessions.EvalSessions.

        Without an item before the target all items tie.
        """
        seen = contexts(sessions)
        # num_items stands for "no item before"; it has no rules.
        antecedent = np.where(seen.last < 0, self.num_items, seen.last).astype(np.int64)
        at, listed = lookup(self.keys, antecedent * self.num_items + seen.target)
        weights = np.append(ordinals(self.weights, self.num_items + 1), 0)
        own = np.where(listed, weights[at], 0)
        greater, greater_equal = places_in_rows(self.keys // self.num_items, weights[:-1],
                                                antecedent, own)
        return Counts(greater, np.where(listed, greater_equal, self.num_items))


def build(sessions, num_items, window=WINDOW):
    """Rules of data.sessions.Sessions; `window` is the longest distance.

    Memory: about 30 bytes an event, and for a moment twice the result.
    """
    unit = int(np.lcm.reduce(np.arange(1, window + 1)))
    weight_of = np.append(0, unit // np.arange(1, window + 1)).astype(np.int64)
    items, offsets = sessions.items, sessions.offsets
    # Of each event, the number of events after it in its session.
    after = np.repeat(offsets[1:], np.diff(offsets)) - 1 - np.arange(len(items))
    after = np.minimum(after, window).astype(np.int8)
    by_item = np.argsort(items)  # the order within an item does not matter
    support = np.bincount(items, minlength=num_items)
    starts = np.append(0, np.cumsum(support))
    parts = []
    # Each part has all rules of some antecedents, so no rule is in two parts.
    for first, stop in batches(support):
        pairs = _pairs(items, by_item[starts[first]:starts[stop]], after, num_items, window)
        pairs.sort()  # the distance is the lowest digit of a value, so no indices are needed
        parts.append(sums(pairs // (window + 1), weight_of[pairs % (window + 1)]))
    keys, weights = (np.concatenate(part) for part in zip(*parts))
    return Rules(keys, weights, num_items)


def _pairs(items, events, after, num_items, window):
    """All pairs that begin at `events`, int64, each as one number.

    The number is (antecedent * num_items + consequent) * (window + 1) + distance.
    """
    parts = [np.zeros(0, np.int64)]
    for distance in range(1, window + 1):
        events = events[after[events] >= distance]
        pair = items[events].astype(np.int64) * num_items + items[events + distance]
        parts.append(pair * (window + 1) + distance)
    return np.concatenate(parts)


def _stamp(vocabulary):
    """CRC-32 of the arrays of a vocabulary, which tells vocabularies apart."""
    value = 0
    for name, array in sorted(vocabulary.to_arrays().items()):
        value = zlib.crc32(np.ascontiguousarray(array).tobytes(),
                           zlib.crc32(name.encode("ascii"), value))
    return value


def save(path, rules, vocabulary):
    """Write rules beside the weights of a model with this vocabulary.

    Raises: CheckpointError if the file cannot be written.
    """
    starts = np.searchsorted(rules.keys, np.arange(rules.num_items + 1) * rules.num_items)
    kind = np.int32 if rules.weights.max(initial=0) < 2 ** 31 else np.int64
    try:
        with durable.replacing(path) as temporary, open(temporary, "wb") as out:
            # Not compressed: that would take longer than finding the rules.
            np.savez(out, lengths=np.diff(starts).astype(np.int32),
                     items=(rules.keys % rules.num_items).astype(np.int32),
                     weights=rules.weights.astype(kind), vocabulary=np.int64(_stamp(vocabulary)))
    except OSError as error:
        raise CheckpointError("%s cannot be written: %s; free space, give another "
                              "--checkpoint_dir, or leave the rules out with --compare_rules 0"
                              % (path, error.strerror or error)) from error


def load(path, vocabulary):
    """Inverse of `save`.

    Raises: CheckpointError if the file is missing, damaged or belongs to another vocabulary.
    """
    try:
        stored = npz.read(path)
        lengths, items, weights, stamp = (
            stored[name] for name in ("lengths", "items", "weights", "vocabulary"))
        if any(array.dtype.kind not in "iu" for array in (lengths, items, weights, stamp)):
            raise TypeError("its arrays are no whole numbers")
        keys = np.repeat(np.arange(len(lengths)), lengths) * len(lengths) + items
        if len(items) != len(weights) or (np.diff(keys) <= 0).any() or weights.min(initial=1) < 1:
            raise ValueError("its arrays do not fit together")
        stamp = int(stamp)
    except FileNotFoundError:
        raise CheckpointError("%s: no such file (trained with --compare_rules 0?)" % path) from None
    except npz.ERRORS as error:
        raise CheckpointError("%s: damaged, or not written by this program (%s); train again, or "
                              "give --compare_rules 0" % (path, type(error).__name__)) from None
    if len(lengths) != len(vocabulary) or stamp != _stamp(vocabulary):
        raise CheckpointError("%s: made from another training file than the model" % path)
    return Rules(keys.astype(np.int64), weights.astype(np.int64), len(lengths))

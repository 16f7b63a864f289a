"""Sequential rules and first-order Markov chains: what follows an item, and how soon.

A rule a -> b weighs the sum of 1/distance over all places of the training sessions where b comes at most `window` events
after a. The score of b is the weight of the rule from the session's last item; without a rule it is 0. With window 1
the weights are counts of direct successors: the first-order Markov chain.

Source: Ludewig and Jannach 2018, "Evaluation of session-based recommendation algorithms" (arXiv 1803.09587), sequential
rules and Markov chain. Choices made here: rules of an item to itself count like others; weights are whole numbers of
1/lcm(1..window), so that equal weights are equal and no rounding decides a tie.
"""

import zipfile
import zlib
from typing import NamedTuple

import numpy as np

from gru4rec.baselines.counting import Counts, contexts, lookup, places_in_rows, sums
from gru4rec.errors import CheckpointError

FILE = "rules.npz"  # in --checkpoint_dir
WINDOW = 10
_BLOCK = 1 << 21  # events whose pairs are counted at once; bounds the memory


class Rules(NamedTuple):
    """All rules of a training file, by (antecedent, consequent)."""

    keys: np.ndarray     # [R] int64, antecedent * num_items + consequent, ascending
    weights: np.ndarray  # [R] int64 > 0, in units of 1/lcm(1..window)
    num_items: int

    def counts(self, sessions):
        """counting.Counts of every target of data.sessions.EvalSessions; a target without context ties with all."""
        greater, greater_equal = places_in_rows(self.keys // self.num_items, self.weights)
        found = contexts(sessions)
        antecedent = np.maximum(found.last, 0).astype(np.int64)
        at, hit = lookup(self.keys, antecedent * self.num_items + found.target)
        hit &= found.last >= 0
        bounds = np.searchsorted(self.keys, np.stack([antecedent, antecedent + 1]) * self.num_items)
        listed = np.where(found.last >= 0, bounds[1] - bounds[0], 0)
        padded = np.append(greater, 0), np.append(greater_equal, 0)
        return Counts(np.where(hit, padded[0][at], listed), np.where(hit, padded[1][at], self.num_items))


def build(sessions, num_items, window=WINDOW):
    """Rules of data.sessions.Sessions; half a million events take about a tenth of a second."""
    unit = int(np.lcm.reduce(np.arange(1, window + 1)))
    weight_of = np.append(0, unit // np.arange(1, window + 1)).astype(np.int64)
    parts, first, offsets = [], 0, sessions.offsets
    while first < len(offsets) - 1:
        stop = max(first + 1, int(np.searchsorted(offsets, offsets[first] + _BLOCK, "right")) - 1)
        pairs = _pairs(sessions.items[offsets[first]:offsets[stop]], offsets[first:stop + 1], num_items, window)
        pairs.sort()  # values, not indices: the distance rides along in the lowest digit
        parts.append(sums(pairs // (window + 1), weight_of[pairs % (window + 1)]))
        first = stop
    keys, weights = (np.concatenate(part) for part in zip(*parts))
    if len(parts) > 1:
        order = np.argsort(keys, kind="stable")
        keys, weights = sums(keys[order], weights[order])
    return Rules(keys, weights, num_items)


def _pairs(items, offsets, num_items, window):
    """(antecedent * num_items + consequent) * (window + 1) + distance, int64, of all pairs within a session."""
    session = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    items = items.astype(np.int64)
    found = []
    for distance in range(1, window + 1):
        same = session[distance:] == session[:-distance]
        if not same.any():
            break
        pair = items[:-distance][same] * num_items + items[distance:][same]
        found.append(pair * (window + 1) + distance)
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def _stamp(vocabulary):
    """Tells vocabularies apart: CRC-32 of their arrays."""
    value = 0
    for name, array in sorted(vocabulary.to_arrays().items()):
        value = zlib.crc32(np.ascontiguousarray(array).tobytes(), zlib.crc32(name.encode("ascii"), value))
    return value


def save(path, rules, vocabulary):
    """Write rules beside the weights of a model with this vocabulary.

    Raises: CheckpointError if the disk refuses.
    """
    antecedent, consequent = np.divmod(rules.keys, rules.num_items)
    kind = np.int32 if rules.weights.max(initial=0) < 2 ** 31 else np.int64
    try:
        with open(path, "wb") as out:
            np.savez_compressed(out, lengths=np.bincount(antecedent, minlength=rules.num_items).astype(np.int32),
                                items=consequent.astype(np.int32), weights=rules.weights.astype(kind),
                                vocabulary=np.int64(_stamp(vocabulary)))
    except OSError as error:
        raise CheckpointError("%s cannot be written: %s; free space, give another --checkpoint_dir, or leave the rules "
                              "out with --compare_rules 0" % (path, error.strerror or error)) from error


def load(path, vocabulary):
    """Inverse of `save`.

    Raises: CheckpointError if the file is missing, damaged or belongs to another vocabulary.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            lengths, items, weights, stamp = (stored[name] for name in ("lengths", "items", "weights", "vocabulary"))
        keys = np.repeat(np.arange(len(lengths)), lengths) * len(lengths) + items
        if len(items) != len(weights) or (np.diff(keys) <= 0).any() or weights.min(initial=1) < 1:
            raise ValueError("its arrays do not fit together")
        stamp = int(stamp)
    except FileNotFoundError:
        raise CheckpointError("%s: no such file" % path) from None
    # The zip and .npy readers raise any of these on damaged bytes.
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, IndexError, MemoryError, OverflowError,
            RuntimeError, SyntaxError, zipfile.BadZipFile, zlib.error) as error:
        raise CheckpointError("%s: not readable (%s)" % (path, " ".join(str(error).split())[:120])) from None
    if len(lengths) != len(vocabulary) or stamp != _stamp(vocabulary):
        raise CheckpointError("%s: made from another training file than the model" % path)
    return Rules(keys.astype(np.int64), weights.astype(np.int64), len(lengths))

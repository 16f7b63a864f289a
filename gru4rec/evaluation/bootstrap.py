"""How certain the difference of two models is: the paired bootstrap over sessions."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from gru4rec.errors import InputError
from gru4rec.evaluation.ranks_file import KEYS


class Difference(NamedTuple):
    """One metric of two models on the same targets."""

    name: str  # Recall@20
    first: float
    second: float
    low: float  # bounds of the 95 % interval of first - second
    high: float


def join(first, second, names=("A", "B")):
    """One row per target with both ranks, `rank_a` and `rank_b`, by session.

    Raises: InputError if the tables do not hold the same targets.
    """
    for name in KEYS[::2]:  # a .csv holds the text "7" where a .parquet holds the integer 7
        if first[name].dtype != second[name].dtype:
            first, second = (frame.assign(**{name: frame[name].astype(str)})
                             for frame in (first, second))
    both = first.merge(second, on=KEYS, how="outer", suffixes=("_a", "_b"), indicator="side")
    odd = both[both["side"] != "both"]
    if len(odd):
        row, counts = odd.iloc[0], odd["side"].value_counts()
        raise InputError("the files do not cover the same targets: %d are in %s only, %d in %s "
                         "only (first: session %s, position %s, target %s); evaluate both on one "
                         "test file with the same --unknown and --eval_target"
                         % (counts.get("left_only", 0), names[0], counts.get("right_only", 0),
                            names[1], row["session"], row["position"], row["target"]))
    return both.drop(columns="side")


def differences(both, cut_offs, samples, seed):
    """Difference of each metric, with its interval.

    Args:
      both: DataFrame of `join`. cut_offs: list lengths. samples: number of draws.
      seed: of the draws.
    Returns: list of Difference: Recall and MRR of the first cut-off, then of the next.
    """
    session, distinct = pd.factorize(both["session"])
    names, columns = [], []
    for cut_off in cut_offs:
        for name, gain in (("Recall", np.ones_like), ("MRR", np.reciprocal)):
            names.append("%s@%d" % (name, cut_off))
            for side in ("rank_a", "rank_b"):
                rank = both[side].to_numpy(np.float64)
                columns.append(np.bincount(session, np.where(rank <= cut_off, gain(rank), 0.0),
                                           len(distinct)))
    columns.append(np.bincount(session, minlength=len(distinct)).astype(np.float64))
    table = np.stack(columns, 1)  # [sessions, 2 * metrics + 1]: sums of gains, then targets
    sums = _draws(table, samples, seed)
    means = sums[:, :-1] / sums[:, -1:]
    low, high = np.percentile(means[:, 0::2] - means[:, 1::2], [2.5, 97.5], axis=0)
    totals = table.sum(0)
    values = totals[:-1] / totals[-1]
    return [Difference(name, float(values[2 * i]), float(values[2 * i + 1]), float(low[i]),
                       float(high[i]))
            for i, name in enumerate(names)]


def _draws(table, samples, seed):
    """Column sums of `samples` draws of len(table) rows with replacement: [samples, columns]."""
    random, size = np.random.RandomState(seed), len(table)
    out = np.empty((samples, table.shape[1]))
    for number in range(samples):
        out[number] = np.bincount(random.randint(0, size, size), minlength=size).dot(table)
    return out

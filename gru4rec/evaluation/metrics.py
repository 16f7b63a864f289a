"""Ranks of targets under three tie rules, and the metrics of ranks and of recommended lists."""

import numpy as np

from gru4rec.errors import DivergenceError, InputError

OF_LISTS = ("coverage", "popularity")  # metrics of recommended lists; the others need ranks only
TIES = ("conservative", "median", "standard")


def ranks_from_counts(greater, greater_equal, tie="conservative"):
    """Rank of each target from how many items score above it; 1 is best.

    Args:
      greater: [N] int, items with a score greater than the target's, >= 0.
      greater_equal: [N] int, items with a score at least the target's, the target itself included.
      tie: place among equal scores: "conservative" (last: greater_equal), "standard" (first:
        1 + greater) or "median" (middle: (1 + greater + greater_equal) / 2).
    Returns: [N] float64 ranks >= 1; halves occur only for "median".
    Raises: InputError for an unknown tie or the first negative count; DivergenceError naming the
      first target that is not among its own greater_equal items: its score is not a number.
    Example: scores 3, 3, 1, target one with 3: greater 0, greater_equal 2 -> conservative 2,
      median 1.5, standard 1.
    """
    _check_tie(tie)
    greater, greater_equal = np.asarray(greater), np.asarray(greater_equal)
    if greater.shape != greater_equal.shape or greater.ndim != 1:
        raise InputError("counts of shape %s and %s; give two of shape [N]"
                         % (greater.shape, greater_equal.shape))
    row = _first(greater < 0)
    if row is not None:
        raise InputError("greater[%d] = %s is not a count" % (row, greater[row]))
    row = _first(~(greater_equal > greater))
    if row is not None:
        raise DivergenceError("the score of target %d is not a number: %s items score higher, %s "
                              "at least as high" % (row, greater[row], greater_equal[row]))
    if tie == "conservative":
        return greater_equal.astype(np.float64)
    if tie == "standard":
        return 1.0 + greater
    return (1.0 + greater + greater_equal) / 2


def recall_mrr(ranks, cut_offs, num_misses=0):
    """Recall@c and MRR@c for several list lengths at once.

    Recall@c is the share of the targets with rank <= c. MRR@c is the mean of 1/rank, taken as 0
    where rank > c. Misses (targets that the model cannot rank, such as unknown items) count in the
    denominator of both.

    Args:
      ranks: [N] float, >= 1.
      cut_offs: ints >= 1.
      num_misses: int >= 0.
    Returns: list of (cut_off, recall, mrr), one for each cut-off, in their order; Python numbers.
    Raises: InputError naming the first rank below 1 or unusable cut-off, or if there is no target;
      DivergenceError naming the first rank that is not finite.
    Source: Hidasi et al. 2016, "Session-based recommendations with recurrent neural networks",
      section 4. Differs: rank c itself counts (the first TensorFlow port asked for rank < c).
    Example: ranks 1, 4, one miss, cut-offs 3, 5 -> (3, 1/3, 1/3), (5, 2/3, 5/12).
    """
    ranks = np.asarray(ranks, dtype=np.float64)
    row = _first(~np.isfinite(ranks))
    if row is not None:
        raise DivergenceError("rank %d is %s" % (row, ranks[row]))
    row = _first(ranks < 1)
    if row is not None:
        raise InputError("rank %d is %s; ranks start at 1" % (row, ranks[row]))
    for cut_off in cut_offs:
        if cut_off < 1 or cut_off != int(cut_off):
            raise InputError("cut-off %s is no list length; give whole numbers from 1" % cut_off)
    if num_misses < 0:
        raise InputError("num_misses %s is negative" % num_misses)
    num_targets = len(ranks) + num_misses
    if num_targets == 0:
        raise InputError("there is no target to measure")
    rows = []
    for cut_off in cut_offs:
        hit = ranks <= cut_off
        rows.append((int(cut_off), float(hit.sum()) / num_targets,
                     float((1 / ranks[hit]).sum()) / num_targets))
    return rows


def ndcg(ranks, cut_offs, num_misses=0):
    """NDCG@c with the target as the one relevant item.

    It is the mean of 1/log2(1 + rank), taken as 0 where rank > c.

    Args:
      ranks, cut_offs, num_misses: as `recall_mrr`, which checks them.
    Returns: list of float, one for each cut-off.
    Source: Jarvelin and Kekalainen 2002, "Cumulated gain-based evaluation of IR techniques"; the
      ideal gain is 1.
    Example: ranks 1, 3, one miss, cut-offs 1, 3 -> 1/3, (1 + 1/2)/3.
    """
    ranks = np.asarray(ranks, dtype=np.float64)
    gains = 1 / np.log2(1 + ranks)
    return [float(gains[ranks <= cut_off].sum()) / (len(ranks) + num_misses)
            for cut_off in cut_offs]


def of_ranks(ranks, cut_offs, num_misses=0):
    """Metrics of ranks by name; arguments as `recall_mrr`.

    Returns: list of (cut_off, {"recall": float, "mrr": float, "ndcg": float}), one for each
      cut-off.
    """
    rows = zip(recall_mrr(ranks, cut_offs, num_misses), ndcg(ranks, cut_offs, num_misses))
    return [(cut, dict(recall=recall, mrr=mrr, ndcg=gain)) for (cut, recall, mrr), gain in rows]


def of_lists(recommended, support):
    """Metrics of recommended lists by name.

    Args:
      recommended: [C, I] int: for each of C lengths, how many lists hold each item.
      support: [I] int, events of each item in training, one of them > 0.
    Returns: list of dict, one for each length: "coverage", share of the catalogue that is in any
      list; "popularity", mean support of the recommended items as a fraction of the largest
      support, None without a list.
    Example: lists [a b], [a c], support 4, 2, 1, 1 -> coverage 3/4,
      popularity (1 + 1/2 + 1 + 1/4) / 4.
    """
    recommended, share = np.asarray(recommended), np.asarray(support) / float(np.max(support))
    return [{"coverage": float((times > 0).mean()),
             "popularity": float(times.dot(share) / times.sum()) if times.any() else None}
            for times in recommended]


def _check_tie(tie):
    if tie not in TIES:
        raise InputError("tie %r is unknown; use one of: %s" % (tie, ", ".join(TIES)))


def _first(mask):
    """Index of the first True of a [N] mask, None if there is none."""
    return int(np.argmax(mask)) if mask.any() else None

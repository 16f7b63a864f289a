"""How equal two results must be. Imports without TensorFlow.

Bit for bit are two runs of one program on one machine: a run and its continuation, the ranks of a
training, a run that was killed. Two programs for the same numbers (another engine, another number
of rows in a product, a graph that was
exported) are equal but for rounding, which each processor and each version of a library does in
its own way."""

import re

import numpy as np


def assert_same_bits(ours, theirs):
    """Two states of a run, name by name; a NaN equals itself."""
    assert sorted(ours) == sorted(theirs)
    for name in ours:
        assert ours[name].dtype == theirs[name].dtype, name
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def assert_ulps(ours, theirs, ulps, err_msg=""):
    """What two programs make of the same computation: equal but for rounding.

    Two graphs of the same formulas (with XLA or without, other chunks, other batch sizes, a scale
    in between) may be compiled to other instructions, to fused multiply-adds and to other orders of
    summing, on each processor in its own
    way. So their bits may differ, though each of them always gives the same bits on one machine.

    The unit is the place of the last bit of the largest magnitude in the two tensors: what an
    element near zero is off by comes from the numbers that cancelled in it, and those are of the
    size of the tensor, not of the element.

    Args:
      ours, theirs: arrays of one shape and dtype. Whole numbers and truth values must be equal, and
      so must the places
        of what is not finite. ulps: how many units an element may be off.
    """
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.dtype == theirs.dtype and ours.shape == theirs.shape, (
        ours.dtype,
        theirs.dtype,
        err_msg,
    )
    finite = np.isfinite(ours)
    np.testing.assert_array_equal(
        np.where(finite, 0, ours), np.where(np.isfinite(theirs), 0, theirs), err_msg=err_msg
    )
    if not np.issubdtype(ours.dtype, np.floating):
        np.testing.assert_array_equal(ours, theirs, err_msg=err_msg)
    elif finite.any():
        unit = np.spacing(max(np.abs(ours[finite]).max(), np.abs(theirs[finite]).max()))
        off = np.abs(ours[finite].astype(np.float64) - theirs[finite]).max() / float(unit)
        assert off <= ulps, "%s is off by %.1f units in the last place, %g are allowed" % (
            err_msg,
            off,
            ulps,
        )


def assert_ulps_of_all(ours, theirs, ulps):
    """`assert_ulps` of two states of a run, name by name."""
    assert sorted(ours) == sorted(theirs)
    for name in ours:
        assert_ulps(ours[name], theirs[name], ulps, name)


def assert_same_evaluation(ours, theirs, targets=2):
    """Two evaluations, as they are printed, by different programs.

    Scores that differ in the last place may change the rank of a target whose rival is as near as
    that, which moves a mean by no more than 1 / events. So many `targets` may do that; all else is
    equal.
    """
    number = r"\d\.\d{4}"
    assert re.sub(number, "#", ours) == re.sub(number, "#", theirs)
    all_events = int(re.match(r"events: (\d+) ", ours).group(1))
    for mine, other in zip(ours.splitlines(), theirs.splitlines()):
        part = re.match(
            r"\w+\t[^\t]+\t(\d+)\t", mine
        )  # a line of --split says how many events it is of
        events = int(part.group(1)) if part else all_events
        numbers = [[float(found) for found in re.findall(number, line)] for line in (mine, other)]
        np.testing.assert_allclose(
            *numbers, rtol=0, atol=float(targets) / max(events, 1) + 1e-4, err_msg=mine
        )


def assert_same_ranks(ours, theirs, targets=2):
    """Two tables of --ranks_out by different programs, as `assert_same_evaluation`:
    pandas.DataFrame.
    """
    others = [name for name in theirs.columns if name != "rank"]
    assert list(ours.columns) == list(theirs.columns) and ours[others].equals(theirs[others])
    with np.errstate(invalid="ignore"):  # the rank of a miss is infinite
        moved = np.abs(np.where(ours["rank"] == theirs["rank"], 0, ours["rank"] - theirs["rank"]))
    assert (moved > 0).sum() <= targets and (moved <= 1).all()

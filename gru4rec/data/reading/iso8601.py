"""ISO-8601 text to seconds, whole columns at once; it does not depend on the pandas version."""

import re

import numpy as np

# one character more than the longest text that is accepted, so that a longer one cannot fit
WIDTH = 36
_SHAPE = re.compile(r"0000-00-00(?:[T ](?P<clock>00:00)"
                    r"(?P<second>:00(?:[.,](?P<fraction>0{1,9}))?)?"
                    r"(?P<zone>Z|[+-]00(?::?00)?)?)?\Z")


def characters(texts):
    """object [E] of str to uint8 [E, WIDTH], as `seconds` reads it.

    Texts are cut at WIDTH and filled up with 0; a character beyond Latin-1 becomes 255.
    """
    fixed = np.ascontiguousarray(texts.astype("U%d" % WIDTH))
    return np.minimum(fixed.view(np.uint32).reshape(len(texts), WIDTH), 255).astype(np.uint8)


def seconds(chars):
    """Seconds since 1970-01-01T00:00Z of ISO-8601 texts; a text without a zone counts as UTC.

    Args:
      chars: uint8 [E, WIDTH], one text a row, filled up with 0.
    Returns: (seconds float64 [E], row of the first text that is no ISO-8601 time, or None). If
      there is such a row, other values may be missing too.
    Example: "1970-01-02", "1970-01-01T01:00:00.5+01:00" -> 86400.0, 0.5
    """
    out = np.full(len(chars), np.nan)
    left = np.arange(len(chars))
    while len(left):
        # The shape of a text has 0 for every digit. Texts of one shape have their fields at the
        # same places, and a file has few shapes.
        rows = chars if len(left) == len(chars) else chars[left]
        digit = (rows >= 48) & (rows <= 57)
        shape = np.where(digit[0], 48, rows[0])
        match = _SHAPE.match(bytes(shape).rstrip(b"\0").decode("latin-1"))
        if not match:
            break
        same = (np.where(digit, np.uint8(48), rows) == shape).all(axis=1)
        out[left[same]] = _of_one_shape(rows[same], match)
        left = left[~same]
    bad = np.flatnonzero(np.isnan(out))
    return out, (int(bad[0]) if len(bad) else None)


def _of_one_shape(rows, match):
    """Seconds float64 [N] of rows uint8 [N, WIDTH] of one shape; NaN for an impossible time."""
    def number(start, stop):
        value = np.zeros(len(rows), np.int64)
        for place in range(start, stop):
            value = value * 10 + (rows[:, place].astype(np.int64) - 48)
        return value

    year, month, day = number(0, 4), number(5, 7), number(8, 10)
    month_start = (year - 1970).astype("M8[Y]").astype("M8[M]") + (month - 1).astype("m8[M]")
    date = month_start.astype("M8[D]") + (day - 1).astype("m8[D]")
    good = (month >= 1) & (month <= 12) & (day >= 1) & (date.astype("M8[M]") == month_start)
    whole, fraction = date.astype(np.int64) * 86400, np.zeros(len(rows))
    if match.group("clock"):
        hour, minute = number(11, 13), number(14, 16)
        second = number(17, 19) if match.group("second") else np.zeros_like(hour)
        good &= (hour <= 23) & (minute <= 59) & (second <= 60)  # 60 is a leap second
        whole = whole + hour * 3600 + minute * 60 + second
    if match.group("fraction"):
        start, stop = match.span("fraction")
        fraction = number(start, stop) / 10.0 ** (stop - start)
    if match.group("zone") and match.group("zone") != "Z":
        start, stop = match.span("zone")
        hour = number(start + 1, start + 3)
        minute = number(stop - 2, stop) if stop - start > 3 else np.zeros_like(hour)
        good &= (hour <= 23) & (minute <= 59)
        whole = whole - np.where(rows[:, start] == ord("-"), -1, 1) * (hour * 3600 + minute * 60)
    return np.where(good, whole + fraction, np.nan)

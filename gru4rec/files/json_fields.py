"""Tests for values read from JSON: each says whether a value is of a kind."""

import math


def whole(value):
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2 ** 63


def number(value):
    return isinstance(value,
                      (int, float)) and not isinstance(value,
                                                       bool) and abs(value) < 1e300 and math.isfinite(value)


def or_none(holds):
    return lambda value: value is None or holds(value)


def object_of(maybe=(), **keys):
    """Test for a JSON object with exactly these keys, of which those in `maybe` may be absent."""
    return lambda value: (isinstance(value, dict)
                          and set(keys) - set(maybe) <= set(value) <= set(keys)
                          and all(keys[key](found) for key, found in value.items()))


def positive(value):
    return whole(value) and value > 0


def text(value):
    return isinstance(value, str)

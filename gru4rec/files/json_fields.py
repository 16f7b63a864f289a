"""Predicates for values read from JSON: each says whether a value is of one kind."""


def whole(value):
    """A whole number from 0 that fits in int64."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2 ** 63


def positive(value):
    """A whole number of at least 1."""
    return whole(value) and value > 0


def number(value):
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) < 1e300  # false for infinity and NaN


def text(value):
    """A string."""
    return isinstance(value, str)


def or_none(holds):
    """Predicate for None, or what `holds` is true for."""
    return lambda value: value is None or holds(value)


def object_of(maybe=(), **keys):
    """Predicate for a JSON object with exactly these keys; those in `maybe` may be absent.

    keys: name -> predicate of its value.
    """
    return lambda value: (isinstance(value, dict)
                          and set(keys) - set(maybe) <= set(value) <= set(keys)
                          and all(keys[key](part) for key, part in value.items()))

"""Kinds of values that a flag may have.

A kind is a function: text of the command line, or a value read from JSON -> the value. It raises
ValueError for what is not of its kind; its attribute `words` says in the error message what is.
"""

import re


def worded(words):
    """Decorator that makes a function a kind of value; `words` describe a good value."""
    def mark(function):
        function.words = words
        return function
    return mark


@worded("text of at least one character")
def text(value):
    """A str as it is; an empty one (an unset shell variable) and anything else is a ValueError."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("not text")
    return value


@worded("a whole number")
def whole(value):
    """"7" or 7 -> 7; a fraction or a truth value is a ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError("not a whole number")
    return int(value)


@worded("a number")
def real(value):
    """"0.5", 0.5 or 1 -> float."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("not a number")
    return float(value)


@worded("True or False")
def truth(value):
    """True, False, 1 or 0, as text in upper or lower case too -> bool."""
    known = {"true": True, "1": True, "false": False, "0": False}
    if not isinstance(value, (bool, int, str)) or str(value).lower() not in known:
        raise ValueError("not a truth value")
    return known[str(value).lower()]


def _list_of(kind, value):
    if isinstance(value, str):
        value = value.split(",")
    elif isinstance(value, (int, float)):
        value = [value]
    if not isinstance(value, (list, tuple)) or not value:
        raise ValueError("not a list")
    return tuple(kind(part) for part in value)


@worded("whole numbers such as 100 or 100,50")
def int_list(value):
    """"100,50" or [100, 50] -> (100, 50), 100 -> (100,); at least one number."""
    return _list_of(whole, value)


@worded("numbers such as 0.5 or 0.5,0.2")
def real_list(value):
    """"0.5,0.2" or [0.5, 0.2] or 0.5 -> a tuple of float; at least one."""
    return _list_of(real, value)


@worded("a list of different names such as recall,mrr")
def name_list(value):
    """"recall,mrr" or ["recall", "mrr"] -> ("recall", "mrr"); at least one name, none twice."""
    names = _list_of(text, value)
    if len(set(names)) < len(names):
        raise ValueError("a name twice")
    return names


@worded("item ids such as 214536502,214536500")
def id_list(value):
    """"7,12" -> ("7", "12"); ids may repeat, none may be empty."""
    return _list_of(text, text(value))


@worded("text of at least one character")
def text_list(value):
    """["a=1", "b=2"] or "a=1" -> a tuple of text; nothing is split, as values may hold commas."""
    return tuple(text(part) for part in (value if isinstance(value, (list, tuple)) else [value]))


def _file_name(*endings):
    """Kind of a file name that ends in one of `endings`, in upper or lower case."""
    @worded("a file name ending in %s or %s" % (", ".join(endings[:-1]), endings[-1]))
    def kind(value):
        if not text(value).lower().endswith(endings):
            raise ValueError("another ending")
        return value
    return kind


lists_path = _file_name(".parquet", ".csv", ".jsonl")
ranks_path = _file_name(".parquet", ".csv")
page_path = _file_name(".html", ".htm")


@worded("none, linear, sqrt or a number above 0")
def lr_scale(value):
    """"none", "linear", "sqrt" or a number above 0 (a run saves it as one) -> text."""
    if value in ("none", "linear", "sqrt"):
        return value
    if not 0.0 < real(value) < 1e9:
        raise ValueError("not a factor")
    return str(value)


@worded("a number of steps such as 500 or of seconds such as 90s")
def save_interval(value):
    """"500" (steps) or "90s" (seconds) as it is; 0 and anything else is a ValueError."""
    if not re.match(r"[1-9][0-9]{0,8}s?\Z", str(value), re.ASCII):
        raise ValueError("not an interval")
    return str(value)

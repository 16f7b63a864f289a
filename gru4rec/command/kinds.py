"""Kinds of values a flag may have: each turns text, or a value read from JSON, into the value or
raises ValueError.
"""

import re


def text(value):
    """A str as it is; an empty one (an unset shell variable) and anything else is a ValueError."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("not text")
    return value


def whole(value):
    """"7" or 7 -> 7; a fraction or a truth value is a ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError("not a whole number")
    return int(value)


def real(value):
    """"0.5", 0.5 or 1 -> float."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("not a number")
    return float(value)


def _list_of(kind, value):
    parts = value.split(",") if isinstance(value,
                                           str) else [value] if isinstance(value,
                                                                           (int, float)) else value
    if not isinstance(parts, (list, tuple)) or not parts:
        raise ValueError("not a list")
    return tuple(kind(part) for part in parts)


def int_list(value):
    """"100,50" or [100, 50] -> (100, 50), 100 -> (100,), at least one number."""
    return _list_of(whole, value)


def real_list(value):
    """"0.5,0.2" or [0.5, 0.2] or 0.5 -> a tuple of float, at least one."""
    return _list_of(real, value)


def name_list(value):
    """"recall,mrr" or ["recall", "mrr"] -> ("recall", "mrr"), at least one name, none twice."""
    parts = tuple(value.split(",") if isinstance(value, str) else value
                  if isinstance(value, (list, tuple)) else ())
    if not parts or not all(isinstance(part, str) and part
                            for part in parts) or len(set(parts)) < len(parts):
        raise ValueError("not a list of names")
    return parts


def lists_path(value):
    """The path of a file of recommended lists, told by its ending."""
    if not text(value).lower().endswith((".parquet", ".csv", ".jsonl")):
        raise ValueError("not a path of lists")
    return value


def page_path(value):
    """The path of a page."""
    if not text(value).lower().endswith((".html", ".htm")):
        raise ValueError("not a page's path")
    return value


def id_list(value):
    """"7,12" -> ("7", "12"); ids may repeat, none may be empty."""
    parts = tuple(text(value).split(","))
    if not all(parts):
        raise ValueError("an empty id")
    return parts


def lr_scale(value):
    """"none", "linear", "sqrt" or a number above 0 (as a run keeps it) -> text."""
    if value in ("none", "linear", "sqrt"):
        return value
    if not 0.0 < real(value) < 1e9:
        raise ValueError("not a factor")
    return str(value)


def truth(value):
    """True, False, 1, 0 in any case, text or not -> bool."""
    known = {"true": True, "1": True, "false": False, "0": False}
    if not isinstance(value, (bool, int, str)) or str(value).lower() not in known:
        raise ValueError("not a truth value")
    return known[str(value).lower()]


def text_list(value):
    """["a=1", "b=2"] or "a=1" -> a tuple of text; nothing is split, as values may hold commas."""
    return tuple(text(part) for part in (value if isinstance(value, (list, tuple)) else [value]))


def ranks_path(value):
    """The path of a table, told by its ending."""
    if not text(value).lower().endswith((".parquet", ".csv")):
        raise ValueError("not a table's path")
    return value


def save_interval(value):
    """"500" (steps) or "90s" (seconds) as it is; 0 and anything else is a ValueError."""
    if not re.match(r"[1-9][0-9]{0,8}s?\Z", str(value), re.ASCII):
        raise ValueError("not an interval")
    return str(value)


WORDS = {text: "text of at least one character", whole: "a whole number", real: "a number",
          int_list: "whole numbers such as 100 or 100,50",
         real_list: "numbers such as 0.5 or 0.5,0.2",
          name_list: "a list of different names such as recall,mrr",
          save_interval: "a number of steps such as 500 or of seconds such as 90s",
          id_list: "item ids such as 214536502,214536500",
          page_path: "a file name ending in .html",
          lists_path: "a file name ending in .parquet, .csv or .jsonl",
          lr_scale: "none, linear, sqrt or a number above 0",
          truth: "True or False", text_list: "text of at least one character",
          ranks_path: "a file name ending in .parquet or .csv"}

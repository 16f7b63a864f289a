"""Flags as fields of frozen dataclasses: argparse, checks and conversion of what is given, for every command."""

import argparse
import dataclasses
import re
from dataclasses import field

from gru4rec import command
from gru4rec.errors import ConfigError
from gru4rec.version import __version__


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
    parts = value.split(",") if isinstance(value, str) else [value] if isinstance(value, (int, float)) else value
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
    parts = tuple(value.split(",") if isinstance(value, str) else value if isinstance(value, (list, tuple)) else ())
    if not parts or not all(isinstance(part, str) and part for part in parts) or len(set(parts)) < len(parts):
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


_KINDS = {text: "text of at least one character", whole: "a whole number", real: "a number",
          int_list: "whole numbers such as 100 or 100,50", real_list: "numbers such as 0.5 or 0.5,0.2",
          name_list: "a list of different names such as recall,mrr",
          save_interval: "a number of steps such as 500 or of seconds such as 90s",
          id_list: "item ids such as 214536502,214536500",
          page_path: "a file name ending in .html",
          lists_path: "a file name ending in .parquet, .csv or .jsonl",
          lr_scale: "none, linear, sqrt or a number above 0",
          truth: "True or False", text_list: "text of at least one character",
          ranks_path: "a file name ending in .parquet or .csv"}


def flag(default, help_text, unit="", choices=None, kind=text, shown=None, low=None, high=None, above=None,
         below=None, repeat=False, const=None):
    """A dataclass field that is one option: default, help, unit, allowed values (`above`/`below` are exclusive).

    repeat: whether it may be given several times (its kind then takes a list). const: text a flag without a value stands
    for; None where it needs one.
    """
    meta = dict(help=help_text, unit=unit, choices=choices, kind=kind, shown=shown, low=low, high=high, above=above,
                below=below, repeat=repeat, const=const)
    return field(default=default, metadata=meta)


def fields_of(groups, leave_out=()):
    """Every flag of the groups: (title, dataclass, dataclasses.Field)."""
    for group, cls in groups:
        for item in dataclasses.fields(cls):
            if item.name not in leave_out:
                yield group, cls, item


class _Parser(argparse.ArgumentParser):
    """argparse that raises our one-line error instead of printing usage."""

    def error(self, message):
        raise ConfigError("%s (%s)" % (message, command.see_help()))


def build_parser(prog, description, groups, leave_out=()):
    """argparse parser with one group per dataclass; absent flags do not appear in its namespace.

    Args:
      groups: pairs (title, dataclass of `flag`s). leave_out: names of flags that mean nothing to the command.
    Returns: argparse.ArgumentParser whose `error` raises ConfigError.
    """
    parser = _Parser(prog=command.name(prog), argument_default=argparse.SUPPRESS, allow_abbrev=False,
                     description=description)
    parser.add_argument("--version", action="version", version="gru4rec " + __version__)
    titles = {}
    for group, cls, item in fields_of(groups, leave_out):
        if group not in titles:
            titles[group] = parser.add_argument_group(group, cls.__doc__.splitlines()[0])
        meta = item.metadata
        shown = meta["shown"] or show(item.default)
        text = "%s [%sdefault: %s]" % (meta["help"], meta["unit"] + "; " if meta["unit"] else "", shown)
        if meta["choices"]:
            text = "{%s} %s" % ("|".join(str(c) for c in meta["choices"]), text)
        names = ["-" + item.name] * (len(item.name) == 1) + ["--" + item.name]
        more = dict(action="append") if meta["repeat"] else {} if meta["const"] is None else dict(nargs="?",
                                                                                                  const=meta["const"])
        titles[group].add_argument(*names, metavar=item.name.upper(), type=str, dest=item.name, help=text.replace("%", "%%"),
                                   **more)
    return parser


def show(value):
    """A value as the user would type it."""
    return ",".join(str(v) for v in value) if isinstance(value, tuple) else str(value)


def convert(item, given):
    """Flag text (or its value) -> checked value; ConfigError names the flag, what was given and what is allowed."""
    meta, name = item.metadata, "--" + item.name
    try:
        value = meta["kind"](given)
    except (ValueError, OverflowError):
        words = _KINDS.get(meta["kind"]) or meta["kind"].words
        raise ConfigError("%s %r is not %s" % (name, given, words)) from None
    if meta["choices"] and not set(value if isinstance(value, tuple) else (value,)) <= set(meta["choices"]):
        raise ConfigError("%s %r is unknown; use one of: %s" % (name, given, ", ".join(map(str, meta["choices"]))))
    for number in value if isinstance(value, tuple) else (value,):
        _check_range(name, given, number, meta)
    return value


def _check_range(name, given, number, meta):
    if not isinstance(number, (int, float)):
        return
    tests = (("low", lambda b: number >= b, "at least"), ("high", lambda b: number <= b, "at most"),
             ("above", lambda b: number > b, "more than"), ("below", lambda b: number < b, "less than"))
    for key, holds, words in tests:
        if meta[key] is not None and not (holds(meta[key]) and abs(number) != float("inf")):
            raise ConfigError("%s %s is out of range; it must be %s %s" % (name, given, words, meta[key]))


def parse_groups(argv, groups, **parser):
    """Command line of another command -> one checked dataclass for each of `groups`; `parser` as for `build_parser`.

    Raises: ConfigError, as `parse`.
    """
    flags = vars(build_parser(groups=groups, **parser).parse_args(argv))
    given = {item.name: convert(item, flags[item.name]) for _, _, item in fields_of(groups) if item.name in flags}
    return [cls(**{f.name: given[f.name] for f in dataclasses.fields(cls) if f.name in given}) for _, cls in groups]

"""Flags as fields of frozen dataclasses: argparse, checks and conversion of what is given, for
every command.
"""

import argparse
import dataclasses
from dataclasses import field

from gru4rec.command import invocation
from gru4rec.command.kinds import WORDS, text
from gru4rec.errors import ConfigError
from gru4rec.version import __version__


def flag(default, help_text, unit="", choices=None, kind=text, shown=None, low=None, high=None,
         above=None,
         below=None, repeat=False, const=None):
    """A dataclass field that is one option: default, help, unit, allowed values (`above`/`below`
    are exclusive).

    repeat: whether it may be given several times (its kind then takes a list). const: text a flag
    without a value stands for; None where it needs one.
    """
    meta = dict(help=help_text, unit=unit, choices=choices, kind=kind, shown=shown, low=low,
                high=high, above=above,
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
        raise ConfigError("%s (%s)" % (message, invocation.see_help()))


def build_parser(prog, description, groups, leave_out=()):
    """argparse parser with one group per dataclass; absent flags do not appear in its namespace.

    Args:
      groups: pairs (title, dataclass of `flag`s). leave_out: names of flags that mean nothing to
      the command.
    Returns: argparse.ArgumentParser whose `error` raises ConfigError.
    """
    parser = _Parser(prog=invocation.name(prog), argument_default=argparse.SUPPRESS,
                     allow_abbrev=False,
                     description=description)
    parser.add_argument("--version", action="version", version="gru4rec " + __version__)
    titles = {}
    for group, cls, item in fields_of(groups, leave_out):
        if group not in titles:
            titles[group] = parser.add_argument_group(group, cls.__doc__.splitlines()[0])
        meta = item.metadata
        shown = meta["shown"] or show(item.default)
        text = "%s [%sdefault: %s]" % (meta["help"], meta["unit"] + "; " if meta["unit"] else "",
                                       shown)
        if meta["choices"]:
            text = "{%s} %s" % ("|".join(str(c) for c in meta["choices"]), text)
        names = ["-" + item.name] * (len(item.name) == 1) + ["--" + item.name]
        more = dict(action="append") if meta["repeat"] else {} if meta["const"] is None else dict(nargs="?",
                                                                                                  const=meta["const"])
        titles[group].add_argument(*names, metavar=item.name.upper(), type=str, dest=item.name,
                                   help=text.replace("%", "%%"),
                                   **more)
    return parser


def show(value):
    """A value as the user would type it."""
    return ",".join(str(v) for v in value) if isinstance(value, tuple) else str(value)


def convert(item, given):
    """Flag text (or its value) -> checked value; ConfigError names the flag, what was given and
    what is allowed.
    """
    meta, name = item.metadata, "--" + item.name
    try:
        value = meta["kind"](given)
    except (ValueError, OverflowError):
        words = WORDS.get(meta["kind"]) or meta["kind"].words
        raise ConfigError("%s %r is not %s" % (name, given, words)) from None
    if meta["choices"] and not set(value if isinstance(value, tuple)
                                   else (value,)) <= set(meta["choices"]):
        raise ConfigError("%s %r is unknown; use one of: %s"
                          % (name, given, ", ".join(map(str, meta["choices"]))))
    for number in value if isinstance(value, tuple) else (value,):
        _check_range(name, given, number, meta)
    return value


def _check_range(name, given, number, meta):
    if not isinstance(number, (int, float)):
        return
    tests = (("low", lambda b: number >= b, "at least"), ("high", lambda b: number <= b, "at most"),
             ("above", lambda b: number > b, "more than"),
             ("below", lambda b: number < b, "less than"))
    for key, holds, words in tests:
        if meta[key] is not None and not (holds(meta[key]) and abs(number) != float("inf")):
            raise ConfigError("%s %s is out of range; it must be %s %s"
                              % (name, given, words, meta[key]))


def parse_groups(argv, groups, **parser):
    """Command line of another command -> one checked dataclass for each of `groups`; `parser` as
    for `build_parser`.

    Raises: ConfigError, as `parse`.
    """
    flags = vars(build_parser(groups=groups, **parser).parse_args(argv))
    given = {item.name: convert(item, flags[item.name]) for _, _,
             item in fields_of(groups) if item.name in flags}
    return [cls(**{f.name: given[f.name] for f in dataclasses.fields(cls) if f.name in given})
            for _, cls in groups]

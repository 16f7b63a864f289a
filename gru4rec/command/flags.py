"""The flags of a command: fields of frozen dataclasses -> parser, checks and values."""

import argparse
import dataclasses
from typing import NamedTuple, Tuple

from gru4rec.command import invocation
from gru4rec.command.kinds import text
from gru4rec.errors import ConfigError
from gru4rec.version import __version__

REQUIRED = dataclasses.MISSING  # the default of a flag that must be given
# bound of a number -> (whether a value keeps it, how an error says it)
_BOUNDS = {
    "low": (lambda value, bound: value >= bound, "at least"),
    "high": (lambda value, bound: value <= bound, "at most"),
    "above": (lambda value, bound: value > bound, "more than"),
    "below": (lambda value, bound: value < bound, "less than"),
}


def flag(default, help_text, unit="", choices=None, kind=text, shown=None, repeat=False, const=None,
         **bounds):
    """A dataclass field that is one flag.

    Args:
      default: its value where it is not given; REQUIRED if it must be given.
      help_text: str, what it means. unit: str, of its value; "" for none.
      choices: tuple of the allowed values; None for any. kind: function of `kinds`.
      shown: str that help shows as the default; None shows `default`.
      repeat: whether it may be given several times; its kind then takes a list.
      const: text that the flag without a value stands for; None if it needs a value.
      bounds: limits of a number: low, high (allowed themselves), above, below (not allowed).
    """
    return _field(default, help=help_text, unit=unit, choices=choices, kind=kind, shown=shown,
                  repeat=repeat, const=const, bounds=bounds, place=None, many=False)


def argument(place, help_text, choices=None, kind=text, default=REQUIRED, many=False):
    """A dataclass field that is given by its place on the command line, not by a name.

    Args:
      place: str, what help calls it, such as "DATASET".
      help_text, choices, kind, default: as for `flag`.
      many: whether several values may be given; `kind` then takes a list.
    """
    return _field(default, help=help_text, unit="", choices=choices, kind=kind, shown=None,
                  repeat=False, const=None, bounds={}, place=place, many=many)


def _field(default, **metadata):
    unknown = sorted(set(metadata["bounds"]) - set(_BOUNDS))
    if unknown:
        raise TypeError("unknown bounds of a flag: %s" % ", ".join(unknown))
    return dataclasses.field(default=default, metadata=metadata)


def fields_of(groups, leave_out=()):
    """Every flag of the groups: (title, dataclass, dataclasses.Field)."""
    for title, cls in groups:
        for item in dataclasses.fields(cls):
            if item.name not in leave_out:
                yield title, cls, item


class Command(NamedTuple):
    """What a command is called, what it does and which flags it has.

    prog: str that starts it without the console script, such as "python -m gru4rec.compare".
    description: str, one line. groups: pairs (title, dataclass of `flag`s and `argument`s).
    leave_out: names of flags of these dataclasses that have no meaning for the command.
    """

    prog: str
    description: str
    groups: Tuple[Tuple[str, type], ...]
    leave_out: Tuple[str, ...] = ()

    def fields(self):
        """As `fields_of`."""
        return fields_of(self.groups, self.leave_out)

    def usage(self):
        """The command line in short, such as "python -m gru4rec.compare A B [flags]"."""
        words = [invocation.name(self.prog)]
        for _, _, item in self.fields():
            place, many = item.metadata["place"], item.metadata["many"]
            if place:
                words.append(place + "..." * (many and " " not in place))
        words += ["--%s %s" % (item.name, item.name.upper()) for _, _, item in self.fields()
                  if item.default is REQUIRED and not item.metadata["place"]]
        return " ".join(words + ["[flags]"])

    def parser(self):
        """argparse.ArgumentParser with a group for each dataclass.

        Its `error` raises ConfigError; flags that are not given do not appear in its namespace.
        """
        parser = _Parser(prog=invocation.name(self.prog), usage=self.usage().replace("%", "%%"),
                         description=self.description, argument_default=argparse.SUPPRESS,
                         allow_abbrev=False)
        parser.add_argument("--version", action="version", version="gru4rec " + __version__)
        groups = {}
        for title, cls, item in self.fields():
            if title not in groups:
                groups[title] = parser.add_argument_group(title, cls.__doc__.splitlines()[0])
            _add(groups[title], item)
        return parser

    def given(self, argv):
        """Command line -> dict of flag name -> checked value, of the flags that are given.

        Raises: ConfigError on one line that names the flag, its value and what to give instead.
        """
        texts = vars(self.parser().parse_args(argv))
        return {item.name: convert(item, texts[item.name]) for _, _, item in self.fields()
                if item.name in texts}

    def parse(self, argv):
        """Command line -> list with one dataclass for each of `groups`; errors as for `given`."""
        return split(self.given(argv), self.groups)


def split(values, groups):
    """Values by flag name -> list with one dataclass for each of `groups`; others are defaults."""
    return [cls(**{item.name: values[item.name] for item in dataclasses.fields(cls)
                   if item.name in values}) for _, cls in groups]


class _Parser(argparse.ArgumentParser):
    """argparse that raises our one-line error instead of printing usage."""

    def error(self, message):
        raise ConfigError("%s (%s)" % (message, invocation.see_help()))


def _add(group, item):
    """Add a flag or an argument to a group of an argparse parser."""
    meta = item.metadata
    how = dict(type=str, help=_help(item).replace("%", "%%"))
    if meta["place"]:
        if meta["many"]:
            how["nargs"] = "+" if item.default is REQUIRED else "*"
        group.add_argument(item.name, metavar=meta["place"], **how)
        return
    if meta["repeat"]:
        how["action"] = "append"
    elif meta["const"] is not None:
        how.update(nargs="?", const=meta["const"])
    group.add_argument(*names_of(item), metavar=item.name.upper(), dest=item.name,
                       required=item.default is REQUIRED, **how)


def _help(item):
    meta, notes = item.metadata, []
    words = meta["help"]
    if meta["choices"]:
        words = "{%s} %s" % ("|".join(str(choice) for choice in meta["choices"]), words)
    if meta["place"]:
        return words
    if meta["unit"]:
        notes.append(meta["unit"])
    notes.append(default_of(item) if item.default is REQUIRED else "default: " + default_of(item))
    return "%s [%s]" % (words, "; ".join(notes))


def names_of(item):
    """How a flag or an argument is written: ["--out"], ["-k", "--k"] or ["DATASET"]."""
    if item.metadata["place"]:
        return [item.metadata["place"]]
    return ["-" + item.name] * (len(item.name) == 1) + ["--" + item.name]


def default_of(item):
    """The default of a flag as help shows it."""
    if item.default is REQUIRED:
        return "required"
    return item.metadata["shown"] or show(item.default)


def show(value):
    """A value as the user would type it."""
    return ",".join(str(v) for v in value) if isinstance(value, tuple) else str(value)


def convert(item, value):
    """Text of a flag (or a value read from JSON) -> its checked value.

    Raises: ConfigError naming the flag, the value and what is allowed.
    """
    meta = item.metadata
    name = names_of(item)[-1]
    try:
        converted = meta["kind"](value)
    except (ValueError, OverflowError):
        raise ConfigError("%s %r is not %s" % (name, value, meta["kind"].words)) from None
    parts = converted if isinstance(converted, tuple) else (converted,)
    if meta["choices"] and not set(parts) <= set(meta["choices"]):
        raise ConfigError("%s %r is unknown; use one of: %s"
                          % (name, value, ", ".join(map(str, meta["choices"]))))
    for part in parts:
        if isinstance(part, (int, float)):
            _check_bounds(name, value, part, meta["bounds"])
    return converted


def _check_bounds(name, value, number, bounds):
    for key, (keeps, words) in _BOUNDS.items():
        if key in bounds and not (keeps(number, bounds[key]) and abs(number) != float("inf")):
            raise ConfigError("%s %s is out of range; it must be %s %s"
                              % (name, value, words, bounds[key]))

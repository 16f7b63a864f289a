"""Presets: named sets of flags, as JSON {"about": one line, "flags": {name: value}}."""

import json
import os

from gru4rec.errors import ConfigError

_HERE = os.path.dirname(os.path.abspath(__file__))


def names():
    """Sorted names of the presets."""
    return sorted(name[:-len(".json")] for name in os.listdir(_HERE) if name.endswith(".json"))


def load(name):
    """dict of flag name -> value of a preset; a ConfigError lists the presets."""
    return _read(name)["flags"]


def table():
    """What --preset list prints: every preset, what it is, and its flags."""
    lines = []
    for name in names():
        preset = _read(name)
        lines.append("%s: %s" % (name, preset["about"]))
        flags = " ".join("--%s %s" % item for item in sorted(preset["flags"].items()))
        lines.append("    " + (flags or "(no flags)"))
    return "\n".join(lines)


def _read(name):
    if name not in names():
        raise ConfigError("--preset %r is unknown; use one of: %s, or list to see them"
                          % (name, ", ".join(names())))
    path = os.path.join(_HERE, name + ".json")
    try:
        with open(path, encoding="utf-8") as file:
            preset = json.load(file)
        if not isinstance(preset["about"], str) or not isinstance(preset["flags"], dict):
            raise ValueError("it must hold a text `about` and an object `flags`")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError("--preset %s: %s is damaged (%s); restore the file"
                          % (name, path, str(error)[:100])) from error
    return preset

"""Write docs/reference/flags.md: the flags of every command, from the code.

    python scripts/flags_reference.py
"""

import importlib
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from gru4rec.cli import SUBCOMMANDS  # noqa: E402
from gru4rec.command import reference  # noqa: E402

PAGE = os.path.join(ROOT, "docs", "reference", "flags.md")
# Module of a command -> the module that holds its COMMAND, where that is another one.
HOLDERS = {
    "gru4rec.main": "gru4rec.config",
    "gru4rec.recommend": "gru4rec.recommend.cli",
    "gru4rec.serve": "gru4rec.serve.server",
    "gru4rec.prepare": "gru4rec.prepare.cli",
    "gru4rec.report": "gru4rec.report.__main__",
    "gru4rec.export": "gru4rec.export.__main__",
    "gru4rec.offline": "gru4rec.offline.__main__",
    "gru4rec.device": "gru4rec.device.__main__",
}


def commands():
    """Pairs (title, command.flags.Command) of every command, in the order of `gru4rec --help`."""
    titles = {}  # module -> how the console script calls it
    for name, (module, _, _) in SUBCOMMANDS.items():
        titles.setdefault(module, []).append("gru4rec " + name)
    titles["gru4rec.data.synthetic"] = ["gru4rec.data.synthetic"]
    return [(", ".join(names), importlib.import_module(HOLDERS.get(module, module)).COMMAND)
            for module, names in titles.items()]


def text():
    """The page as Markdown."""
    return reference.page(commands())


if __name__ == "__main__":
    os.makedirs(os.path.dirname(PAGE), exist_ok=True)
    with open(PAGE, "w", encoding="utf-8") as file:
        file.write(text())
    print("wrote %s" % os.path.relpath(PAGE, ROOT))

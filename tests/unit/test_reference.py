"""The page of the flags: every command and flag is in it, and it is the one the code makes."""

import importlib.util
import os
import re
import subprocess
import sys
from dataclasses import dataclass

import pytest

from gru4rec import cli
from gru4rec.command import flags, reference
from gru4rec.command.kinds import text_list, whole


@pytest.fixture(scope="module")
def script(repo_root):
    path = os.path.join(repo_root, "scripts", "flags_reference.py")
    spec = importlib.util.spec_from_file_location("flags_reference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_in_the_checkout_is_the_generated_one(script):
    with open(script.PAGE, encoding="utf-8") as file:
        page = file.read()
    assert page == script.text(), "run python scripts/flags_reference.py"


def test_every_command_and_every_flag_is_on_the_page(script):
    sections = re.split(r"^## ", script.text(), flags=re.MULTILINE)[1:]
    commands = script.commands()
    assert len(sections) == len(commands)
    titles = " ".join(title for title, _ in commands)
    for name in cli.SUBCOMMANDS:
        assert "gru4rec %s" % name in titles
    for section, (title, command) in zip(sections, commands):
        assert section.splitlines()[0] == title
        named = re.findall(r"^\| (?:`-\w`, )?`([^`]+)` \|", section, re.MULTILINE)
        assert named == [flags.names_of(item)[-1] for _, _, item in command.fields()]


@pytest.mark.parametrize("name", sorted(cli.SUBCOMMANDS) + ["data.synthetic"])
def test_help_of_every_command_has_the_flags_of_the_page(script, name):
    """The constant that the page is made of is the one that the command parses with."""
    module = cli.SUBCOMMANDS[name][0] if name in cli.SUBCOMMANDS else "gru4rec." + name
    command = importlib.import_module(script.HOLDERS.get(module, module)).COMMAND
    done = subprocess.run([sys.executable, "-m", module, "--help"], stdout=subprocess.PIPE,
                          universal_newlines=True, timeout=120)
    shown = set(re.findall(r"^  (?:-\w(?: \w+)?, )?--(\w+)", done.stdout, re.MULTILINE))
    assert done.returncode == 0
    assert shown - {"help", "version"} == {item.name for _, _, item in command.fields()
                                           if not item.metadata["place"]}
    assert done.stdout.startswith("usage: %s\n" % command.usage())


@dataclass(frozen=True)
class Example:
    """Made up."""

    files: tuple = flags.argument("FILE", "files to read", kind=text_list, many=True)
    out: str = flags.flag(flags.REQUIRED, "where to write", "file")
    k: int = flags.flag(3, "a|b", "items", choices=(3, 4), kind=whole)


def test_a_small_page():
    command = flags.Command("python -m example", "Do it.", (("example", Example),))
    assert command.usage() == "python -m example FILE... --out OUT [flags]"
    page = reference.page([("example", command)])
    assert page.endswith("""
## example

    python -m example FILE... --out OUT [flags]

Do it.

**example**: Made up.

| flag | default | unit | meaning |
|---|---|---|---|
| `FILE` | required |  | files to read |
| `--out` | required | file | where to write |
| `-k`, `--k` | 3 | items | a\\|b. One of: 3, 4 |
""")


def test_arguments_and_required_flags_are_read_and_missed():
    command = flags.Command("python -m example", "Do it.", (("example", Example),))
    assert command.parse(["a", "b", "--out", "c", "-k", "4"]) == [Example(("a", "b"), "c", 4)]
    with pytest.raises(flags.ConfigError, match="are required: FILE, --out"):
        command.parse([])
    with pytest.raises(flags.ConfigError, match="--k 5 is unknown|--k '5' is unknown"):
        command.parse(["a", "--out", "c", "--k", "5"])


def test_a_bound_that_does_not_exist_is_refused_where_it_is_written():
    with pytest.raises(TypeError, match="lowest"):
        flags.flag(1, "a number", kind=whole, lowest=0)

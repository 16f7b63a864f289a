"""The flags of every command as a page of the documentation."""

from gru4rec.command.flags import default_of, fields_of, names_of

_HEAD = """# Flags of every command

This page is written by `python scripts/flags_reference.py` from the code; do not edit it.
`--help` of a command shows the same. `--version` shows the version.
"""


def page(commands):
    """The page as Markdown: a section for each command, in it a table for each group of flags.

    Args:
      commands: pairs (title of the section, command.flags.Command).
    """
    parts = [_HEAD]
    for title, command in commands:
        parts.append("## %s\n\n    %s\n\n%s\n" % (title, command.usage(), command.description))
        for name, cls in command.groups:
            parts.append("**%s**: %s\n\n%s\n" % (name, cls.__doc__.splitlines()[0], flags_markdown(
                ((name, cls),), command.leave_out)))
    return "\n".join(parts)


def flags_markdown(groups, leave_out=()):
    """Table of the flags of some groups, one row for each; arguments as for flags.fields_of."""
    lines = ["| flag | default | unit | meaning |", "|---|---|---|---|"]
    for _, _, item in fields_of(groups, leave_out):
        meta = item.metadata
        meaning = meta["help"]
        if meta["choices"]:
            meaning += ". One of: " + ", ".join(str(choice) for choice in meta["choices"])
        names = ", ".join("`%s`" % name for name in names_of(item))
        lines.append("| %s | %s | %s | %s |" % (names, default_of(item), meta["unit"],
                                                meaning.replace("|", "\\|")))
    return "\n".join(lines)

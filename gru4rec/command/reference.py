"""The flags of a command as a page of the documentation."""

from gru4rec.command.flags import fields_of, show


def flags_markdown(groups):
    """The README's table of flags, one row per option; groups: as for command.flags.build_parser.
    """
    lines = ["| flag | default | unit | meaning |", "|---|---|---|---|"]
    for _, _, item in fields_of(groups):
        meta = item.metadata
        text = meta["help"] + (" (%s)" % ", ".join(str(c) for c in meta["choices"])
                               if meta["choices"] else "")
        lines.append("| `--%s` | %s | %s | %s |" % (item.name, meta["shown"] or show(item.default),
                                                    meta["unit"], text))
    return "\n".join(lines)

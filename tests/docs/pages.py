"""How the pages of README and docs are read: their fenced blocks, and whether a program says what
a page shows.

Languages of the blocks: `sh` and `python` are run. `text` after one of them is what it prints on
stdout; `log` after one of them is what it says on stderr, among other lines. All others (`tsv`,
`flags`, `formula`, `log` by itself) show a format and are not run. `...` stands for anything.
"""

import os
import re
import shlex
from typing import NamedTuple, Optional

# What a shown number may differ by from a printed one, by what stands before it. A training
# rounds otherwise on another processor; all other numbers must be equal.
TOLERANCES = (
    (re.compile(r"Each Step time is:$"), float("inf")),
    (re.compile(r"loss: $"), 0.05),
    (re.compile(r"^(?!sequential rules).*(?:Recall|MRR)@\d+: $"), 0.01),
)
# Ids of the bundled sample and the scores beside them. Lists of the model that the pages were
# written with must be the same; another model, trained on another processor, has other lists.
ITEM = re.compile(r"\b21[45]\d{6}\b")
SCORE = re.compile(r"(?<![\w.@-])\d\.\d{1,8}(?!\w)")
SCORE_TOLERANCE = {True: 0.001, False: 2.0}  # by whether the model is the same
HASH = re.compile(r"(?<=-)[0-9a-f]{12}\b")
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    text: str
    line: int  # of its fence, from 1
    stdout: Optional[str] = None  # of `sh` and `python`: what the page shows of it
    stderr: Optional[str] = None


def blocks(text):
    """Blocks of a page, those that show output joined to the block that prints it -> list of Block.

    Raises: ValueError for a fence without a language, an open one, or output of nothing.
    """
    found, lines, at, end = [], text.split("\n"), 0, -1
    while at < len(lines):
        if not lines[at].startswith("```"):
            at += 1
            continue
        language, first = lines[at][3:].strip(), at + 1
        if not language:
            raise ValueError("line %d: a block without a language" % first)
        if "```" not in lines[first:]:
            raise ValueError("line %d: a block that does not end" % first)
        last = lines.index("```", first)
        body = "\n".join(lines[first:last]) + "\n"
        follows = bool(found) and not "".join(lines[end + 1:at]).strip()
        if language in ("text", "log") and follows and found[-1].language in ("sh", "python"):
            name = "stdout" if language == "text" else "stderr"
            found[-1] = found[-1]._replace(**{name: body})
        elif language == "text":
            raise ValueError("line %d: output without the block that prints it" % first)
        else:
            found.append(Block(language, body, first))
        at, end = last + 1, last
    return found


def commands(block):
    """Command lines of an `sh` block, one str each, without comments and with continued lines
    joined.
    """
    text = re.sub(r"\s*\\\n\s*", " ", block.text)
    return [line for line in (_without_comment(line) for line in text.splitlines()) if line]


def _without_comment(line):
    return re.sub(r"(^|\s+)# .*$", "", line).strip()


def words(command):
    """(dict of the variables set before it, list of its words), `$NAME` replaced."""
    variables, rest = {}, shlex.split(os.path.expandvars(command))
    while rest and re.match(r"[A-Z_]+=", rest[0]):
        name, _, value = rest.pop(0).partition("=")
        variables[name] = value
    return variables, rest


def printed_of(python):
    """What the comments behind `print(...)` in a Python block say that it prints; None without."""
    shown = re.findall(r"^print\(.*\)  # (.+)$", python, re.MULTILINE)
    return "".join(line + "\n" for line in shown) if shown else None


def difference(shown, printed, same_model=True):
    """Why a program does not print what a page shows; None where it does.

    Args:
      shown, printed: str; a line `...` of `shown` stands for any lines, `...` in a line for
        anything.
      same_model: whether lists come from the model that the page was written with; if not, they
        only have to have as many items, and scores of about that size.
    """
    parts = re.split(r"^\.\.\.\n", shown, flags=re.MULTILINE)
    lines, at = printed.splitlines(), 0
    for number, part in enumerate(parts):
        wanted = part.splitlines()
        starts = range(at, len(lines) - len(wanted) + 1) if number else [at]
        if number and number == len(parts) - 1:
            starts = [len(lines) - len(wanted)]
        why = ["%d lines are missing at the end" % (len(wanted) - len(lines) + at)]
        for start in starts:
            if start < at:
                continue
            why = [_line_difference(line, other, same_model)
                   for line, other in zip(wanted, lines[start:])]
            why = [found for found in why if found]
            if len(lines) - start < len(wanted):
                why.append("the output ends before %r" % wanted[len(lines) - start])
            if not why:
                at = start + len(wanted)
                break
        if why:
            return why[0]
    if at != len(lines):
        return "the page does not show %r" % lines[at]
    return None


def missing_line(shown, said):
    """The first line of a `log` block that a program did not say on stderr; None where it did."""
    lines = said.splitlines()
    for line in shown.splitlines():
        if all(_line_difference(line, other) for other in lines):
            return line
    return None


def _line_difference(shown, printed, same_model=True):
    """Why a line is not the one that is shown, or None."""
    why = "%r is shown, %r is printed" % (shown, printed)
    if ITEM.search(shown):
        if same_model and ITEM.findall(shown) != ITEM.findall(printed):
            return why
        scores = [[float(value) for value in SCORE.findall(line)] for line in (shown, printed)]
        if len(scores[0]) != len(scores[1]) or any(
                abs(one - other) > SCORE_TOLERANCE[same_model] for one, other in zip(*scores)):
            return why
        # numpy pads its numbers to one width
        shown, printed = [
            " ".join(SCORE.sub("SCORE", ITEM.sub("ITEM", line)).split()).replace(" ]", "]")
            for line in (shown, printed)]
    shown, printed = [HASH.sub("HASH", line) for line in (shown, printed)]
    pattern, at, bounds = "", 0, []
    for found in NUMBER.finditer(shown):
        tolerance = next((value for before, value in TOLERANCES
                          if before.search(shown[:found.start()])), None)
        if tolerance is not None:
            pattern += _literal(shown[at:found.start()]) + "(%s)" % NUMBER.pattern
            bounds.append((float(found.group()), tolerance))
            at = found.end()
    match = re.match(pattern + _literal(shown[at:]) + r"\Z", printed)
    if not match:
        return why
    numbers = [float(value) for value in match.groups()]
    far = [1 for (value, bound), number in zip(bounds, numbers) if abs(value - number) > bound]
    return why if far else None


def _literal(text):
    return ".*?".join(re.escape(part) for part in text.split("..."))

"""Record the runs of scripts/test_machines.sh, and write their table in docs/evidence/machines.md.

    python scripts/machines.py record FILE --row NAME --settings TEXT --junit XML --log LOG \\
        [--tests ARGUMENTS]
    python scripts/machines.py table [--check 1]

`record` is called by the script; it reads pytest's own counts and measures nothing. Run it with the
Python of the run. `table` writes the table between the markers of docs/evidence/machines.md; with
--check 1 it only says whether the page has this table (status 1: no). If a row was run several
times on one kind of processor, the last run counts.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [ROOT, os.path.join(ROOT, "scripts")]
RESULTS = os.path.join(ROOT, "docs", "results", "machines.jsonl")
PAGE = os.path.join(ROOT, "docs", "evidence", "machines.md")
BEGIN, END = "<!-- table of runs: begin -->\n", "<!-- table of runs: end -->"
HEAD = ("run", "Python", "TensorFlow", "numpy", "processor, cores", "tests", "passed", "failed",
        "skipped", "min", "date, commit")


def counts(junit):
    """pytest's counts from its JUnit file: dict passed, failed, skipped (int), seconds (float).

    Raises: OSError, xml.etree.ElementTree.ParseError: there is no result, for example because
      pytest itself failed.
    """
    total = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    seconds = 0.0
    for suite in xml.etree.ElementTree.parse(junit).getroot().iter("testsuite"):
        for name in total:
            total[name] += int(suite.get(name))
        seconds += float(suite.get("time"))
    failed = total["failures"] + total["errors"]
    return {"passed": total["tests"] - failed - total["skipped"], "failed": failed,
            "skipped": total["skipped"], "seconds": round(seconds, 1)}


def marked(log):
    """{marker: tests that ran} from the line that tests/conftest.py adds to pytest's summary."""
    with open(log, encoding="utf-8", errors="replace") as lines:
        summaries = [line for line in lines if line.startswith("marked tests: ")]
    if not summaries:
        return {}
    return {name: int(ran) for name, ran in re.findall(r"(\w+) (\d+) ran", summaries[-1])}


def record(args):
    """Add one line to the results; returns 0, or 1 if the run has no result to record."""
    import record_results

    row = {"row": args.row, "settings": args.settings, "tests": args.tests.strip() or "whole suite"}
    try:
        row.update(counts(args.junit), marked=marked(args.log))
    except (OSError, xml.etree.ElementTree.ParseError) as error:
        print("error: %s: pytest wrote no result that can be read: %s" % (args.row, error),
              file=sys.stderr)
        return 1
    machine, versions = record_results.machine(), record_results.versions()
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs"], cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, universal_newlines=True).stdout.strip()
    row.update(python=versions["python"], tensorflow=versions["tensorflow"],
               numpy=versions["numpy"], processor=machine["cpu"], cores=machine["cores"],
               system=machine["system"], date=record_results.today(),
               commit=versions["commit"][:12] + ("+changes" if changed else ""))
    with open(args.results, "a", encoding="utf-8") as out:
        out.write(json.dumps(row, sort_keys=True, ensure_ascii=False) + "\n")
    return 0


def read(path):
    """list of dict, the runs in a results file."""
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def table(rows):
    """Text of the table: the last run of each row, kind of processor and choice of tests."""
    last = {}
    for row in rows:
        last[row["row"], row["processor"], row["tests"]] = row
    lines = ["| %s |\n| %s |\n" % (" | ".join(HEAD), " | ".join(["---"] * len(HEAD)))]
    for row in last.values():
        cells = [" ".join("`%s`" % name for name in row["row"].split("+")), row["python"],
                 row["tensorflow"], row["numpy"], "%s, %d" % (row["processor"], row["cores"]),
                 row["tests"]]
        cells += ["%d" % row[name] for name in ("passed", "failed", "skipped")]
        cells += ["%.1f" % (row["seconds"] / 60), "%s, %s" % (row["date"], row["commit"])]
        lines.append("| %s |\n" % " | ".join(cell.replace("|", "/") for cell in cells))
    return "".join(lines)


def page_with(page, rows):
    """The page's text with the table of these rows."""
    before, _, rest = page.partition(BEGIN)
    if END not in rest:
        raise SystemExit("error: the page has no markers for the table")
    return before + BEGIN + table(rows) + END + rest.partition(END)[2]


def main(args=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command")
    one = commands.add_parser("record")
    one.add_argument("results")
    for flag in ("--row", "--settings", "--junit", "--log"):
        one.add_argument(flag, required=True)
    one.add_argument("--tests", default="")
    all_ = commands.add_parser("table")
    all_.add_argument("--check", type=int, choices=(0, 1), default=0)
    args = parser.parse_args(args)
    if args.command is None:
        parser.error("the following arguments are required: record or table")
    if args.command == "record":
        return record(args)
    with open(PAGE, encoding="utf-8") as file:
        page = file.read()
    wanted = page_with(page, read(RESULTS))
    if args.check:
        if page != wanted:
            print("error: docs/evidence/machines.md differs from its results; run python "
                  "scripts/machines.py table", file=sys.stderr)
        return int(page != wanted)
    with open(PAGE, "w", encoding="utf-8") as file:
        file.write(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())

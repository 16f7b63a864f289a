"""Write the results of a finished run, with machine and versions, to a file of docs/results/.

    python scripts/record_results.py CHECKPOINT_DIR --command "..." [--command "..."] \\
        --out docs/results/NAME.json

It reads the metrics.jsonl of the run and measures nothing itself. Run it with the Python that ran
the commands. A path that begins with the value of $REALDATA is written as $REALDATA/..., so that no
directory of this machine is recorded.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from gru4rec.device import machine as machine_module  # noqa: E402


def machine():
    """dict: processor, cores this process may use, memory, system."""
    facts = machine_module.facts()
    return {"cpu": facts["processor"], "cores": facts["cores"],
            "memory_gib": facts.get("memory_gib", 0.0),
            "system": "%s %s" % (facts["system"], facts["machine"])}


def versions():
    """dict: the commit and the versions of Python and of the libraries that compute."""
    import numpy  # noqa: F401 the report names the versions of what is imported
    import pandas  # noqa: F401

    from gru4rec import tf_compat  # noqa: F401
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, stdout=subprocess.PIPE,
                            universal_newlines=True)
    return dict(machine_module.versions("numpy", "pandas", "tensorflow"),
                commit=commit.stdout.strip())


def today():
    return datetime.date.today().isoformat()


def origin():
    """What every record says of its making: {"date", "machine", "versions"}."""
    return {"date": today(), "machine": machine(), "versions": versions()}


def rows_of(directory, real_data=""):
    """Rows of a metrics.jsonl: dict kind -> list of rows. Paths below `real_data` are shortened."""
    rows = {"train": [], "epoch": [], "eval": []}
    with open(os.path.join(directory, "metrics.jsonl"), encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            rows.setdefault(row.pop("kind"), []).append(
                {key: _public(value, real_data) for key, value in row.items()})
    return rows


def _public(value, real_data):
    if not isinstance(value, str) or not os.path.isabs(value):
        return value
    if real_data and value.startswith(real_data.rstrip("/") + "/"):
        return "$REALDATA" + value[len(real_data.rstrip("/")):]
    return os.path.join("data", os.path.basename(value))  # the bundled sample


def write(path, record):
    with open(path, "w", encoding="utf-8") as out:
        json.dump(record, out, indent=1, sort_keys=True)
        out.write("\n")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint_dir",
                        help="directory of a finished run, with its metrics.jsonl")
    parser.add_argument("--command", action="append", required=True,
                        help="command that was run; one for each, in order")
    parser.add_argument("--out", required=True, help="JSON file to write")
    args = parser.parse_args(argv)
    rows = rows_of(args.checkpoint_dir, os.environ.get("REALDATA", ""))
    write(args.out, dict(origin(), commands=args.command, rows=rows))
    counts = ["%d %s rows" % (len(of_kind), kind) for kind, of_kind in rows.items()]
    print("%s: %s" % (args.out, ", ".join(counts)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

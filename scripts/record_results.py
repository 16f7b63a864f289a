"""Write down what a finished run measured, with machine and versions, as one JSON file for
docs/results/:

    python scripts/record_results.py CHECKPOINT_DIR --command "..." [--command "..."] --out
    docs/results/NAME.json

It reads the metrics.jsonl of the run and measures nothing itself. Run it with the Python that ran
the commands. A path that begins with the value of $REALDATA is written as $REALDATA/..., so that no
directory of this machine is recorded.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def machine():
    """dict: processor, cores this process may use, memory, system."""
    return {"cpu": _proc("/proc/cpuinfo", "model name") or platform.processor(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity")
            else os.cpu_count(),
            "memory_gib": round(int((_proc("/proc/meminfo", "MemTotal")
                                     or "0 kB").split()[0]) / 2 ** 20, 1),
            "system": "%s %s" % (platform.system(), platform.machine())}


def versions():
    """dict: the commit and the versions of all that computes."""
    import numpy
    import pandas

    from gru4rec import tf_compat
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, stdout=subprocess.PIPE,
                            universal_newlines=True)
    return {"commit": commit.stdout.strip(), "python": platform.python_version(),
            "tensorflow": tf_compat.tf.__version__,
            "numpy": numpy.__version__, "pandas": pandas.__version__}


def today():
    return datetime.date.today().isoformat()


def _proc(path, key):
    """Value of the first "key : value" line of a /proc file, "" if there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as lines:
            return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)),
                        "")
    except OSError:
        return ""


def rows_of(directory, real_data=""):
    """kind -> list of rows of a metrics.jsonl; paths below `real_data` begin with $REALDATA
    instead.
    """
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
    sys.path.insert(0, ROOT)
    record = {"date": today(), "machine": machine(), "versions": versions(),
              "commands": args.command,
              "rows": rows_of(args.checkpoint_dir, os.environ.get("REALDATA", ""))}
    write(args.out, record)
    print("%s: %s" % (args.out,
                      ", ".join("%d %s rows" % (len(v), k) for k, v in record["rows"].items())))
    return 0


if __name__ == "__main__":
    sys.exit(main())

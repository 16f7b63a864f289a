"""Time of the data side: reading, indexing, laying out the schedule.

Every figure comes from a process of its own, and the cases take turns in every round:
  load        load_events and index_train of a generated text file (rows/s, peak memory)
  schedule    data.schedule.build of 8 million sessions, 32 million events (seconds, peak memory
              with and without its inputs)
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

import common
import numpy as np

CASES = ("load", "schedule")


def generate(path, rows, num_items, seed):
    """Write a tab-separated file of about `rows` events; its sessions are in order of time."""
    import pandas as pd
    items, offsets = common.zipf_sessions(int(rows * 3.5 / 4.5), num_items, seed)
    lengths = np.diff(offsets)
    session = np.repeat(np.arange(1, len(lengths) + 1), lengths)
    seconds = 1396310400 + 7 * session + 30 * (np.arange(len(items))
                                               - np.repeat(offsets[:-1], lengths))
    pd.DataFrame({"SessionId": session, "ItemId": 214500000 + items, "Time": seconds}).to_csv(
        path, sep="\t", index=False)


def run_load(args):
    """The case `load`; runs in a process of its own."""
    from gru4rec.data import sessions
    from gru4rec.data.reading import loader
    before, loaded = common.peak_mib(), []
    seconds = common.seconds_of(lambda: loaded.append(loader.load_events(args.file)))
    index_seconds = common.seconds_of(lambda: loaded.append(sessions.index_train(loaded[0])))
    return {"seconds": seconds, "rows": len(loaded[0].item), "index_seconds": index_seconds,
            "peak_mib": common.peak_mib(), "start_mib": before}


def run_schedule(args):
    """The case `schedule`; runs in a process of its own.

    The inputs are made in small parts, so that making them does not determine the peak.
    """
    from gru4rec.data import schedule
    random = np.random.RandomState(args.seed)
    offsets = np.zeros(args.sessions + 1, np.int64)
    mean = args.events / args.sessions
    for first in range(0, args.sessions, 1 << 18):
        part = offsets[1 + first:1 + min(first + (1 << 18), args.sessions)]
        part[:] = 1 + random.geometric(1.0 / (mean - 1.0), len(part))
    np.cumsum(offsets, out=offsets)
    items = np.empty(offsets[-1], np.int32)
    for first in range(0, len(items), 1 << 20):
        part = items[first:first + (1 << 20)]
        part[:] = random.randint(0, 37483, len(part))
    before, built = common.peak_mib(), []
    seconds = common.seconds_of(lambda: built.append(schedule.build(items, offsets,
                                                                    args.batch_size)))
    epoch = built[0]
    if int(epoch.weight.sum()) != len(items) - args.sessions:
        raise RuntimeError("the schedule does not hold every target once")
    return {"seconds": seconds, "events": len(items), "steps": epoch.num_steps,
            "peak_mib": common.peak_mib(), "start_mib": before}


def in_process(case, args):
    """Run a case in a new interpreter; returns its dict."""
    words = [sys.executable, os.path.abspath(__file__), "--case", case]
    for name in ("file", "sessions", "events", "batch_size", "seed"):
        words += ["--" + name, str(getattr(args, name))]
    return json.loads(subprocess.check_output(words).decode())


def measure(args):
    """All cases: dict name -> dict of summaries."""
    directory = tempfile.mkdtemp()
    try:
        if "load" in args.cases:
            args.file = os.path.join(directory, "events.tsv")
            generate(args.file, args.rows, args.items, args.seed)
        timers = {name: lambda name=name: in_process(name, args) for name in args.cases}
        if not args.quick and "load" in timers:  # so that the file is in memory
            timers["load"]()
        rounds = common.interleaved(timers, args.repeats)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return summarised(rounds)


def summarised(rounds):
    """For each case a summary of every number, and the rates that follow from them."""
    results = {}
    for case, rows in rounds.items():
        results[case] = {key: common.summary([row[key] for row in rows])
                       for key in rows[0] if rows[0][key] is not None}
    if "load" in results:
        load = results["load"]
        load["rows_per_s"] = load["rows"]["median"] / load["seconds"]["median"]
        load["index_rows_per_s"] = load["rows"]["median"] / load["index_seconds"]["median"]
    return results


def show(results):
    """Print the results of every case."""
    for case, row in results.items():
        for key, value in row.items():
            if isinstance(value, dict):
                print("  %-26s %-14s %12.2f (min %.2f, max %.2f)"
                      % (case, key, value["median"], value["min"], value["max"]))
            else:
                print("  %-26s %-14s %12.0f" % (case, key, value))
    sys.stdout.flush()


def main():
    parser = common.parser(__doc__, repeats=5)
    parser.add_argument("--cases", default=",".join(CASES), help="which to run [%(default)s]")
    parser.add_argument("--rows", type=int, default=4000000,
                        help="events of the generated file [%(default)s]")
    parser.add_argument("--items", type=int, default=37483,
                        help="distinct items of that file [%(default)s]")
    parser.add_argument("--sessions", type=int, default=8000000,
                        help="sessions of the schedule [%(default)s]")
    parser.add_argument("--events", type=int, default=32000000,
                        help="events of the schedule, about [%(default)s]")
    parser.add_argument("--batch_size", type=int, default=50,
                        help="lanes of the schedule [%(default)s]")
    # for the process of one case
    parser.add_argument("--case", choices=("load", "schedule"), help=argparse.SUPPRESS)
    parser.add_argument("--file", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        print(json.dumps({"load": run_load, "schedule": run_schedule}[args.case](args)))
        return
    args.cases = common.names(parser, "--cases", args.cases, CASES)
    common.check_repeats(args)
    if args.quick:
        args.rows, args.items, args.sessions, args.events = 3000, 200, 500, 2000
    results = measure(args)
    show(results)
    common.write(common.report(args, results), args.json)


if __name__ == "__main__":
    main()

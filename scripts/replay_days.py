"""Measure what a warm start is worth, day by day, on the last days of a training file.

    python scripts/replay_days.py --train_path clicks.tsv --days 3 --out replay.json \\
        [-- --preset fast]

For each day two models are trained on what was known the evening before, and both are measured on
the day: the full model is trained on all events so far, the warm model on the events of one day,
starting from the warm model of the day before (--init_from). The first warm start is from a model
that was trained on all earlier days. The model of the day before is measured too. Old items are
those that the first model knew.

A session belongs to the day of its last event. --day_sessions N counts N sessions as a day instead,
for files whose times are made up. FLAGs after -- go to every training, --warm_flags only to the
warm ones.
"""

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [ROOT, os.path.join(ROOT, "scripts")]

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import record_results  # noqa: E402

from gru4rec.data.reading import loader  # noqa: E402

CUT_OFF = 20


def days_of(frame, day_seconds, day_sessions):
    """Day number of each row, from 0: that of the last event of its session."""
    last = frame.groupby("SessionId", sort=False)["Time"].transform("max")
    if day_sessions is None:
        return ((last - last.min()) // day_seconds).astype(int)
    order = frame.groupby("SessionId")["Time"].max().sort_values(kind="stable")
    place = pd.Series(np.arange(len(order)) // day_sessions, order.index)
    return frame["SessionId"].map(place)


def command(*flags):
    """Run gru4rec.main with these flags; returns the seconds it took."""
    started = time.monotonic()
    words = [sys.executable, "-m", "gru4rec.main", "--device", "cpu"]
    subprocess.run(words + [str(flag) for flag in flags], check=True, cwd=ROOT,
                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return time.monotonic() - started


def measured(directory, test, old_items):
    """Targets, Recall and MRR of a model on a day, for "all", "old" and "new" items.

    Unknown items count as misses.
    """
    ranks = os.path.join(directory, "ranks.csv")
    command("--train", 0, "--checkpoint_dir", directory, "--test_path", test, "--unknown", "miss",
            "--ranks_out", ranks, "--compare_rules", 0)
    frame = pd.read_csv(ranks)
    old, out = frame["target"].isin(old_items), {}
    for name, part in (("all", frame), ("old", frame[old]), ("new", frame[~old])):
        hit = part["rank"] <= CUT_OFF
        out[name] = {"targets": len(part),
                     "recall@%d" % CUT_OFF: float(hit.mean()) if len(part) else None,
                     "mrr@%d" % CUT_OFF: float((hit / part["rank"]).mean()) if len(part) else None}
    return out


def replay(frame, day, num_days, flags, warm_flags, scratch):
    """Train and measure day by day: list of dict day, way, seconds, events and `measured`."""
    first, rows = int(day.max()) - num_days + 1, []

    def write(name, part):
        path = os.path.join(scratch, name)
        frame[part].to_csv(path, sep="\t", index=False)
        return path

    base = os.path.join(scratch, "base")
    command("--train_path", write("base.tsv", day < first - 1), "--checkpoint_dir", base, *flags)
    old_items, before = set(frame.loc[day < first - 1, "ItemId"]), base
    for number in range(first, int(day.max()) + 1):
        test = write("test.tsv", day == number)
        for way, part, source in (("full", day < number, None),
                                  ("warm", day == number - 1, before)):
            directory = os.path.join(scratch, "%s-%d" % (way, number))
            more = [] if source is None else ["--init_from", source] + warm_flags
            seconds = command("--train_path", write("train.tsv", part), "--checkpoint_dir",
                              directory, *(flags + more))
            rows.append(dict(day=number, way=way, seconds=round(seconds, 1), events=int(part.sum()),
                             **measured(directory, test, old_items)))
        rows.append(dict(day=number, way="yesterday's model", seconds=0.0, events=0,
                         **measured(before, test, old_items)))
        before = directory
        for row in rows[-3:]:
            print(table_row(row), flush=True)
    return rows


HEAD = ("| day | way | trained on, events | seconds | Recall@20 all | old items | new items | "
        "MRR@20 all | old | new |\n"
        "|---|---|---|---|---|---|---|---|---|---|")


def table_row(row):
    cells = [row["day"], row["way"], "{:,}".format(row["events"]), "%.1f" % row["seconds"]]
    for metric in ("recall@20", "mrr@20"):
        cells += ["-" if row[part][metric] is None else "%.4f" % row[part][metric]
                  for part in ("all", "old", "new")]
    return "| %s |" % " | ".join(map(str, cells))


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train_path", required=True)
    parser.add_argument("--days", type=int, default=3, help="how many days to replay [default: 3]")
    parser.add_argument("--day_seconds", type=float, default=86400.0)
    parser.add_argument("--day_sessions", type=int, help="sessions of a day, instead of seconds")
    parser.add_argument("--keys", default="SessionId,ItemId,Time",
                        help="columns [default: SessionId,ItemId,Time]")
    parser.add_argument("--warm_flags", default="",
                        help="further flags of the warm trainings, in quotes")
    parser.add_argument("--out", required=True, help="JSON file to write")
    parser.add_argument("flags", nargs="*", help="flags of every training, after --")
    args = parser.parse_args(argv)
    events = loader.load_events(args.train_path, *args.keys.split(","))
    frame = pd.DataFrame({"SessionId": events.session, "ItemId": events.item, "Time": events.time})
    day = days_of(frame, args.day_seconds, args.day_sessions)
    if args.days < 1 or day.max() - args.days < 1:
        parser.error("--days %d leaves nothing to begin with: the file has %d days"
                     % (args.days, day.max() + 1))
    print(HEAD, flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        rows = replay(frame, day, args.days, args.flags, shlex.split(args.warm_flags), scratch)
    words = sys.argv[1:] if argv is None else argv
    shown = "python scripts/replay_days.py " + " ".join(shlex.quote(word) for word in words)
    real_data = os.environ.get("REALDATA", "")
    if real_data:
        shown = shown.replace(real_data, "$REALDATA")
    record_results.write(args.out, dict(record_results.origin(), command=shown, days=rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())

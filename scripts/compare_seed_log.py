"""Compare learning rate and loss of a training with those of a published log.

    python scripts/compare_seed_log.py LOG.csv TRAIN [--targets 152500] [--json OUT]

LOG.csv has the columns device,epoch,step,lr,loss,step_seconds (loss: mean since the epoch began).
TRAIN is an events file. Its sessions are taken in the order of their first event until they hold
`--targets` targets; these are trained with the default flags, batch 50, 10 epochs. Exit status 0 if
all three conditions hold for every device of the log, else 1:

    step 1    the loss is within 0.01 of the log's
    lr        the column is the same, to the six decimals printed, in all rows
    loss      within 15 % of the log's in every row of epochs 0 and 1
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)
FIRST_LOSS, RELATIVE_LOSS, LAST_EPOCH = 0.01, 0.15, 1
FLAGS = ["--epoch", "10", "--batch_size", "50"]


def read_log(path):
    """device -> list of dict(epoch, step, lr, loss), in file order."""
    devices = {}
    with open(path, newline="", encoding="utf-8") as handle:
        for row in csv.DictReader(handle):
            devices.setdefault(row["device"], []).append(
                dict(epoch=int(row["epoch"]), step=int(row["step"]), lr=float(row["lr"]),
                     loss=float(row["loss"])))
    return devices


def oldest_sessions(session, time, num_targets):
    """Mask of the events of the oldest sessions that together hold `num_targets` targets.

    Args:
      session: [E] ids. time: [E] seconds.
    Returns: ([E] bool, number of targets they hold: that number or up to one session more; all of
      them if there are fewer).
    """
    _, code = np.unique(session, return_inverse=True)
    first = np.full(code.max() + 1, np.inf)
    np.minimum.at(first, code, time)
    order = np.argsort(first, kind="stable")
    held = np.cumsum(np.bincount(code)[order] - 1)
    last = min(int(np.searchsorted(held, num_targets)), len(order) - 1)
    taken = np.zeros(len(order), bool)
    taken[order[:last + 1]] = True
    return taken[code], int(held[last])


def write_events(path, events, mask):
    """Write the events of a mask as tab-separated text, in their order; times keep all digits."""
    with open(path, "w", encoding="utf-8") as out:
        out.write("SessionId\tItemId\tTime\n")
        for row in zip(events.session[mask].tolist(), events.item[mask].tolist(),
                       events.time[mask].tolist()):
            out.write("%s\t%s\t%r\n" % row)


def train(events, mask, device):
    """Train on those events with the real command: list of dict(epoch, step, lr, loss)."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "oldest.tsv")
        checkpoints = os.path.join(directory, "checkpoint")
        write_events(path, events, mask)
        command = [sys.executable, "-m", "gru4rec.main", "--train", "1", "--train_path", path,
                   "--checkpoint_dir", checkpoints, "--device", device] + FLAGS
        search_path = os.pathsep.join(filter(None, [ROOT, os.environ.get("PYTHONPATH")]))
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL,
                       env=dict(os.environ, PYTHONPATH=search_path))
        with open(os.path.join(checkpoints, "metrics.jsonl"), encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
    return [{key: row[key] for key in ("epoch", "step", "lr", "loss")}
            for row in rows if row["kind"] == "train"]


def compare(ours, theirs):
    """Join the rows of the training (ours) and of the published log (theirs), and judge them.

    Args:
      ours, theirs: list of dict(epoch, step, lr, loss).
    Returns: (rows: list of dict(step, epoch, lr_ours, lr_theirs, loss_ours, loss_theirs, relative),
      verdicts: dict name -> (bool, text)).
    """
    by_step = {row["step"]: row for row in ours}
    rows = []
    for their in theirs:
        our = by_step.get(their["step"])
        if our is not None:
            rows.append(dict(step=their["step"], epoch=their["epoch"], lr_ours=our["lr"],
                             lr_theirs=their["lr"], loss_ours=our["loss"],
                             loss_theirs=their["loss"],
                             relative=our["loss"] / their["loss"] - 1.0))
    first = [abs(row["loss_ours"] - row["loss_theirs"]) for row in rows if row["step"] == 1]
    same = sum("%.6f" % row["lr_ours"] == "%.6f" % row["lr_theirs"] for row in rows)
    early = [abs(row["relative"]) for row in rows if row["epoch"] <= LAST_EPOCH]
    verdicts = {
        "step 1": (bool(first) and first[0] <= FIRST_LOSS,
                   "loss differs by %.6f (at most %g)" % (first[0], FIRST_LOSS) if first
                   else "no such row"),
        "lr": (same == len(theirs), "equal in %d of %d rows" % (same, len(theirs))),
        "loss": (bool(early) and max(early) <= RELATIVE_LOSS,
                 "differs by up to %.1f %% through epoch %d (at most %g %%)"
                 % (100 * max(early), LAST_EPOCH, 100 * RELATIVE_LOSS) if early else "no such row"),
    }
    return rows, verdicts


def table(rows):
    """Lines of a Markdown table."""
    head = "| step | epoch | lr ours | lr theirs | loss ours | loss theirs | relative difference |"
    cells = ("| %(step)d | %(epoch)d | %(lr_ours).6f | %(lr_theirs).6f | %(loss_ours).6f "
             "| %(loss_theirs).6f | ")
    return [head, "|---:|---:|---:|---:|---:|---:|---:|"] + [
        cells % row + "%+.1f %% |" % (100 * row["relative"]) for row in rows]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", help="published log, CSV")
    parser.add_argument("train", help="training events")
    parser.add_argument("--targets", type=int, default=152500,
                        help="targets to train on [%(default)s]")
    parser.add_argument("--device", default="cpu", help="--device of the training [%(default)s]")
    parser.add_argument("--json", help="write rows, verdicts, machine and versions to this file")
    args = parser.parse_args(argv)
    from gru4rec.data.reading.loader import load_events
    events = load_events(args.train)
    mask, held = oldest_sessions(events.session, events.time, args.targets)
    print("%d of %d events, %d targets" % (mask.sum(), len(mask), held))
    ours = train(events, mask, args.device)
    holds, record = True, {}
    for device, theirs in read_log(args.log).items():
        rows, verdicts = compare(ours, theirs)
        record[device] = {"rows": rows, "verdicts": verdicts}
        print("\n%s\n\n%s\n" % (device, "\n".join(table(rows))))
        for name, (good, text) in verdicts.items():
            holds = holds and good
            print("%s %s: %s" % ("holds" if good else "FAILS", name, text))
    if args.json:
        _write_json(args, held, record)
    return 0 if holds else 1


def _write_json(args, held, record):
    sys.path.insert(0, os.path.join(ROOT, "scripts"))
    import record_results
    command = ("python scripts/compare_seed_log.py $REALDATA/%s $REALDATA/%s --device %s"
               % (os.path.basename(args.log),
                  "/".join(os.path.abspath(args.train).split(os.sep)[-2:]), args.device))
    record_results.write(args.json, dict(record_results.origin(), commands=[command], targets=held,
                                         devices=record))


if __name__ == "__main__":
    sys.exit(main())

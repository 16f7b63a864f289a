"""A device against the CPU on the bundled sample: loss curve, Recall, time a step, overflows -> one
JSON file.

Every run is the real command in a process of its own (an NPU's session options hold for the life of
a process), without dropout, whose masks differ between devices.
"""

import json
import logging
import os
import subprocess
import sys
import tempfile
import time

from gru4rec.device import probe
from gru4rec.runlog.rows import Metrics

_log = logging.getLogger(__name__)

FORMAT = 1
SECONDS = 300  # for all runs together
# relative difference of the mean loss, absolute of Recall@20, that is still "the same"
LOSS, RECALL = 0.02, 0.01
TRAINING = ["--dropout", "0", "--epoch", "1", "--log_every", "100", "--compare_rules", "0"]
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def plan(device):
    """[(name, flags, whether it is evaluated)] of the runs; the first is what the others are
    compared with.
    """
    mixed = ["--precision_mode", "allow_mix_precision"] if device == "npu" else []
    runs = [("cpu", ["--device", "cpu", "--engine", "plain"], True)]
    for steps in (1, 10, 100):
        flags = ["--device", device, "--steps_per_run", str(steps)]
        runs.append(("%s, %d steps per run" % (device, steps), flags, steps == 1))
    return runs + [("%s, loss scaling" % device,
                    ["--device", device, "--loss_scale", "dynamic"] + mixed, True)]


def selftest(device, out, more=(), runs=None, seconds=SECONDS):
    """Run the plan and write the report.

    Args:
      device: "npu" | "gpu" | "cpu". out: path of the JSON file. more: flags added to every training (for a smaller one).
      runs: list as of `plan`, or None for that. seconds: after so many no further run is begun.
    Returns: dict as written; "ok" is the verdict.
    """
    until, done = time.monotonic() + seconds, []
    with tempfile.TemporaryDirectory(prefix="gru4rec-selftest-") as directory:
        for number, (name, flags, evaluated) in enumerate(plan(device) if runs is None else runs):
            _log.info("self-test: %s", name)
            done.append(_run(name, flags + list(more), evaluated,
                             os.path.join(directory, str(number)),
                             until - time.monotonic()))
    result = {"format": FORMAT, "device": device, "report": probe.report(device), "runs": done}
    result["comparison"] = [_compared(done[0], run) for run in done[1:]]
    result["ok"] = not any(run["error"]
                           for run in done) and all(row["ok"] for row in result["comparison"])
    with open(out, "w", encoding="utf-8") as file:
        file.write(json.dumps(result, indent=1, sort_keys=True) + "\n")
    return result


def _run(name, flags, evaluated, directory, seconds):
    """One training, and evaluation if asked for: dict with what was measured; `error` is None if
    all went well.
    """
    started = time.monotonic()
    command = TRAINING + flags + ["--checkpoint_dir", directory]
    found = {"name": name,
             "command": "python -m gru4rec.main --train 1 " + " ".join(TRAINING + flags),
             "error": None}
    jobs = [["--train", "1"] + command]
    if evaluated:
        jobs.append(["--train", "0", "--checkpoint_dir", directory, "--compare_rules", "0",
                     "--device",
                     flags[flags.index("--device") + 1]])
    for job in jobs:
        left = seconds - (time.monotonic() - started)
        if left <= 0:
            return dict(found, error="no time was left for it")
        env = dict(os.environ,
                   PYTHONPATH=os.pathsep.join([ROOT]
                                              + list(filter(None, [os.environ.get("PYTHONPATH")]))))
        try:
            ended = subprocess.run([sys.executable, "-m", "gru4rec.main"] + job, env=env,
                                   timeout=left,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE,
                                   universal_newlines=True, errors="replace")
        except subprocess.TimeoutExpired:
            return dict(found, error="it took longer than the %.0f s that were left" % left)
        if ended.returncode:
            last = (ended.stderr.strip().splitlines() or ["it said nothing"])[-1]
            return dict(found, error="exit status %d: %s" % (ended.returncode, last[:500]))
    found.update(_measured(os.path.join(directory, Metrics.FILE)),
                 seconds=round(time.monotonic() - started, 1))
    return found


def _measured(path):
    """Of metrics.jsonl: the loss curve, time a step without the first line (it holds the
    compilation), metrics, overflows.
    """
    with open(path, encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    lines = [row for row in rows if row["kind"] == "train"]
    found = {"loss_curve": [[row["step"], row["loss"]] for row in lines],
             "ms_per_step": sorted(row["seconds_per_step"]
                                   for row in lines[1:])[len(lines[1:]) // 2] * 1e3 if lines[1:]
             else None,
             "skipped_steps": lines[-1].get("skipped_steps"),
             "loss_scale": lines[-1].get("loss_scale")}
    for row in rows:
        if row["kind"] == "eval":
            found.update({"recall@20": row["recall@20"], "mrr@20": row["mrr@20"],
                          "events": row["events"]})
    return found


def _compared(reference, run):
    """Differences of a run from the reference, and whether they are small."""
    row = {"name": run["name"], "loss": None, "recall": None, "ok": False}
    if reference["error"] or run["error"]:
        return row
    theirs = dict(map(tuple, reference["loss_curve"]))
    shared = [(theirs[step], loss) for step, loss in run["loss_curve"] if step in theirs]
    row["loss"] = max(abs(a - b) / abs(a) for a, b in shared) if shared else None
    if "recall@20" in run and "recall@20" in reference:
        row["recall"] = abs(run["recall@20"] - reference["recall@20"])
    row["ok"] = (row["loss"] is not None and row["loss"] <= LOSS
                 and (row["recall"] is None or row["recall"] <= RECALL))
    return row


def summary(result):
    """Lines for a reader."""
    lines = ["%-28s %10s %10s %10s %10s" % ("run", "ms/step", "loss diff", "Recall@20",
                                            "overflows")]
    compared = {row["name"]: row for row in result["comparison"]}

    def text(value, form):
        return "-" if value is None else form % value

    for run in result["runs"]:
        if run["error"]:
            lines.append("%-28s %s" % (run["name"], run["error"]))
            continue
        row = compared.get(run["name"], {})
        lines.append("%-28s %10s %10s %10s %10s" % (
            run["name"], text(run["ms_per_step"], "%.3f"), text(row.get("loss"), "%.1e"),
            text(run.get("recall@20"), "%.4f"),
            text(run["skipped_steps"], "%d")))
    return lines + ["self-test: %s" % ("ok" if result["ok"] else "NOT OK")]

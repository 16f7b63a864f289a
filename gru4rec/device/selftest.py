"""Compare a device with the CPU on the bundled sample; the report is one JSON file.

Compared are loss curve, Recall, time per step and overflows. Every run is the real command in a
process of its own, because an NPU's session options hold for the whole process. There is no
dropout, whose masks differ between devices.
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
# The largest difference that still counts as "the same": of the mean loss relative, of Recall@20
# absolute.
LOSS, RECALL = 0.02, 0.01
TRAINING = ["--dropout", "0", "--epoch", "1", "--log_every", "100", "--compare_rules", "0"]


def plan(device):
    """The runs: list of (name, flags, whether to evaluate). The first is the reference."""
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
      device: "npu" | "gpu" | "cpu".
      out: path of the JSON file.
      more: flags added to every training, for example to make it smaller.
      runs: list as from `plan`; None: the plan of the device.
      seconds: after this time no further run is begun.
    Returns: dict as written; "ok" is the verdict.
    """
    end, done = time.monotonic() + seconds, []
    if runs is None:
        runs = plan(device)
    with tempfile.TemporaryDirectory(prefix="gru4rec-selftest-") as directory:
        for number, (name, flags, evaluated) in enumerate(runs):
            _log.info("self-test: %s", name)
            done.append(_run(name, flags + list(more), evaluated,
                             os.path.join(directory, str(number)), end - time.monotonic()))
    result = {"format": FORMAT, "device": device, "report": probe.report(device), "runs": done}
    result["comparison"] = [_compared(done[0], run) for run in done[1:]]
    result["ok"] = (not any(run["error"] for run in done)
                    and all(row["ok"] for row in result["comparison"]))
    with open(out, "w", encoding="utf-8") as file:
        file.write(json.dumps(result, indent=1, sort_keys=True) + "\n")
    return result


def _run(name, flags, evaluated, directory, seconds):
    """Train once, and evaluate if asked for.

    Returns: dict of what was measured; "error" is None if all went well.
    """
    started = time.monotonic()
    training = ["--train", "1"] + TRAINING + flags
    result = {"name": name, "command": "python -m gru4rec.main " + " ".join(training),
              "error": None}
    jobs = [training + ["--checkpoint_dir", directory]]
    if evaluated:
        jobs.append(["--train", "0", "--checkpoint_dir", directory, "--compare_rules", "0",
                     "--device", flags[flags.index("--device") + 1]])
    for job in jobs:
        left = seconds - (time.monotonic() - started)
        if left <= 0:
            return dict(result, error="no time was left for it")
        try:
            ended = subprocess.run([sys.executable, "-m", "gru4rec.main"] + job,
                                   env=probe.child_environment(), timeout=left,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, universal_newlines=True,
                                   errors="replace")
        except subprocess.TimeoutExpired:
            return dict(result, error="it took longer than the %.0f s that were left" % left)
        if ended.returncode:
            last = (ended.stderr.strip().splitlines() or ["it said nothing"])[-1]
            return dict(result, error="exit status %d: %s" % (ended.returncode, last[:500]))
    result.update(_measured(os.path.join(directory, Metrics.FILE)),
                  seconds=round(time.monotonic() - started, 1))
    return result


def _measured(path):
    """What a metrics.jsonl says: loss curve, median time per step, metrics, overflows.

    The first line is left out of the time per step: it holds the compilation.
    """
    with open(path, encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    steps = [row for row in rows if row["kind"] == "train"]
    seconds = sorted(row["seconds_per_step"] for row in steps[1:])
    measured = {"loss_curve": [[row["step"], row["loss"]] for row in steps],
                "ms_per_step": seconds[len(seconds) // 2] * 1e3 if seconds else None,
                "skipped_steps": steps[-1].get("skipped_steps"),
                "loss_scale": steps[-1].get("loss_scale")}
    for row in rows:
        if row["kind"] == "eval":
            measured.update({name: row[name] for name in ("recall@20", "mrr@20", "events")})
    return measured


def _compared(reference, run):
    """How much a run differs from the reference, and whether that counts as "the same"."""
    row = {"name": run["name"], "loss": None, "recall": None, "ok": False}
    if reference["error"] or run["error"]:
        return row
    expected = dict(map(tuple, reference["loss_curve"]))
    shared = [(expected[step], loss) for step, loss in run["loss_curve"] if step in expected]
    row["loss"] = max(abs(a - b) / abs(a) for a, b in shared) if shared else None
    if "recall@20" in run and "recall@20" in reference:
        row["recall"] = abs(run["recall@20"] - reference["recall@20"])
    row["ok"] = (row["loss"] is not None and row["loss"] <= LOSS
                 and (row["recall"] is None or row["recall"] <= RECALL))
    return row


def summary(result):
    """The result as lines of a table."""
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
            text(run.get("recall@20"), "%.4f"), text(run["skipped_steps"], "%d")))
    return lines + ["self-test: %s" % ("ok" if result["ok"] else "NOT OK")]

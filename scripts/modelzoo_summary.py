"""Write the summary of a training that scripts for the older Ascend port write.

    python scripts/modelzoo_summary.py LOGS SECONDS [flags of the training]

The summary has lines `Key = value` and the name <CaseName>.log; it is written beside the first log.
LOGS: one training log (--log_format modelzoo) for each device, separated by commas.
SECONDS: of the whole training. FPS: targets trained per second, summed over the devices, from the
last log line of each.
"""

import os
import platform
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from gru4rec import config  # noqa: E402

NETWORK = "GRU4Rec_for_TensorFlow"
PATTERNS = {"fps": re.compile(r"TimeHistory: ([\d.]+)"),
            "seconds": re.compile(r"Each Step npu time is: ([\d.]+)"),
            "loss": re.compile(r"Epoch \d+\tStep \d+\tlr: \S+\tloss: (\S+)")}


def last_values(path):
    """The last value of "fps", "seconds" and "loss" in a log, as text; "" if there is none."""
    values = dict.fromkeys(PATTERNS, "")
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            for name, pattern in PATTERNS.items():
                matched = pattern.match(line)
                if matched:
                    values[name] = matched.group(1)
    return values


def summary(logs, seconds, flags):
    """(name of the case, list of (key, value)) of a training; one log for each device."""
    options = config.parse(flags)
    values = [last_values(log) for log in logs]
    case = "%s_bs%d_%dp_acc" % (NETWORK, options.training.batch_size, len(logs))
    fps = ""
    if all(v["fps"] for v in values):
        fps = "%.2f" % sum(float(v["fps"]) for v in values)
    return case, [("Network", NETWORK), ("RankSize", len(logs)),
                  ("BatchSize", options.training.batch_size),
                  ("DeviceType", platform.machine()), ("CaseName", case), ("ActualFPS", fps),
                  ("TrainingTime", values[0]["seconds"]), ("TrainAccuracy", values[0]["loss"]),
                  ("ActualLoss", values[0]["loss"]), ("E2ETrainingTime", seconds)]


def main(argv):
    logs = argv[0].split(",")
    case, rows = summary(logs, argv[1], argv[2:])
    path = os.path.join(os.path.dirname(logs[0]), case + ".log")
    with open(path, "w", encoding="utf-8") as out:
        out.write("".join("%s = %s\n" % row for row in rows))
    sys.stderr.write("summary: %s\n" % path)


if __name__ == "__main__":
    main(sys.argv[1:])

"""Command: say what a device needs and what is missing. `python -m gru4rec.device --help`.

Exit status 0 if the device can be used, 1 if not, 2 for a wrong flag.
"""

import json
import logging
import sys
from dataclasses import dataclass

from gru4rec.command.flags import Command, flag
from gru4rec.command.kinds import whole
from gru4rec.command.process import exit_status, say, setup_logging


@dataclass(frozen=True)
class ProbeConfig:
    """What is looked at."""

    device: str = flag("npu", "the device to check", choices=("npu", "gpu", "cpu"))
    probe: int = flag(0, "1 (or no value) also runs one operation on the device, in a process of "
                         "its own", kind=whole, choices=(0, 1), const="1")
    selftest: int = flag(0, "1 (or no value) trains and evaluates on the device and on the CPU and "
                            "compares the results; takes at most five minutes",
                         kind=whole, choices=(0, 1), const="1")
    out: str = flag("gru4rec-selftest.json", "report of the self-test, to attach to an issue",
                    "file")


COMMAND = Command("python -m gru4rec.device",
                  "Say whether a device can be used, and what is missing.",
                  (("device", ProbeConfig),))


def main(argv=None):
    """Run the command; returns its exit status (command.process.exit_status)."""
    setup_logging(logging.WARNING)
    answer = []
    failure = exit_status(lambda: answer.append(_run(sys.argv[1:] if argv is None else argv)))
    return failure or answer[0]


def _run(argv):
    options, = COMMAND.parse(argv)
    from gru4rec import tf_compat
    tf_compat.setup()
    from gru4rec.device import probe
    report = probe.report(options.device)
    if report["usable"] and options.probe:
        report["probe"] = probe.one_op(options.device)
        report["usable"] = report["probe"]["ok"]
        if not report["usable"]:
            report["missing"] = report["probe"]["message"]
    say(json.dumps(report, indent=1, sort_keys=True))
    if report["missing"]:
        sys.stderr.write("not usable: %s\n" % report["missing"])
    if not (report["usable"] and options.selftest):
        return 0 if report["usable"] else 1
    from gru4rec.device import selftest
    logging.getLogger("gru4rec").setLevel(logging.INFO)
    result = selftest.selftest(options.device, options.out)
    for line in selftest.summary(result):
        say(line)
    say("report: %s" % options.out)
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())

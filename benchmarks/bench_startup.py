"""Time from the command to its first training step, and that of `import tensorflow` beside it.

Cases, each a process of its own, on the bundled sample and with files in memory (one round runs
before the timing):
  import      from the command to the end of `import tensorflow`
  first_step  from the training command to the line of its first step
  graph       the same with --xla off: what is left without a compilation
  evaluate    from the evaluation command to its last line, for a model of one epoch
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time

import common

CASES = ("import", "first_step", "graph", "evaluate")


def until(words, begin, cwd=None):
    """Seconds until a command writes a line that begins with `begin`; the command is then ended."""
    with tempfile.TemporaryFile("w+") as errors:
        start = time.perf_counter()
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, cwd=cwd,
                                   universal_newlines=True)
        came = any(line.startswith(begin) for line in process.stdout)
        seconds = time.perf_counter() - start
        process.terminate()
        process.communicate()
        if not came:
            errors.seek(0)
            raise RuntimeError("%s ended without a line %r: %s"
                               % (words[1:], begin, errors.read()[-500:]))
    return seconds


def command(args, directory, *flags):
    """The words of a gru4rec command."""
    return [sys.executable, "-m", "gru4rec.main", "--checkpoint_dir", directory, "--device",
            args.device] + list(flags)


def timers(args, directory):
    """dict case -> function () -> seconds."""
    model, scratch = os.path.join(directory, "model"), os.path.join(directory, "scratch")

    def first_step(*flags):
        shutil.rmtree(scratch, ignore_errors=True)
        return until(command(args, scratch, *flags), "Epoch 0\tStep 1\t", common.ROOT)

    if "evaluate" in args.cases:
        subprocess.check_call(command(args, model, "--epoch", "1"), cwd=common.ROOT,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return {"import": lambda: until([sys.executable, "-c",
                                     "import tensorflow; print('imported', flush=True)"],
                                    "imported"),
            "first_step": first_step, "graph": lambda: first_step("--xla", "off"),
            "evaluate": lambda: until(command(args, model, "--train", "0"), "sequential rules",
                                      common.ROOT)}


def measure(args):
    """Summaries of the seconds of each case, and of those beyond the import in the same round."""
    directory = tempfile.mkdtemp()
    try:
        every = timers(args, directory)
        chosen = {name: every[name] for name in args.cases}
        if not args.quick:
            for timer in chosen.values():  # so that files are in memory
                timer()
        rounds = common.interleaved(chosen, args.repeats)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    beyond = {}
    if "import" in rounds:
        for name in set(rounds) - {"import"}:
            beyond[name] = common.summary([whole - part for whole, part
                                           in zip(rounds[name], rounds["import"])])
    return {"seconds": {name: common.summary(values) for name, values in rounds.items()},
            "beyond_import": beyond}


def show(results):
    """Print the results of every case."""
    for label, rows in (("", results["seconds"]), (" - import", results["beyond_import"])):
        for name, row in sorted(rows.items()):
            print("  %-20s %8.2f s (min %.2f, max %.2f)"
                  % (name + label, row["median"], row["min"], row["max"]))
    sys.stdout.flush()


def main():
    parser = common.parser(__doc__)
    parser.add_argument("--cases", default=",".join(CASES), help="which to run [%(default)s]")
    parser.add_argument("--device", default="cpu", help="device of the commands [%(default)s]")
    args = parser.parse_args()
    args.cases = common.names(parser, "--cases", args.cases, CASES)
    common.check_repeats(args)
    results = measure(args)
    show(results)
    import tensorflow  # noqa: F401 the report has the versions of what is imported
    common.write(common.report(args, results), args.json)


if __name__ == "__main__":
    main()

"""Kill a training with SIGKILL at random moments, resume it, and compare it with a whole one.

    python scripts/kill_test.py --kills 100 [--seed 0] [--fork 1] [-- FLAG ...]

Each resumed run is killed again, until one reaches its end. Then its weights and rows of
metrics.jsonl must be equal to those of an uninterrupted run, which saves at other moments. If kills
are left, another run begins. More than half of the kills wait until a save has begun. FLAGs go to
both trainings, for example -- --engine plain. With --fork 1 the processes are forks of one that has
imported TensorFlow, so that a kill takes tenths of a second; without it each process is the real
command. Exit status 1 if anything differs.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from gru4rec.data import synthetic  # noqa: E402

SMALL = ["--size", "8", "--batch_size", "4", "--xla", "off", "--log_every", "50", "--epoch", "4",
         "--device", "cpu", "--train_path", "clicks.tsv"]
OFTEN = ["--save_every", "60", "--keep", "0", "--resume", "1"]
TIMES = ("seconds", "seconds_per_step", "events_per_s")  # values that differ in every run


def start_fork(flags, log):
    """Fork a process that runs the command; returns its id."""
    pid = os.fork()
    if pid:
        return pid
    status = 99
    try:
        with open(log, "ab") as out:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
        from gru4rec import main
        status = main.main(flags)
    finally:
        os._exit(status)


def start_command(flags, log):
    """Start the real command; returns its process id."""
    with open(log, "ab") as out:
        return subprocess.Popen([sys.executable, "-m", "gru4rec.main"] + flags, stdout=out,
                                stderr=out, env=dict(os.environ, PYTHONPATH=ROOT)).pid


def is_saving(directory):
    """Whether a save is under way: it writes files that begin with .tmp- and renames them."""
    try:
        return any(name.startswith(".tmp-") for name in os.listdir(directory))
    except OSError:
        return False


def wait(pid, until=None):
    """Wait for a process: its exit status (negative: the signal), None if `until()` came first."""
    while True:
        done, status = os.waitpid(pid, os.WNOHANG if until else 0)
        if done:
            return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        if until():
            return None


def kill_once(pid, directory, chance, seconds):
    """Kill a process at a random moment.

    Args:
      pid, directory: of the process, and of its checkpoints.
      chance: random.Random.
      seconds: about how long a process runs.
    Returns: its exit status, or None if it was killed.
    """
    in_save, skip = chance.random() < 0.6, chance.randrange(4)
    # Starting is the larger part of a small run, so late moments are more likely than early ones.
    deadline = time.monotonic() + seconds * chance.random() ** 0.5
    state = {"saves": 0, "saving": False}

    def moment():
        time.sleep(0.0005)
        if not in_save:
            return time.monotonic() >= deadline
        saving = is_saving(directory)
        state["saves"] += saving and not state["saving"]
        state["saving"] = saving
        return saving and state["saves"] > skip

    status = wait(pid, moment)
    if status is None:
        if in_save:
            time.sleep(chance.uniform(0, 0.015))
        os.kill(pid, signal.SIGKILL)
        status = wait(pid)
    return None if status == -signal.SIGKILL else status


def final(directory):
    """What must be equal at the end of two runs: dict file name or row number -> content.

    These are tensors and vocabulary of every epoch, and rows without their times. With --refit 1
    also those of the first part, which is in a directory previous-<N> that holds checkpoints.
    """
    contents = {}
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        if name.startswith("previous-") and any(part.startswith("gru-model")
                                                for part in os.listdir(path)):
            contents.update(("first part: " + key, value) for key, value in final(path).items())
        elif name.startswith("gru-model") and not name.endswith(".json") or name.endswith(".npz"):
            with open(path, "rb") as file:
                contents[name] = file.read()
    with open(os.path.join(directory, "metrics.jsonl")) as rows:
        for number, row in enumerate(map(json.loads, rows)):
            contents["row %d" % number] = {key: value for key, value in row.items()
                                           if key not in TIMES}
    return contents


def chain(start, flags, directory, chance, kills, count, seconds):
    """Start and kill until a run reaches its end; `count` may reach at most `kills` kills.

    Raises: SystemExit if a process ends in any other way.
    """
    log, flags = directory + ".log", flags + OFTEN + ["--checkpoint_dir", directory]
    while True:
        pid = start(flags, log)
        status = kill_once(pid, directory, chance, seconds) if count["kills"] < kills else wait(pid)
        if status is not None:
            if status:
                with open(log) as text:
                    raise SystemExit("%sexit status %d" % (text.read()[-3000:], status))
            return
        count["kills"] += 1
        count["in a save"] += is_saving(directory)
        if os.path.isdir(directory):
            saved = [name for name in os.listdir(directory) if name.startswith("gru-model")
                     and name.endswith(".json")]
            count["before the first checkpoint"] += not saved


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sessions", type=int, default=300,
                        help="sessions of the training file [default: 300]")
    parser.add_argument("--fork", type=int, choices=(0, 1), default=0)
    parser.add_argument("flags", nargs="*", help="flags of the trainings, after --")
    args = parser.parse_args(argv)
    chance, count, started = random.Random(args.seed), Counter(), time.monotonic()
    if args.fork:
        # imported once, before the forks
        from gru4rec import tf_compat
        from gru4rec.evaluation import evaluator  # noqa: F401
        from gru4rec.training import loop  # noqa: F401
        tf_compat.setup()
    start = start_fork if args.fork else start_command
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        frame = synthetic.markov_sessions(args.sessions, 40, 1, noise=0.4)
        frame.to_csv("clicks.tsv", sep="\t", index=False)
        flags, before = SMALL + args.flags, time.monotonic()
        if wait(start(flags + ["--checkpoint_dir", "whole"], "whole.log")):
            with open("whole.log") as text:
                raise SystemExit(text.read())
        seconds, whole = time.monotonic() - before, final("whole")
        while count["kills"] < args.kills:
            count["runs"] += 1
            directory = "run-%d" % count["runs"]
            chain(start, flags, directory, chance, args.kills, count, seconds)
            resumed = final(directory)
            for key in sorted(set(whole) | set(resumed)):
                if whole.get(key) != resumed.get(key):
                    raise SystemExit("%s of %s differs after %d kills"
                                     % (key, directory, count["kills"]))
            count["files and rows equal"] += len(whole)
        os.chdir(ROOT)
    print("%d kills survived: %d in a save, %d before the first checkpoint; %d runs got to their "
          "end; %d files and rows equal those of the uninterrupted run, bit for bit; nothing lost "
          "(%.0f s)" % (count["kills"], count["in a save"], count["before the first checkpoint"],
                        count["runs"], count["files and rows equal"], time.monotonic() - started))
    return 0


if __name__ == "__main__":
    sys.exit(main())

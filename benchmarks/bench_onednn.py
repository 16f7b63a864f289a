"""Whether TensorFlow's oneDNN kernels change speed or results: TF_ENABLE_ONEDNN_OPTS 1 against 0.

Every case is run by two processes of the same TensorFlow, one with each value; they take turns
(A B B A ...), and the one that waits for its turn sleeps. Reported: the ratio seconds with 0 /
seconds with 1 of every round and the median of the ratios (above 1: oneDNN is faster), and whether
the results are the same bits: the losses of the first steps, or the ranks of an evaluation.

Cases: train_<flags> is a stretch of training steps, evaluate_<flags> a whole evaluation, both with
the catalogue of rsc15_64.
"""

import argparse
import json
import os
import subprocess
import sys

import common
import numpy as np

CASES = {"train": [], "train_fast": ["--preset", "fast"], "train_2048": ["--n_sample", "2048"],
         "train_xla_off": ["--xla", "off"],
         "train_2048_xla_off": ["--n_sample", "2048", "--xla", "off"],
         "train_plain": ["--engine", "plain"], "evaluate": [], "evaluate_xla_off": ["--xla", "off"]}
NAMES = {"off": "0", "on": "1"}
COMPARED_STEPS = 100


class Training:
    """A stretch of training steps."""

    def __init__(self, flags, args):
        from bench_train import RUN_STEPS, Runner

        from gru4rec import config, device, engine
        from gru4rec.data import schedule
        from gru4rec.engine.base import chunk_of
        from gru4rec.model import state
        cfg = config.parse(flags)
        lanes = cfg.training.batch_size
        items, offsets = common.zipf_sessions(args.steps * lanes, args.items, args.seed)
        epoch, arrays = schedule.build(items, offsets, lanes), state.initial(cfg, args.items)
        support = np.maximum(np.bincount(items, minlength=args.items), 1)
        made = engine.create(cfg, device.choose("cpu"), arrays, RUN_STEPS, support)
        self.found, at, stop = [], 0, min(args.compared_steps, epoch.num_steps)
        while at < stop:
            until = min(at + made.steps_per_run, stop)
            self.found += [float(loss) for loss in made.run(chunk_of(epoch, at, until, 0))]
            at = until
        self._runner = Runner(made, epoch)
        self._runner.prepare(args.seconds)

    def seconds(self):
        """Of one step."""
        return self._runner.milliseconds() / 1e3


class Evaluation:
    """A whole evaluation."""

    def __init__(self, flags, args):
        from gru4rec import config, device
        from gru4rec.data import sessions
        from gru4rec.evaluation import evaluator
        from gru4rec.model import state
        items, offsets = common.zipf_sessions(args.targets, args.items, args.seed)
        count = len(offsets) - 1
        self._sessions = sessions.EvalSessions(items, offsets, np.zeros(count, bool), 0,
                                               np.arange(count))
        cfg = config.parse(flags)
        chosen, arrays = device.choose("cpu", job="infer"), state.initial(cfg, args.items)
        self._evaluator = evaluator.Evaluator(cfg, chosen, arrays, 512, xla=cfg.run.xla != "off")
        ranked = self._evaluator.run(self._sessions)
        self.found = np.stack([ranked.greater, ranked.greater_equal]).ravel().tolist()

    def seconds(self):
        """Of one run."""
        return common.seconds_of(lambda: self._evaluator.run(self._sessions))


class Worker:
    """A case in a process of its own; one JSON line for each request and each answer."""

    def __init__(self, case, value, args):
        words = [sys.executable, os.path.abspath(__file__), "--worker", case]
        for name in ("items", "targets", "steps", "compared_steps", "seconds", "seed"):
            words += ["--" + name, str(getattr(args, name))]
        env = dict(os.environ, TF_ENABLE_ONEDNN_OPTS=value)
        self._process = subprocess.Popen(words, env=env, stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, universal_newlines=True)
        self.found = self._answer()

    def seconds(self):
        self._process.stdin.write("time\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self):
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a worker ended with status %s" % self._process.wait())
        return json.loads(line)

    def close(self):
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


def serve(args):
    """The loop of a Worker's process."""
    out, sys.stdout = sys.stdout, sys.stderr  # only answers go to the pipe
    from gru4rec import tf_compat
    tf_compat.setup()
    case = (Training if args.worker.startswith("train") else Evaluation)(CASES[args.worker], args)
    out.write(json.dumps(case.found) + "\n")
    out.flush()
    for _ in sys.stdin:  # a line for each turn
        out.write(json.dumps(case.seconds()) + "\n")
        out.flush()


def measure(case, args):
    """One case: a dict for the report."""
    workers = {name: Worker(case, value, args) for name, value in NAMES.items()}
    for worker in workers.values():
        worker.seconds()
    seconds = {name: [] for name in workers}
    for turn in range(args.repeats):
        for name in sorted(workers, reverse=turn % 2 == 1):
            seconds[name].append(workers[name].seconds())
    for worker in workers.values():
        worker.close()
    ratios = [off / on for off, on in zip(seconds["off"], seconds["on"])]
    return {"flags": " ".join(CASES[case]),
            "seconds": {name: common.summary(row) for name, row in seconds.items()},
            "off/on": common.summary(ratios),
            "results": compare(workers["off"].found, workers["on"].found)}


def compare(off, on):
    """{"compared", "different", "largest"}: how many numbers, how many of them differ, and the
    largest difference over the mean size."""
    off, on = np.asarray(off, np.float64), np.asarray(on, np.float64)
    return {"compared": len(off), "different": int((off != on).sum()),
            "largest": float(np.abs(off - on).max() / max(np.abs(on).mean(), 1e-30))}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    common.add_flags(parser, repeats=9)
    parser.add_argument("--cases", default=",".join(CASES), help="some of %(default)s")
    parser.add_argument("--items", type=int, default=17376, help="catalogue [%(default)s]")
    parser.add_argument("--targets", type=int, default=10000,
                        help="targets of an evaluation [%(default)s]")
    parser.add_argument("--steps", type=int, default=2000,
                        help="steps of the epoch that is gone round [%(default)s]")
    parser.add_argument("--compared_steps", type=int, default=COMPARED_STEPS,
                        help="steps whose losses are compared [%(default)s]")
    parser.add_argument("--seconds", type=float, default=1.0,
                        help="length of a timed stretch of training [%(default)s]")
    parser.add_argument("--worker", choices=sorted(CASES), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return serve(args)
    cases = args.cases.split(",")
    if not set(cases) <= set(CASES):
        parser.error("--cases %s; use some of %s" % (args.cases, ",".join(CASES)))
    common.check_repeats(args)
    if args.quick:
        args.items, args.targets, args.steps = 500, 300, 50
        args.seconds, args.compared_steps = 0.01, 4
    del args.worker
    from gru4rec.tf_compat import tf
    found = {}
    for case in cases:
        row = found[case] = measure(case, args)
        ratio, results = row["off/on"], row["results"]
        print("%-20s off/on %.3f (min %.3f, max %.3f); %d of %d results differ, by %.1e at most" % (
            case, ratio["median"], ratio["min"], ratio["max"], results["different"],
            results["compared"], results["largest"]))
        sys.stdout.flush()
    common.write(common.report(args, found, tensorflow=tf.__version__), args.json)


if __name__ == "__main__":
    main()

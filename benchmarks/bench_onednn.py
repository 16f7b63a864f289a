"""Whether TensorFlow's oneDNN kernels change speed or results: TF_ENABLE_ONEDNN_OPTS 1 against 0.

Each case is run by two processes of the same TensorFlow, one with each value. They take turns (A B
B A ...), and the one that waits sleeps. The report has the ratio seconds with 0 / seconds with 1 of
every round and the median of these ratios (above 1: oneDNN is faster), and whether the results are
the same bits: the losses of the first steps, or the ranks of an evaluation.

Cases: train_<flags> is a stretch of training steps, evaluate_<flags> a whole evaluation, both with
a catalogue of the size of rsc15_64.
"""

import argparse
import os
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
        built = engine.create(cfg, device.choose("cpu"), arrays, RUN_STEPS, support)
        self.computed, at, stop = [], 0, min(args.compared_steps, epoch.num_steps)
        while at < stop:
            until = min(at + built.steps_per_run, stop)
            self.computed += [float(loss) for loss in built.run(chunk_of(epoch, at, until, 0))]
            at = until
        self._runner = Runner(built, epoch)
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
        self.computed = np.stack([ranked.greater, ranked.greater_equal]).ravel().tolist()

    def seconds(self):
        """Of one run."""
        return common.seconds_of(lambda: self._evaluator.run(self._sessions))


def child(case, value, args):
    """common.Child that runs a case; its first answer is what the case computed."""
    words = [sys.executable, os.path.abspath(__file__), "--worker", case]
    for name in ("items", "targets", "steps", "compared_steps", "seconds", "seed"):
        words += ["--" + name, str(getattr(args, name))]
    return common.Child(words, TF_ENABLE_ONEDNN_OPTS=value)


def serve(args):
    """The process of a `child`: the results of its case, then the seconds of each turn."""
    put = common.answers()
    from gru4rec import tf_compat
    tf_compat.setup()
    kind = Training if args.worker.startswith("train") else Evaluation
    case = kind(CASES[args.worker], args)
    put(case.computed)
    for _ in sys.stdin:  # a line for each turn
        put(case.seconds())


def measure(case, args):
    """One case: a dict for the report."""
    children, computed = {}, {}
    for name, value in NAMES.items():  # one after the other: each settles its number of steps
        children[name] = child(case, value, args)
        computed[name] = children[name].answer()
    for process in children.values():
        process.ask("time")  # warm-up
    seconds = {name: [] for name in children}
    for turn in range(args.repeats):
        for name in sorted(children, reverse=turn % 2 == 1):
            seconds[name].append(children[name].ask("time"))
    for process in children.values():
        process.close()
    ratios = [off / on for off, on in zip(seconds["off"], seconds["on"])]
    return {"flags": " ".join(CASES[case]),
            "seconds": {name: common.summary(row) for name, row in seconds.items()},
            "off/on": common.summary(ratios),
            "results": compare(computed["off"], computed["on"])}


def compare(off, on):
    """How much two lists of numbers differ.

    Returns: {"compared": how many there are, "different": how many differ, "largest": the largest
      difference, divided by the mean size}.
    """
    off, on = np.asarray(off, np.float64), np.asarray(on, np.float64)
    return {"compared": len(off), "different": int((off != on).sum()),
            "largest": float(np.abs(off - on).max() / max(np.abs(on).mean(), 1e-30))}


def main():
    parser = common.parser(__doc__, repeats=9)
    parser.add_argument("--cases", default=",".join(CASES), help="some of %(default)s")
    parser.add_argument("--items", type=int, default=17376, help="catalogue [%(default)s]")
    parser.add_argument("--targets", type=int, default=10000,
                        help="targets of an evaluation [%(default)s]")
    parser.add_argument("--steps", type=int, default=2000,
                        help="steps of the epoch, which is repeated [%(default)s]")
    parser.add_argument("--compared_steps", type=int, default=COMPARED_STEPS,
                        help="steps whose losses are compared [%(default)s]")
    parser.add_argument("--seconds", type=float, default=1.0,
                        help="length of a timed stretch of training [%(default)s]")
    parser.add_argument("--worker", choices=sorted(CASES), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return serve(args)
    cases = common.names(parser, "--cases", args.cases, CASES)
    common.check_repeats(args)
    if args.quick:
        args.items, args.targets, args.steps = 500, 300, 50
        args.seconds, args.compared_steps = 0.01, 4
    del args.worker
    from gru4rec.tf_compat import tf
    reports = {}
    for case in cases:
        row = reports[case] = measure(case, args)
        ratio, results = row["off/on"], row["results"]
        print("%-20s off/on %.3f (min %.3f, max %.3f); %d of %d results differ, by %.1e at most" % (
            case, ratio["median"], ratio["min"], ratio["max"], results["different"],
            results["compared"], results["largest"]))
        sys.stdout.flush()
    common.write(common.report(args, reports, tensorflow=tf.__version__), args.json)


if __name__ == "__main__":
    main()

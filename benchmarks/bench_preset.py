"""Seconds from the command to a trained model with a preset, and the metrics of the model.

Each repeat is the pair of commands that a user would type, in processes of their own, with a
different seed. The first command is timed from its start to its end; this includes Python,
TensorFlow, loading, compiling, training and the checkpoint.
"""

import json
import os
import subprocess
import sys
import tempfile

import common


def run(args, seed):
    """(seconds of the training command, dict of the evaluation's row)."""
    with tempfile.TemporaryDirectory() as directory:
        where = ["--checkpoint_dir", directory, "--device", "cpu"]
        flags = where + ["--preset", args.preset, "--seed", str(seed)]
        if args.train_path:
            flags += ["--train_path", args.train_path, "--test_path", args.test_path]
        if args.quick:
            flags += ["--epoch", "1"]
        seconds = common.seconds_of(lambda: _main(flags))
        _main(where + ["--train", "0", "--compare_rules", "0"])
        with open(os.path.join(directory, "metrics.jsonl"), encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
    return seconds, [row for row in rows if row["kind"] == "eval"][-1]


def _main(flags):
    subprocess.run([sys.executable, "-m", "gru4rec.main"] + flags, check=True, cwd=common.ROOT,
                   stdout=subprocess.DEVNULL)


def main():
    parser = common.parser(__doc__, repeats=5)
    parser.add_argument("--preset", default="fast", help="name of the preset [%(default)s]")
    parser.add_argument("--train_path",
                        help="events to train on; needs --test_path [the bundled sample]")
    parser.add_argument("--test_path", help="events to evaluate on")
    args = parser.parse_args()
    if bool(args.train_path) != bool(args.test_path):
        parser.error("--train_path and --test_path need each other")
    common.check_repeats(args)
    args.train_path, args.test_path = [path and os.path.abspath(path)
                                       for path in (args.train_path, args.test_path)]
    runs = [run(args, args.seed + at) for at in range(args.repeats)]
    results = {"seconds": common.summary([seconds for seconds, _ in runs])}
    for name in ("recall@20", "mrr@20"):
        results[name] = common.summary([row[name] for _, row in runs])
    for name, row in results.items():
        print("%-10s %8.4f (min %.4f, max %.4f)" % (name, row["median"], row["min"], row["max"]))
    common.write(common.report(args, results), args.json)


if __name__ == "__main__":
    main()

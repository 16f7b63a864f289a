"""Seconds from the command to a trained model with a preset, and what the model is worth on the
test file.

Each repeat is the pair of commands a user would type, in processes of their own, with a seed of its
own: the first is timed from its start to its end, so Python, TensorFlow, loading, compiling,
training and the checkpoint are in it.
"""

import argparse
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
        files = ["--train_path", args.train_path, "--test_path",
                 args.test_path] if args.train_path else []
        short = ["--epoch", "1"] if args.quick else []
        seconds = common.seconds_of(lambda: _main(where
                                                  + ["--preset", args.preset, "--seed",
                                                     str(seed)] + files + short))
        _main(where + ["--train", "0", "--compare_rules", "0"])
        with open(os.path.join(directory, "metrics.jsonl"), encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
    return seconds, [row for row in rows if row["kind"] == "eval"][-1]


def _main(flags):
    subprocess.run([sys.executable, "-m", "gru4rec.main"] + flags, check=True, cwd=common.ROOT,
                   stdout=subprocess.DEVNULL)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    common.add_flags(parser, repeats=5)
    parser.add_argument("--preset", default="fast", help="its name [%(default)s]")
    parser.add_argument("--train_path",
                        help="events to train on, with --test_path; else the bundled sample")
    parser.add_argument("--test_path", help="events to evaluate on")
    args = parser.parse_args()
    if bool(args.train_path) != bool(args.test_path):
        parser.error("--train_path and --test_path need each other")
    common.check_repeats(args)
    args.train_path, args.test_path = [path and os.path.abspath(path)
                                       for path in (args.train_path, args.test_path)]
    found = [run(args, args.seed + at) for at in range(args.repeats)]
    results = {"seconds": common.summary([seconds for seconds, _ in found])}
    for name in ("recall@20", "mrr@20"):
        results[name] = common.summary([row[name] for _, row in found])
    for name, row in results.items():
        print("%-10s %8.4f (min %.4f, max %.4f)" % (name, row["median"], row["min"], row["max"]))
    common.write(common.report(args, results), args.json)


if __name__ == "__main__":
    main()

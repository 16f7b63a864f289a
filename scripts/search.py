"""Search for the flags of a preset with Optuna, on sessions held out of the training file.

    pip install -e ".[cpu,search]"
    python scripts/search.py --train_path train.tsv.gz --log search.jsonl --trials 20

The test file is never read. Each trial trains one model with `python -m gru4rec.main
--valid_fraction ...` and gets the score of its best epoch: recall@20 / 0.7 + mrr@20 / 0.3 on the
held-out sessions. One JSON line for each finished trial is added to --log: its flags, its score and
the values of every epoch. An existing log is continued: the sampler learns from its trials, and
they are not run again. The trials in --start (a JSON list of {flag: value}) are run first.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import optuna

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FIXED = {"--loss": "cross-entropy", "--embedding": "shared", "--optimizer": "adagrad",
         "--session_order": "time", "--decay": 1, "--logq": 1, "--cell": "gru",
         "--score": "cosine"}
SPACE = {
    "size": optuna.distributions.CategoricalDistribution([100, 128, 160, 192, 256, 384]),
    "batch_size": optuna.distributions.CategoricalDistribution([32, 48, 64, 96]),
    "lr": optuna.distributions.FloatDistribution(0.03, 0.3, log=True),
    "dropout": optuna.distributions.FloatDistribution(0.0, 0.6, step=0.05),
    "embed_dropout": optuna.distributions.FloatDistribution(0.0, 0.6, step=0.05),
    "n_sample": optuna.distributions.CategoricalDistribution([512, 1024, 2048]),
    "sample_alpha": optuna.distributions.FloatDistribution(0.25, 0.75, step=0.05),
    "score_scale": optuna.distributions.FloatDistribution(8.0, 20.0, step=1.0),
    "label_smoothing": optuna.distributions.FloatDistribution(0.0, 0.3, step=0.05),
}


def score(row):
    """One number for a row of kind "valid"."""
    return row["recall@20"] / 0.7 + row["mrr@20"] / 0.3


def run(params, args):
    """Train one trial; returns its rows of kind "valid", one per epoch."""
    with tempfile.TemporaryDirectory() as directory:
        flags = {"--" + name: value for name, value in params.items()}
        flags.update(FIXED)
        flags.update({"--train_path": args.train_path, "--checkpoint_dir": directory,
                      "--epoch": args.epoch, "--valid_fraction": args.valid_fraction,
                      "--patience": args.patience, "--seed": args.seed, "--log_every": 10 ** 9})
        command = [sys.executable, "-m", "gru4rec.main"]
        command += [str(part) for item in flags.items() for part in item]
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        with open(os.path.join(directory, "metrics.jsonl"), encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
    return [row for row in rows if row["kind"] == "valid"]


def outcome(rows):
    """Best epoch of rows of kind "valid", its score, and the metrics of every epoch."""
    best = max(range(len(rows)), key=lambda i: score(rows[i]))
    return {"best_epoch": best, "score": score(rows[best]),
            "epochs": [{name: row[name] for name in ("recall@20", "mrr@20")} for row in rows]}


def read_log(path):
    """Finished trials of a log; only those with the same FIXED flags."""
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        return [trial for trial in map(json.loads, file) if trial["fixed"] == FIXED]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train_path", required=True)
    parser.add_argument("--log", required=True, help="JSON lines, one per trial")
    parser.add_argument("--trials", type=int, default=20, help="trials to run now")
    parser.add_argument("--start", help="JSON file: list of {flag: value} to try first")
    parser.add_argument("--epoch", type=int, default=12)
    parser.add_argument("--patience", type=int, default=2)
    parser.add_argument("--valid_fraction", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="trials side by side")
    args = parser.parse_args(argv)
    args.train_path = os.path.abspath(args.train_path)

    sampler = optuna.samplers.TPESampler(seed=args.seed, constant_liar=True)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for trial in read_log(args.log):
        study.add_trial(optuna.trial.create_trial(params=trial["params"], distributions=SPACE,
                                                  value=trial["score"]))
    if args.start:
        with open(args.start, encoding="utf-8") as file:
            for params in json.load(file):
                study.enqueue_trial(params, skip_if_exists=True)

    def one_trial(_):
        trial = study.ask(SPACE)
        try:
            line = dict(outcome(run(trial.params, args)), params=trial.params, fixed=FIXED,
                        seed=args.seed, valid_fraction=args.valid_fraction)
        except subprocess.CalledProcessError as error:
            logging.warning("trial %d failed with status %d: %s", trial.number, error.returncode,
                            trial.params)
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            return
        with open(args.log, "a", encoding="utf-8") as out:
            out.write(json.dumps(line, sort_keys=True) + "\n")
        study.tell(trial, line["score"])

    with ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(one_trial, range(args.trials)))
    print("best: %.4f %s" % (study.best_value, json.dumps(study.best_params)))


if __name__ == "__main__":
    main()

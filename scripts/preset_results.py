"""Train and evaluate presets with several seeds; write mean, spread and intervals as JSON.

    python scripts/preset_results.py rsc15 rsc15-gru --train_path $REALDATA/rsc15_64/train.tsv.gz \\
        --test_path $REALDATA/rsc15_64/test.tsv.gz --out docs/results/rsc15_64_presets.json

Each run is the pair of commands that a user would type. The interval is the 95 % bootstrap over the
sessions of the first seed's run. Results of other presets that are already in --out are kept. The
table of docs/evidence/results.md is printed at the end. Run it with the Python that is measured.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [ROOT, os.path.join(ROOT, "scripts")]

import numpy as np  # noqa: E402
import record_results  # noqa: E402

from gru4rec.evaluation import bootstrap, ranks_file  # noqa: E402

CUT_OFF = 20


def run(preset, seed, args):
    """Train and evaluate one seed.

    Returns: dict: metrics and intervals for both treatments of unknown items, seconds per epoch.
    """
    with tempfile.TemporaryDirectory() as directory:
        where = ["--checkpoint_dir", directory, "--device", "cpu"]
        _main(where + ["--preset", preset, "--seed", str(seed), "--train_path", args.train_path,
                       "--test_path", args.test_path])
        result = {"seed": seed}
        for unknown in ("drop", "miss"):
            ranks = os.path.join(directory, unknown + ".parquet")
            _main(where + ["--train", "0", "--unknown", unknown, "--cut_off", str(CUT_OFF),
                           "--ranks_out", ranks])
            result[unknown] = _interval(ranks)
        with open(os.path.join(directory, "metrics.jsonl"), encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
    for row in rows:
        if row["kind"] == "eval":
            values = result[row["unknown"]]
            for name in ("recall@20", "mrr@20", "rules_recall@20", "rules_mrr@20", "events"):
                values[name] = row[name]
            assert abs(values["recall@20"] - values.pop("recall_of_ranks")) < 1e-9
    result["epoch_seconds"] = [round(row["seconds"], 2) for row in rows if row["kind"] == "epoch"]
    return result


def _main(flags):
    subprocess.run([sys.executable, "-m", "gru4rec.main"] + flags, check=True, cwd=ROOT,
                   stdout=subprocess.DEVNULL)


def _interval(path):
    frame = ranks_file.read(path)
    # Compared with a model that finds nothing, so the differences are the metrics themselves.
    both = frame.rename(columns={"rank": "rank_a"}).assign(rank_b=np.inf)
    recall, mrr = bootstrap.differences(both, (CUT_OFF,), samples=2000, seed=0)
    return {"recall_interval": [recall.low, recall.high], "mrr_interval": [mrr.low, mrr.high],
            "recall_of_ranks": recall.first}


def summary(runs):
    """Mean, lowest and highest value of each metric over the seeds, by treatment of unknowns."""
    out = {}
    for unknown in ("drop", "miss"):
        for name in ("recall@20", "mrr@20"):
            values = [r[unknown][name] for r in runs]
            out["%s %s" % (unknown, name)] = {"mean": float(np.mean(values)), "min": min(values),
                                              "max": max(values)}
    return out


def table(presets):
    """The "presets" of the JSON as Markdown: a line for each preset and treatment of unknowns."""
    lines = ["| preset | protocol | events | Recall@20, mean | lowest to highest | 95 % of "
             "sessions | MRR@20, mean | lowest to highest | 95 % of sessions |",
             "|---|---|---|---|---|---|---|---|---|"]
    for name, preset in presets.items():
        for unknown in ("drop", "miss"):
            first = preset["runs"][0][unknown]
            cells = ["`%s`" % name, "`%s`" % unknown, "{:,}".format(first["events"])]
            for metric in ("recall", "mrr"):
                value = preset["summary"]["%s %s@20" % (unknown, metric)]
                cells += ["%.4f" % value["mean"], "%.4f to %.4f" % (value["min"], value["max"]),
                          "%.4f to %.4f" % tuple(first[metric + "_interval"])]
            lines.append("| %s |" % " | ".join(cells))
    return "\n".join(lines)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="+")
    parser.add_argument("--train_path", required=True)
    parser.add_argument("--test_path", required=True)
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0, 1, ...")
    parser.add_argument("--jobs", type=int, default=1,
                        help="runs side by side; their times are then no benchmark")
    parser.add_argument("--out", required=True)
    args = parser.parse_args(argv)
    record = {"presets": {}}
    if os.path.exists(args.out):
        with open(args.out, encoding="utf-8") as file:
            record = json.load(file)
    todo = [(preset, seed) for preset in args.presets for seed in range(args.seeds)]
    with ThreadPoolExecutor(args.jobs) as pool:
        runs = list(pool.map(lambda job: run(job[0], job[1], args), todo))
    for preset in args.presets:
        of_preset = [result for (name, _), result in zip(todo, runs) if name == preset]
        commands = ["python -m gru4rec.main --preset %s --seed SEED --train_path "
                    "$REALDATA/rsc15_64/train.tsv.gz --test_path $REALDATA/rsc15_64/test.tsv.gz"
                    % preset,
                    "python -m gru4rec.main --train 0 --unknown UNKNOWN --cut_off 20 "
                    "--ranks_out RANKS.parquet"]
        record["presets"][preset] = dict(
            record_results.origin(), runs_side_by_side=args.jobs, runs=of_preset,
            summary=summary(of_preset), commands=commands)
        record_results.write(args.out, record)
    print(table(record["presets"]))


if __name__ == "__main__":
    main()

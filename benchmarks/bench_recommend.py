"""Sessions per second of recommending: the Python API, the command's blocks in threads, and files
of lists.

A model of random weights (time does not depend on them) and seeded sessions of items by Zipf's law.
`batch` is `Model.recommend_batch` in one thread; `threads` what `python -m gru4rec.recommend
--sessions_path` does, writing aside;
`csv`, `jsonl` and `parquet` the same with the file. `cpu_*` counts processor seconds instead of
wall seconds, times the
cores: what an otherwise idle machine could do at best, where this one is not idle. `single` is the
milliseconds of one `recommend`, `click` those of a click and the list after it.
"""

import argparse
import os
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from gru4rec.recommend.threads import cores, one_blas_thread  # noqa: E402

one_blas_thread()  # before numpy is imported
import common  # noqa: E402
import numpy as np  # noqa: E402


def make_model(args):
    """recommend.model.Model of random weights."""
    from gru4rec import config
    from gru4rec.checkpoint.weights import Weights
    from gru4rec.data.vocab import Vocabulary
    from gru4rec.model import state
    from gru4rec.recommend.model import Model
    from gru4rec.recommend.network import NumpyNetwork
    cfg = config.from_flags({"size": str(args.size), "seed": str(args.seed), "optimizer": "sgd"})
    arrays = state.initial(cfg, args.items)
    vectors = state.output_rows(cfg.model, arrays)
    vocabulary = Vocabulary(np.arange(args.items, dtype=np.int64), np.ones(args.items, np.int64))
    found = Weights(cfg, vocabulary, {name: arrays[name] for name in state.dense_shapes(cfg.model)},
                    arrays[state.EMBEDDING], vectors, "", 0, 0, "random")
    return Model(found, NumpyNetwork(found))


def blocks_in_threads(model, items, offsets, k, threads, path=None):
    """What the command does with a file of sessions."""
    import contextlib

    from gru4rec.recommend import cli, list_files
    query = model.query(k)

    def rank(start):
        part = offsets[start:start + cli.BLOCK + 1]
        return start, model.rank(items[part[0]:part[-1]], part - part[0], query)

    ids = np.arange(len(offsets) - 1)
    with list_files.writer(path) if path else contextlib.nullcontext() as out:
        for start, (index, scores,
                    popular) in cli._in_order(rank, range(0, len(ids), cli.BLOCK), threads):
            if out is not None:
                out.add(ids[start:start + cli.BLOCK], index, scores, popular, model.ids)


def both_clocks(function):
    """(wall seconds, processor seconds) of a call."""
    start = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - start[0], time.process_time() - start[1]


def measure(args):
    """Everything at one size: a dict for the report."""
    model, threads = make_model(args), args.threads or cores()
    items, offsets = common.zipf_sessions(int(args.sessions * 3.5), args.items, args.seed)
    offsets = offsets[:args.sessions + 1]
    items = items[:offsets[-1]]
    sessions, count = [s.tolist() for s in np.split(items, offsets[1:-1])], len(offsets) - 1
    live, number = model.start(), iter(range(10 ** 9))

    def click():
        live.click(int(items[next(number) % len(items)]))
        live.top(args.k)

    with tempfile.TemporaryDirectory() as directory:
        runs = {"batch": lambda: model.recommend_batch(sessions, args.k),
                "threads": lambda: blocks_in_threads(model, items, offsets, args.k, threads)}
        for ending in ("csv", "jsonl", "parquet"):
            runs[ending] = lambda ending=ending: blocks_in_threads(model, items, offsets, args.k,
                                                                   threads,
                                                                   os.path.join(directory,
                                                                                "lists." + ending))
        for run in runs.values():
            run()  # warm-up
        clocks = common.interleaved({name: lambda run=run: both_clocks(run) for name,
                                     run in runs.items()}, args.repeats)
    some = sessions[:args.singles]
    latency = {"single": lambda: [common.seconds_of(lambda s=s: model.recommend(s, args.k))
                                  for s in some],
               "click": lambda: [common.seconds_of(click) for _ in some]}
    rates = {name: common.summary([count / wall for wall, _ in pairs]) for name,
             pairs in clocks.items()}
    rates.update({"cpu_" + name: common.summary([cores() * count / cpu for _, cpu in pairs])
                  for name, pairs in clocks.items()})
    return {"sessions": count, "items": args.items, "size": args.size, "k": args.k,
            "threads": threads, "cores": cores(),
            "sessions_per_s": rates,
            "ms": {name: dict(zip(("p50", "p90", "p99"), 1e3 * np.percentile(values, [50, 90, 99])))
                   for name, values in ((name, function()) for name, function in latency.items())}}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    common.add_flags(parser, repeats=5)
    parser.add_argument("--items", type=int, default=17376, help="catalogue [%(default)s]")
    parser.add_argument("--size", type=int, default=100, help="hidden units [%(default)s]")
    parser.add_argument("--sessions", type=int, default=20000,
                        help="sessions of a round [%(default)s]")
    parser.add_argument("--singles", type=int, default=500,
                        help="sessions whose latency is taken [%(default)s]")
    parser.add_argument("-k", type=int, default=20, help="length of a list [%(default)s]")
    parser.add_argument("--threads", type=int, default=0,
                        help="blocks ranked side by side [one per core]")
    args = parser.parse_args()
    common.check_repeats(args)
    if args.quick:
        args.items, args.size, args.sessions, args.singles = 500, 16, 300, 20
    found = measure(args)
    print("%d sessions, %d items, size %d, k %d, %d threads" % tuple(
        found[name] for name in ("sessions", "items", "size", "k", "threads")))
    for name, row in found["sessions_per_s"].items():
        print("  %-12s %8.0f sessions/s (min %.0f, max %.0f)"
              % (name, row["median"], row["min"], row["max"]))
    for name, row in found["ms"].items():
        print("  %-12s p50 %.2f ms, p90 %.2f, p99 %.2f"
              % (name, row["p50"], row["p90"], row["p99"]))
    common.write(common.report(args, found), args.json)


if __name__ == "__main__":
    main()

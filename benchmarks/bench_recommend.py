"""Sessions per second of recommending: the Python API, the command's threads, and files of lists.

A model of random weights (time does not depend on them) and seeded sessions of items by Zipf's law:
  batch       `Model.recommend_batch` in one thread
  threads     what `python -m gru4rec.recommend --sessions_path` does, without writing
  csv, jsonl, parquet
              the same with a file of lists
  cpu_*       processor seconds, divided by the number of cores, instead of wall seconds: what an
              idle machine could do at best, if this one is not idle
  single      milliseconds of one `recommend`
  click       milliseconds of a click and the list after it
"""

import os
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from gru4rec.recommend.threads import cores, one_blas_thread  # noqa: E402

one_blas_thread()  # must come before numpy is imported
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
    dense = {name: arrays[name] for name in state.dense_shapes(cfg.model)}
    weights = Weights(cfg, vocabulary, dense, arrays[state.EMBEDDING], vectors, "", 0, 0, "random")
    return Model(weights, NumpyNetwork(weights))


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
        ranked = cli._in_order(rank, range(0, len(ids), cli.BLOCK), threads)
        for start, (index, scores, popular) in ranked:
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
            path = os.path.join(directory, "lists." + ending)
            runs[ending] = lambda path=path: blocks_in_threads(model, items, offsets, args.k,
                                                               threads, path)
        for run in runs.values():
            run()  # warm-up
        clocks = common.interleaved({name: lambda run=run: both_clocks(run)
                                     for name, run in runs.items()}, args.repeats)
    some = sessions[:args.singles]
    latency = {"single": lambda: [common.seconds_of(lambda s=s: model.recommend(s, args.k))
                                  for s in some],
               "click": lambda: [common.seconds_of(click) for _ in some]}
    rates = {name: common.summary([count / wall for wall, _ in pairs])
             for name, pairs in clocks.items()}
    rates.update({"cpu_" + name: common.summary([cores() * count / cpu for _, cpu in pairs])
                  for name, pairs in clocks.items()})
    return {"sessions": count, "items": args.items, "size": args.size, "k": args.k,
            "threads": threads, "cores": cores(), "sessions_per_s": rates,
            "ms": {name: dict(zip(("p50", "p90", "p99"), 1e3 * np.percentile(values, [50, 90, 99])))
                   for name, values in ((name, function()) for name, function in latency.items())}}


def main():
    parser = common.parser(__doc__, repeats=5)
    parser.add_argument("--items", type=int, default=17376, help="catalogue [%(default)s]")
    parser.add_argument("--size", type=int, default=100, help="hidden units [%(default)s]")
    parser.add_argument("--sessions", type=int, default=20000,
                        help="sessions of a round [%(default)s]")
    parser.add_argument("--singles", type=int, default=500,
                        help="sessions whose latency is measured [%(default)s]")
    parser.add_argument("-k", type=int, default=20, help="length of a list [%(default)s]")
    parser.add_argument("--threads", type=int, default=0,
                        help="blocks ranked at the same time [one per core]")
    args = parser.parse_args()
    common.check_repeats(args)
    if args.quick:
        args.items, args.size, args.sessions, args.singles = 500, 16, 300, 20
    result = measure(args)
    print("%d sessions, %d items, size %d, k %d, %d threads" % tuple(
        result[name] for name in ("sessions", "items", "size", "k", "threads")))
    for name, row in result["sessions_per_s"].items():
        print("  %-12s %8.0f sessions/s (min %.0f, max %.0f)"
              % (name, row["median"], row["min"], row["max"]))
    for name, row in result["ms"].items():
        print("  %-12s p50 %.2f ms, p90 %.2f, p99 %.2f"
              % (name, row["p50"], row["p90"], row["p99"]))
    common.write(common.report(args, result), args.json)


if __name__ == "__main__":
    main()

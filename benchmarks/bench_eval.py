"""Time of an evaluation, against the bare matrix product that it contains.

Timed in turn in every round: Evaluator.run over all test targets (states, scores and ranks), and
numpy's float32 product [targets, H] x [H, items] in tiles, with the fastest of a few tile heights.
The first run, which builds the evaluator and compiles, is not timed; its memory is reported. The
synthetic data have 55,400 targets and the catalogue of the published rsc15_64 test part, and H =
100; --train_path and --test_path take real files instead. Weights are random, since time does not
depend on them.
"""

import sys

import common
import numpy as np

GEMM_TILES = (64, 128, 256, 512, 1024, 2048)  # rows of the product that are computed at once
GEMM_BYTES = 1 << 30  # largest tile of the result


class Gemm:
    """[targets, H] x [H, items] in tiles that share one output buffer."""

    def __init__(self, num_targets, num_items, hidden, seed):
        random = np.random.RandomState(seed)
        self._hidden = random.standard_normal((num_targets, hidden)).astype(np.float32)
        self._rows = random.standard_normal((num_items, hidden)).astype(np.float32)
        tiles = [tile for tile in GEMM_TILES if 4 * tile * num_items <= GEMM_BYTES]
        tiles = tiles or GEMM_TILES[:1]
        self._out = np.empty((max(tiles), num_items), np.float32)
        self._out.fill(0)  # touch the pages
        self.run(limit=4096, tile=tiles[0])  # warm-up
        self.tile = min(tiles, key=lambda tile: common.seconds_of(lambda: self.run(tile, 4096)))

    def run(self, tile=None, limit=None):
        """Compute the product of the first `limit` targets; None: of all, in the fastest tiles."""
        tile = tile or self.tile
        for first in range(0, min(len(self._hidden), limit or len(self._hidden)), tile):
            part = self._hidden[first:first + tile]
            np.dot(part, self._rows.T, out=self._out[:len(part)])


def make_sessions(args):
    """(data.sessions.EvalSessions, number of items)."""
    from gru4rec.data import sessions
    if args.train_path:
        from gru4rec.data.reading import loader
        vocabulary, _, _ = sessions.index_train(loader.load_events(args.train_path))
        test, _ = sessions.index_test(loader.load_events(args.test_path), vocabulary)
        return test, len(vocabulary)
    items, offsets = common.zipf_sessions(args.targets, args.items, args.seed)
    count = len(offsets) - 1
    test = sessions.EvalSessions(items, offsets, np.zeros(count, bool), 0, np.arange(count))
    return test, args.items


def measure(args):
    """Everything at one size: a dict for the report."""
    from gru4rec import config, device, tf_compat
    from gru4rec.evaluation import evaluator as evaluator_module
    from gru4rec.model import state
    tf_compat.setup()
    test, num_items = make_sessions(args)
    num_sessions = len(test.offsets) - 1
    num_targets = len(test.items) - num_sessions
    cfg = config.from_flags({"size": str(args.size), "seed": str(args.seed)})
    chosen = device.choose(args.device, job="infer")
    arrays, first = state.initial(cfg, num_items), {}

    def first_run():
        first["evaluator"] = evaluator_module.Evaluator(cfg, chosen, arrays, args.eval_batch_size)
        first["ranked"] = first["evaluator"].run(test)

    memory, evaluator = common.growth_mib(first_run), first["evaluator"]
    if len(first["ranked"].greater) != num_targets:
        raise RuntimeError("%d ranks of %d targets" % (len(first["ranked"].greater), num_targets))
    gemm = Gemm(num_targets, num_items, args.size, args.seed)
    gemm.run()
    times = common.interleaved({"evaluator": lambda: common.seconds_of(lambda: evaluator.run(test)),
                                "gemm": lambda: common.seconds_of(gemm.run)}, args.repeats)
    evaluator.close()
    seconds = {name: common.summary(values) for name, values in times.items()}
    flops = 2.0 * num_targets * num_items * args.size
    return {"targets": num_targets, "sessions": num_sessions, "items": num_items,
            "size": args.size, "device": chosen.name, "gemm_tile": gemm.tile, "seconds": seconds,
            "evaluator_mib": memory, "table_mib": 4.0 * num_items * (args.size + 1) / 2 ** 20,
            "targets_per_s": num_targets / seconds["evaluator"]["median"],
            "gemm_gflops": flops / seconds["gemm"]["median"] / 1e9,
            "ratios": {"evaluator/gemm": common.ratio(seconds["evaluator"], seconds["gemm"])}}


def show(result):
    """Print the result."""
    print("%d targets, %d items, size %d, device %s" % tuple(
        result[name] for name in ("targets", "items", "size", "device")))
    for name, row in result["seconds"].items():
        print("  %-10s %8.3f s (min %.3f, max %.3f)"
              % (name, row["median"], row["min"], row["max"]))
    value = result["ratios"]["evaluator/gemm"]
    print("  evaluator/gemm %.2f (best repeats %.2f); %.0f targets/s, product %.1f Gflop/s in "
          "tiles of %d rows" % (value["median"], value["best"], result["targets_per_s"],
                                result["gemm_gflops"], result["gemm_tile"]))
    if result["evaluator_mib"]:
        print("  memory of the evaluator %.0f MiB, of which two tables of %.0f MiB, one of them "
              "twice" % (result["evaluator_mib"], result["table_mib"]))
    sys.stdout.flush()


def main():
    parser = common.parser(__doc__)
    parser.add_argument("--targets", type=int, default=55400,
                        help="targets of the synthetic data [%(default)s]")
    parser.add_argument("--items", type=int, default=17376,
                        help="catalogue of the synthetic data [%(default)s]")
    parser.add_argument("--size", type=int, default=100, help="hidden units [%(default)s]")
    parser.add_argument("--eval_batch_size", type=int, default=512,
                        help="sessions side by side [%(default)s]")
    parser.add_argument("--train_path",
                        help="training events, for the catalogue; needs --test_path")
    parser.add_argument("--test_path", help="test events; needs --train_path")
    parser.add_argument("--device", default="cpu", help="cpu or gpu [%(default)s]")
    args = parser.parse_args()
    if bool(args.train_path) != bool(args.test_path):
        parser.error("--train_path and --test_path go together")
    common.check_repeats(args)
    if args.quick:
        args.targets, args.items, args.size, args.eval_batch_size = 2000, 500, 16, 32
    result = measure(args)
    show(result)
    common.write(common.report(args, result), args.json)


if __name__ == "__main__":
    main()

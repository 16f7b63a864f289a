"""Time of a training step: engine variants side by side, and the bare matrix products of a step.

Variants, timed in turn in every round (A B C A B C ...):
  original   one step per session call, states fed and fetched, stock Adam (benchmarks/original.py)
  plain      engine `plain`: as original, but the states are variables
  lazy1      engine `loop` with --steps_per_run 1 --xla off: the lazy Adam alone
  loop       engine `loop` with --xla off
  xla        engine `loop` with --xla on (TensorFlow 2.6 or later)
  products   numpy, float32: [B,2H]x[2H,2H], [B,2H]x[2H,H], [B,H]x[H,B], each of them forward and
             its two backward products
  products_loop, products_xla
             the same nine products and nothing else in TensorFlow's loop, not compiled and
             compiled: the time of the engine `loop` and `xla` if all but the products were free

The gain of the fast engine is printed as three factors: optimizer = original / lazy1, loop = lazy1
/ loop, compilation = loop / xla. With --other_python the variants `original` and `loop` also run
with the TensorFlow of another interpreter, in the same rounds: in a process of its own, which
sleeps while it is not its turn.
"""

import argparse
import gc
import json
import os
import sys

import common
import numpy as np

PRODUCTS = ("products", "products_loop", "products_xla")
VARIANTS = ("original", "plain", "lazy1", "loop", "xla") + PRODUCTS
ENGINE_FLAGS = {"plain": dict(engine="plain"),
                "lazy1": dict(engine="loop", steps_per_run=1, xla="off"),
                "loop": dict(engine="loop", xla="off"), "xla": dict(engine="loop", xla="on")}
REMOTE = ("original", "loop", "products_loop")
NEED_XLA = ("xla", "products_xla")
BASE = dict(items=17376, batch_size=50, size=100)  # the published rsc15_64 with default flags
# One quantity at a time around BASE, then both large. All combinations would take hours.
GRID = {"batch": [dict(BASE, batch_size=b) for b in (32, 50, 128, 256, 512)],
        "size": [dict(BASE, size=h) for h in (100, 200, 512)]
        + [dict(BASE, batch_size=512, size=512)],
        "items": [dict(BASE, items=n) for n in (10000, 17376, 100000, 1000000)]}
# From this number of items on a variant needs gigabytes: only those are run that show how time
# grows with the catalogue.
MANY_ITEMS, MANY_ITEMS_VARIANTS = 500000, ("original", "loop", "xla", "products")
RUN_STEPS = 200000  # steps that the engines are built for: size of their tables
EPOCH_STEPS = 2000


class Runner:
    """One engine that repeats one epoch without end."""

    def __init__(self, engine, epoch):
        self._engine, self._epoch, self._done = engine, epoch, 0
        self.close = engine.close

    def run(self, count):
        """Make `count` steps; returns when the last loss is on the host."""
        from gru4rec.engine.base import chunk_of
        stop_at = self._done + count
        if stop_at > RUN_STEPS:
            raise RuntimeError("more than %d steps; give fewer --seconds" % RUN_STEPS)
        while self._done < stop_at:
            at = self._done % self._epoch.num_steps
            stop = min(at + self._engine.steps_per_run, self._epoch.num_steps,
                       at + stop_at - self._done)
            losses = self._engine.run(chunk_of(self._epoch, at, stop, self._done - at))
            if not np.isfinite(losses).all():
                raise RuntimeError("the loss is not finite; the timing would mean nothing")
            self._done += stop - at

    def prepare(self, seconds):
        """Compile, warm up, and find how many steps take `seconds`; if possible whole calls."""
        self.run(3)
        rough = common.seconds_of(lambda: self.run(3)) / 3
        per_run = self._engine.steps_per_run
        warm = max(1, min(per_run, int(seconds / rough)))
        rough = min(rough, common.seconds_of(lambda: self.run(warm)) / warm)
        self.steps = min(RUN_STEPS // 40, max(1, int(seconds / rough)))
        if self.steps > per_run:
            self.steps -= self.steps % per_run
        self.run(min(self.steps, 2 * per_run))

    def milliseconds(self):
        """Mean time of a step, from one timed stretch."""
        return 1e3 * common.seconds_of(lambda: self.run(self.steps)) / self.steps


def shapes_of_products(batch, hidden, drawn=0):
    """(rows, inner, columns) of the forward products of a step; drawn: additional negatives."""
    return ((batch, 2 * hidden, 2 * hidden), (batch, 2 * hidden, hidden),
            (batch, hidden, batch + drawn))


def normal(random, rows, columns):
    return random.standard_normal((rows, columns)).astype(np.float32)


class Products:
    """The float32 products of a step in numpy, forward and backward."""

    def __init__(self, batch, hidden, seed, drawn=0):
        random = np.random.RandomState(seed)
        self._pairs = []
        for rows, inner, columns in shapes_of_products(batch, hidden, drawn):
            a, b = normal(random, rows, inner), normal(random, inner, columns)
            g = normal(random, rows, columns)
            self._pairs += [(a, b, np.empty((rows, columns), np.float32)),
                            (g, b.T, np.empty((rows, inner), np.float32)),
                            (a.T, g, np.empty((inner, columns), np.float32))]

    def run(self, count):
        for _ in range(count):
            for left, right, out in self._pairs:
                np.dot(left, right, out=out)

    def prepare(self, seconds):
        self.run(20)
        self.steps = max(1, int(seconds / (common.seconds_of(lambda: self.run(20)) / 20)))

    def milliseconds(self):
        return 1e3 * common.seconds_of(lambda: self.run(self.steps)) / self.steps

    def close(self):
        pass


class GraphProducts(Products):
    """The same products in a loop of TensorFlow, compiled or not.

    The matrices a and g of a round are products of the round before, so that no product can be
    moved out of the loop. The largest singular value of b is 1, so that they neither grow nor
    vanish.
    """

    def __init__(self, batch, hidden, seed, device, compiled, drawn=0):
        from gru4rec.tf_compat import jit_function, tf
        random, start, fixed = np.random.RandomState(seed), [], []
        for rows, inner, columns in shapes_of_products(batch, hidden, drawn):
            b = normal(random, inner, columns)
            fixed.append(b / np.float32(np.linalg.norm(b, 2)))
            start += [normal(random, rows, inner), normal(random, rows, columns),
                      np.zeros((inner, columns), np.float32)]

        def loop(count, *values):
            def body(i, *carried):
                products = []
                for at, b in enumerate(values[len(start):]):
                    a, g = carried[3 * at:3 * at + 2]
                    products += [tf.matmul(g, b, transpose_b=True), tf.matmul(a, b),
                                 tf.matmul(a, g, transpose_a=True)]
                return [i + 1] + products

            first = [tf.constant(0)] + list(values[:len(start)])
            end = tf.while_loop(lambda i, *_: i < count, body, first, parallel_iterations=1,
                                back_prop=False)
            return tf.add_n([tf.reduce_sum(value) for value in end[1:]])

        with tf.Graph().as_default() as graph:
            self._count_ph = tf.placeholder(tf.int32, [])
            values = [tf.Variable(value, use_resource=True) for value in start + fixed]
            if compiled:
                loop = jit_function(loop)
            self._sum = loop(self._count_ph, *[v.read_value() for v in values])
            self._session = tf.Session(graph=graph, config=device.session_config())
            self._session.run(tf.global_variables_initializer())
        self.close = self._session.close

    def run(self, count):
        """Make `count` rounds; returns the sum of all products of the last one."""
        total = self._session.run(self._sum, {self._count_ph: count})
        if not np.isfinite(total):
            raise RuntimeError("the products are not finite; the timing would mean nothing")
        return total


class Remote:
    """A variant in the process of another interpreter; same interface as Runner."""

    def __init__(self, child, name):
        self._child, self._name = child, name

    def prepare(self, seconds):
        self._child.ask({"do": "prepare", "variant": self._name, "seconds": seconds})

    def milliseconds(self):
        return self._child.ask({"do": "time", "variant": self._name})

    def close(self):
        pass


def other_interpreter(python, point, args):
    """common.Child: this benchmark as `serve` in another interpreter."""
    words = [python, os.path.abspath(__file__), "--worker", "--device", args.device, "--seed",
             str(args.seed)]
    if args.train_path:
        words += ["--train_path", args.train_path]
    for name in ("items", "batch_size", "size"):
        words += ["--" + name, str(point[name])]
    return common.Child(words)


def serve(args, point):
    """The process of `other_interpreter`: answer requests until there are no more."""
    put, runners = common.answers(), {}
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "start":
            runners = make_runners(request["variants"], point, args)[0]
            put(tensorflow_version())
        elif request["do"] == "prepare":
            put(runners[request["variant"]].prepare(request["seconds"]))
        else:
            put(runners[request["variant"]].milliseconds())


def tensorflow_version():
    from gru4rec.tf_compat import tf
    return tf.__version__


def make_epoch(point, args):
    """(data.schedule.Epoch, number of items) of --train_path, else of synthetic sessions."""
    from gru4rec.data import schedule
    if not args.train_path:
        items, offsets = common.zipf_sessions(EPOCH_STEPS * point["batch_size"], point["items"],
                                              args.seed)
        return schedule.build(items, offsets, point["batch_size"]), point["items"]
    from gru4rec.data import sessions
    from gru4rec.data.reading import loader
    vocabulary, indexed, _ = sessions.index_train(loader.load_events(args.train_path))
    return schedule.build(indexed.items, indexed.offsets, point["batch_size"]), len(vocabulary)


def make_runners(names, point, args):
    """(dict name -> Runner, Products or GraphProducts, facts of the data)."""
    from original import Original

    from gru4rec import config, device, engine, tf_compat
    from gru4rec.model import state
    tf_compat.setup()
    chosen = device.choose(args.device)
    epoch, num_items = make_epoch(point, args)
    runners, arrays = {}, None
    for name in names:
        if name in PRODUCTS:
            sizes = point["batch_size"], point["size"], args.seed
            if name == "products":
                runners[name] = Products(*sizes)
            else:
                runners[name] = GraphProducts(*sizes, device=chosen, compiled=name in NEED_XLA)
            continue
        flags = dict(ENGINE_FLAGS.get(name, {}), batch_size=point["batch_size"], size=point["size"])
        cfg = config.from_flags({flag: str(value) for flag, value in flags.items()})
        arrays = state.initial(cfg, num_items) if arrays is None else arrays
        if name == "original":
            runners[name] = Runner(Original(cfg, chosen, arrays), epoch)
        else:
            runners[name] = Runner(engine.create(cfg, chosen, arrays, RUN_STEPS), epoch)
    return runners, {"items": num_items,
                     "events_per_step": float(epoch.weight.mean()) * epoch.num_lanes,
                     "device": chosen.name}


def measure(point, args):
    """All variants at one point: a dict for the report."""
    from gru4rec import tf_compat
    names = [name for name in args.variants if name not in NEED_XLA or tf_compat.has_xla()]
    if point["items"] >= MANY_ITEMS:
        names = [name for name in names if name in MANY_ITEMS_VARIANTS]
    runners, facts = make_runners(names, point, args)
    child = other_interpreter(args.other_python, point, args) if args.other_python else None
    if child:
        facts["other_tensorflow"] = child.ask({"do": "start", "variants": list(REMOTE)})
        runners.update({"other_" + name: Remote(child, name) for name in REMOTE})
    for runner in runners.values():
        runner.prepare(args.seconds)
    times = common.interleaved({name: runner.milliseconds for name, runner in runners.items()},
                               args.repeats)
    for runner in runners.values():
        runner.close()
    if child:
        child.close()
    del runners
    gc.collect()
    ms = {name: common.summary(values) for name, values in times.items()}
    events_per_s = {name: 1e3 * facts["events_per_step"] / row["median"]
                    for name, row in ms.items() if not _is_products(name)}
    return dict(point, **facts, ms_per_step=ms, events_per_s=events_per_s, ratios=ratios(ms))


def _is_products(name):
    return name.replace("other_", "") in PRODUCTS


def ratios(ms):
    """Each variant over the products, original over each variant, and the factors of the gain."""
    engines = [name for name in ms if not _is_products(name)]
    pairs = {"%s/products" % name: (name, "products") for name in ms if name != "products"}
    for who in ("", "other_"):
        for name in ("loop", "xla"):
            above, below = who + name, "%sproducts_%s" % (who, name)
            pairs["%s/%s" % (above, below)] = above, below
    pairs.update({"%s/%s" % (first, name): (first, name) for first in ("original", "other_original")
                  for name in engines if name != first})
    pairs.update({"factor optimizer": ("original", "lazy1"), "factor loop": ("lazy1", "loop"),
                  "factor compilation": ("loop", "xla")})
    return {label: common.ratio(ms[above], ms[below]) for label, (above, below) in pairs.items()
            if above in ms and below in ms}


def catalogue_ratios(results):
    """Time with each catalogue over the time with that of BASE, at the batch and size of BASE.

    Returns: dict items -> dict variant -> common.ratio; {} if BASE was not measured.
    """
    rows = {row["items"]: row["ms_per_step"] for row in results
            if all(row[name] == BASE[name] for name in ("batch_size", "size"))}
    base = rows.pop(BASE["items"], {})
    return {str(items): {name: common.ratio(ms[name], base[name]) for name in ms if name in base}
            for items, ms in sorted(rows.items()) if base}


def show(result):
    """Print the results of one point."""
    print("items %d, batch_size %d, size %d, device %s" % tuple(
        result[name] for name in ("items", "batch_size", "size", "device")))
    for name, row in result["ms_per_step"].items():
        rate = result["events_per_s"].get(name)
        print("  %-15s %9.4f ms/step (min %.4f, max %.4f)%s" % (
            name, row["median"], row["min"], row["max"], "  %9.0f events/s" % rate if rate else ""))
    for label, value in result["ratios"].items():
        print("  %-28s %8.2f (best repeats %.2f)" % (label, value["median"], value["best"]))
    sys.stdout.flush()


def parse(argv=None):
    parser = common.parser(__doc__)
    parser.add_argument("--items", type=int, default=BASE["items"],
                        help="catalogue of the synthetic data [%(default)s]")
    parser.add_argument("--batch_size", type=int, default=BASE["batch_size"],
                        help="lanes [%(default)s]")
    parser.add_argument("--size", type=int, default=BASE["size"], help="hidden units [%(default)s]")
    parser.add_argument("--train_path",
                        help="events file instead of synthetic data; --items is then the file's")
    parser.add_argument("--grid", choices=sorted(GRID),
                        help="several points instead of one; they vary batch from 32 to 512, size "
                             "from 100 to 512, or items from 1e4 to 1e6")
    parser.add_argument("--variants", default=",".join(VARIANTS), help="which to run [%(default)s]")
    parser.add_argument("--seconds", type=float, default=1.0,
                        help="length of one timed stretch [%(default)s]")
    parser.add_argument("--device", default="cpu", help="cpu or gpu [%(default)s]")
    parser.add_argument("--other_python", metavar="PY",
                        help="interpreter with another TensorFlow, whose variants original and "
                             "loop run in the same rounds")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    args.variants = common.names(parser, "--variants", args.variants, VARIANTS)
    if args.grid and args.train_path:
        parser.error("--train_path has its own catalogue, which --grid varies; give one of them")
    return args


def main():
    args = parse()
    points = GRID[args.grid] if args.grid else [{name: getattr(args, name) for name in BASE}]
    if args.worker:
        serve(args, points[0])
        return
    common.check_repeats(args)
    if args.quick:
        points, args.seconds = [dict(items=300, batch_size=8, size=16)], 0.05
    results = []
    for point in points:
        results.append(measure(point, args))
        show(results[-1])
    catalogue = catalogue_ratios(results)
    for items, row in catalogue.items():
        print("items %s against %d: %s" % (items, BASE["items"], ", ".join(
            "%s %.2f" % (name, value["median"]) for name, value in row.items()
            if not _is_products(name))))
    common.write(common.report(args, results, catalogue_ratios=catalogue), args.json)


if __name__ == "__main__":
    main()

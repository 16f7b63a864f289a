"""What a training step of the compiled loop is made of: the step with one part left out at a time.

Without a part another model is learned, but nothing else of the step changes. So the time that is
saved is what the part costs there. Parts overlap in a compiled loop, so the savings need not add up
to the step. Timed in turn in every round (A B C A B C ...):

  step            the loop engine as it is
  no dropout      rates of 0
  no draw         the same negatives in every step
  no loss         half the sum of squared scores instead of the loss
  no catch-up     rows are used as they are stored (adam)
  no duplicates   gradients of the same row are not summed
  no row updates  gradients of rows are computed and summed up, no row is written
  no dense updates  gradients of the cells' weights are summed up, no update is computed
  products        numpy, float32: the matrix products of the step, forward and backward
  products_loop   the same in TensorFlow's loop, compiled

Other flags of `gru4rec.main` can be given after `--`, a preset too:
  python benchmarks/profile_step.py --json OUT -- --preset rsc15-gru --batch_size 50
"""

import contextlib
from unittest import mock

import common
import numpy as np
from bench_train import RUN_STEPS, GraphProducts, Products, Runner, make_epoch


def parts(config):
    """dict name -> function that returns a context; engines made in it lack that part."""
    from gru4rec.device import base
    from gru4rec.engine import loop
    from gru4rec.graph import duplicates, losses, negatives, tables
    from gru4rec.model import lazy_adam
    from gru4rec.tf_compat import tf

    def same_negatives(alias, words):
        return tf.range(words.shape.as_list()[1])

    def squares(model, training, scores_bm, weight_b, columns):
        return 5e-7 * tf.reduce_sum(tf.square(scores_bm) * weight_b[:, None])

    def as_they_lie(f, adam, p, m, v, last, now):
        return p, m, v

    def unsummed(self, values_nd):
        return values_nd

    def one_row(self, rows, gradient_nd, same, lr, number):
        # One row for all: with the sum every gradient is still computed, and something is written.
        value = tf.reduce_sum(same.sum(gradient_nd), 0, keepdims=True)
        width = self._vars[0].shape.as_list()[1]
        return (tf.pad(value, [[0, 0], [0, width - value.shape.as_list()[1]]]) * 1e-30,)

    def write_one(self, index_n, values):
        return [tf.scatter_update(self._vars[0], index_n[:1], values[0])]

    def only_copied(training, values, gradient, lr):
        return values[0].assign(values[0] + 1e-30 * tf.reduce_sum(gradient)).op

    def undropped(self, x, rate, seed, step, stream):
        return x

    without = {"step": contextlib.nullcontext,
               "no dropout": lambda: mock.patch.object(base.Device, "dropout", undropped),
               "no loss": lambda: mock.patch.object(losses, "total", squares),
               "no row updates": lambda: mock.patch.multiple(tables.Table, updated=one_row,
                                                             write=write_one),
               "no dense updates": lambda: mock.patch.object(loop, "_apply", only_copied)}
    if config.training.optimizer == "adam":
        without["no catch-up"] = lambda: mock.patch.object(lazy_adam, "catch_up", as_they_lie)
    if config.training.n_sample:
        without["no draw"] = lambda: mock.patch.object(negatives, "draw", same_negatives)
    inputs = 2 if config.model.embedding == "shared" else 1
    num_rows = config.training.batch_size * inputs + config.training.n_sample
    kind = duplicates._Pairs if num_rows <= duplicates.PAIRS else duplicates._Slots
    without["no duplicates"] = lambda: mock.patch.object(kind, "sum", unsummed)
    return without


def make_runners(config, args):
    """dict name -> object with `prepare` and `milliseconds`."""
    from gru4rec import device, engine, tf_compat
    from gru4rec.model import state
    tf_compat.setup()
    chosen, training = device.choose("cpu"), config.training
    point = {"items": args.items, "batch_size": training.batch_size}
    epoch, num_items = make_epoch(point, args)
    support = np.maximum(1, np.bincount(epoch.y.ravel(), minlength=num_items))
    arrays = state.initial(config, num_items)
    runners = {}
    for name, without in parts(config).items():
        with without():
            runners[name] = Runner(engine.create(config, chosen, arrays, RUN_STEPS, support), epoch)
    sizes = training.batch_size, config.model.size[-1], training.seed
    runners["products"] = Products(*sizes, drawn=training.n_sample)
    runners["products_loop"] = GraphProducts(*sizes, device=chosen, compiled=tf_compat.has_xla(),
                                             drawn=training.n_sample)
    return runners


def parse(argv=None):
    parser = common.parser(__doc__)
    parser.add_argument("--items", type=int, default=17376,
                        help="catalogue of the synthetic data [%(default)s]")
    parser.add_argument("--train_path",
                        help="events file instead of synthetic data; --items is then the file's")
    parser.add_argument("--seconds", type=float, default=1.0,
                        help="length of one timed stretch [%(default)s]")
    parser.add_argument("flags", nargs="*", help="flags of gru4rec.main, after --")
    return parser.parse_args(argv)


def main():
    args = parse()
    common.check_repeats(args)
    from gru4rec import config
    if args.quick:
        args.items, args.seconds = 300, 0.05
        args.flags = args.flags + ["--batch_size", "8", "--size", "16"]
    asked = config.parse(["--engine", "loop"] + args.flags)
    runners = make_runners(asked, args)
    for runner in runners.values():
        runner.prepare(args.seconds)
    times = common.interleaved({name: runner.milliseconds for name, runner in runners.items()},
                               args.repeats)
    ms = {name: common.summary(values) for name, values in times.items()}
    whole = ms["step"]["median"]
    for name, row in ms.items():
        saved = ""
        if " " in name:
            saved = "  saves %.4f (%.0f %%)" % (whole - row["median"],
                                                100 - 100 * row["median"] / whole)
        print("%-17s %9.4f ms/step (min %.4f, max %.4f)%s"
              % (name, row["median"], row["min"], row["max"], saved))
    ratios = {name: common.ratio(ms["step"], ms[name]) for name in ("products", "products_loop")}
    for name, value in ratios.items():
        print("step/%-14s %8.2f (best repeats %.2f)" % (name, value["median"], value["best"]))
    common.write(common.report(args, {"ms_per_step": ms, "ratios": ratios,
                                      "model": asked.to_dict()}), args.json)


if __name__ == "__main__":
    main()

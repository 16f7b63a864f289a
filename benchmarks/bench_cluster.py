"""Events per second of processes that train together, each pinned to one core, against one process.

Rounds go A B C A B C ...; processes sleep while it is not their turn:
  alone     one process on core 0, the default engine (its whole loop compiled)
  compute   one process on core 0 that makes the step of several but exchanges nothing: shows what
            it costs to update the rows of all, in a loop of which XLA compiles only parts
  together  all at once, each on a core of its own: they train what one process with all their lanes
            would train
`bytes` is what the loopback interface carried in a stretch, by /proc/net/dev; `cpu` is processor
time.
"""

import argparse
import dataclasses
import functools
import os
import sys
import time

import common

from gru4rec.device import machine
from gru4rec.parallel import cluster

RUN_STEPS, EPOCH_STEPS = 100000, 200
ALONE, COMPUTE = -1, -2  # used in place of a rank


def parse(argv=None):
    parser = common.parser(__doc__, repeats=5)
    parser.add_argument("--workers", type=int, default=2,
                        help="processes, each on a core of its own [%(default)s]")
    parser.add_argument("--items", type=int, default=37483, help="catalogue [%(default)s]")
    parser.add_argument("--batch_size", type=int, default=512,
                        help="lanes of each process [%(default)s]")
    parser.add_argument("--steps", type=int, default=100,
                        help="steps of a timed stretch [%(default)s]")
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    parser.add_argument("flags", nargs="*",
                        help="flags of gru4rec.main, after --, for example --n_sample 2048")
    return parser.parse_args(argv)


def nobody(workers):
    """A communicator that exchanges nothing: all ranks seem to send what this one sends."""
    from gru4rec.parallel.communicator import Several
    from gru4rec.parallel.workers import Workers
    from gru4rec.tf_compat import tf

    class Nobody(Several):
        def all_reduce(self, tensor):
            return tensor

        def _all_gather(self, tensor):
            return tf.concat([tensor] * workers, 0)

    return Nobody(Workers(workers, 0))


def serve(args):
    """One process: make the engine, then run a timed stretch for each request."""
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[max(args.rank, 0)]})
    put = common.answers()
    from gru4rec import config, tf_compat
    from gru4rec.data import epochs, schedule
    from gru4rec.engine import create
    from gru4rec.engine.base import chunk_of
    from gru4rec.model import state
    from gru4rec.parallel import workers as workers_module
    tf_compat.setup()
    from gru4rec import device as devices
    own_cluster = cluster.from_environment() if args.rank >= 0 else None
    chosen = devices.choose("cpu", cluster=own_cluster, cluster_timeout=120.0)
    if args.rank == COMPUTE:
        chosen = dataclasses.replace(chosen, communicator=nobody(args.workers))
    if own_cluster:
        chosen.communicator.wait()
    names = [word[2:] for word in args.flags[::2]]
    cfg = config.from_flags(dict(zip(names, args.flags[1::2]), batch_size=str(args.batch_size)))
    import numpy as np
    workers = workers_module.Workers(args.workers, max(args.rank, 0))
    items, offsets = common.zipf_sessions(EPOCH_STEPS * args.batch_size * args.workers, args.items,
                                          args.seed)
    support = np.bincount(items, minlength=args.items)
    from gru4rec.data.sessions import Sessions
    own = epochs.shard(Sessions(items, offsets), workers)
    epoch = schedule.build(own.items, own.offsets, args.batch_size)
    engine = create(cfg, chosen, state.initial(cfg, args.items), RUN_STEPS, support)
    done = [0]

    def run(count):
        for _ in range(count):
            at = done[0] % (EPOCH_STEPS // 2)
            stop = min(at + engine.steps_per_run, at + count, EPOCH_STEPS // 2)
            losses = engine.run(chunk_of(epoch, at, stop, done[0] - at))
            if not np.isfinite(losses).all():
                raise RuntimeError("the loss is not finite; the timing would mean nothing")
            done[0] += stop - at
            count -= stop - at
            if count <= 0:
                return
    events = float(epoch.weight[:EPOCH_STEPS // 2].mean()) * args.batch_size
    run(10)
    run(min(args.steps, EPOCH_STEPS // 2))
    put({"events_per_step": events, "versions": common.versions()})
    for _ in sys.stdin:
        cpu = time.process_time()
        seconds = common.seconds_of(lambda: run(args.steps))
        put([seconds, time.process_time() - cpu])
    os._exit(0)  # a server of TensorFlow never ends by itself


def process(args, rank, addresses=None):
    """common.Child: one process, of a rank or ALONE or COMPUTE; its first answer has the facts."""
    words = [sys.executable, os.path.abspath(__file__), "--rank=%d" % rank]
    for name in ("workers", "items", "batch_size", "steps", "seed"):
        words += ["--" + name, str(getattr(args, name))]
    environment = {}
    if rank >= 0:
        environment["TF_CONFIG"] = cluster.environment(addresses, rank)
    return common.Child(words + ["--"] + args.flags, **environment)


def loopback_bytes():
    """Bytes that the loopback interface has sent so far; None if the system does not tell."""
    fields = (machine.proc_value("/proc/net/dev", "    lo")
              or machine.proc_value("/proc/net/dev", "lo"))
    return int(fields.split()[8]) if fields else None


def stretch(processes):
    """A timed stretch of all processes at once: (seconds of the slowest, mean cpu seconds, bytes).

    Bytes is None if the system does not tell.
    """
    before = loopback_bytes()
    for one in processes:
        one.tell("run")
    seconds, cpu = zip(*[one.answer() for one in processes])
    sent = None if before is None else loopback_bytes() - before
    return max(seconds), sum(cpu) / len(cpu), sent


def main(argv=None):
    args = parse(argv)
    if args.rank is not None:
        return serve(args)
    common.check_repeats(args)
    if args.quick:
        args.items, args.batch_size, args.steps = 300, 8, 5
    alone, compute = [process(args, ALONE)], [process(args, COMPUTE)]
    facts = alone[0].answer()
    compute[0].answer()
    addresses = cluster.free_addresses(args.workers)
    together = [process(args, rank, addresses) for rank in range(args.workers)]
    for one in together:
        one.answer()
    variants = {"alone": alone, "compute": compute, "together": together}
    rounds = common.interleaved({name: functools.partial(stretch, processes)
                                 for name, processes in variants.items()}, args.repeats)
    for one in alone + compute + together:
        one.close()
    results = summarised(rounds, facts["events_per_step"], args)
    show(results, args.workers)
    report = common.report(args, results)
    report["versions"].update(facts["versions"])
    common.write(report, args.json)


def summarised(rounds, events_per_step, args):
    """The results; rounds: dict name -> list of what `stretch` returned."""
    ms, cpu = ({name: common.summary([1e3 * values[place] / args.steps for values in rows])
                for name, rows in rounds.items()} for place in (0, 1))
    processes = dict(alone=1, compute=1, together=args.workers)
    sent = sorted(row[2] for row in rounds["together"] if row[2] is not None)
    gain = common.ratio(ms["alone"], ms["together"])
    return {"ms_per_step": ms, "cpu_ms_per_step": cpu,
            "events_per_step_and_process": events_per_step,
            "events_per_s": {name: 1e3 * events_per_step * processes[name] / ms[name]["median"]
                             for name in ms},
            "bytes_per_step": sent[len(sent) // 2] / args.steps if sent else None,
            "gain": {key: args.workers * value for key, value in gain.items()}}


def show(results, workers):
    """Print the results."""
    for name, ms in results["ms_per_step"].items():
        print("%-9s %8.3f ms/step (min %.3f, max %.3f; cpu %.3f) %9.0f events/s" % (
            name, ms["median"], ms["min"], ms["max"], results["cpu_ms_per_step"][name]["median"],
            results["events_per_s"][name]))
    print("events/s of %d processes over one: %.2f (best repeats %.2f)"
          % (workers, results["gain"]["median"], results["gain"]["best"]))


if __name__ == "__main__":
    sys.exit(main())

"""Events per second of processes that train together, each pinned to one core, against one process
on one core.

Rounds go A B C A B C ...; processes sleep while it is not their turn:
  alone     one process on core 0, the default engine (its whole loop compiled)
  compute   one process on core 0 that makes the step of several but exchanges nothing: what it costs to update the rows of
            all, in a loop of which XLA compiles only parts
  together  all at once, each on a core of its own: they train what one process with all their lanes would
`bytes` counts what the loopback interface carried in a stretch, by /proc/net/dev; `cpu` is
processor time."""

import argparse
import dataclasses
import functools
import json
import os
import subprocess
import sys
import time

import common

from gru4rec.device import machine
from gru4rec.parallel import cluster

RUN_STEPS, EPOCH_STEPS = 100000, 200
ALONE, COMPUTE = -1, -2  # in the place of a rank


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    common.add_flags(parser, repeats=5)
    parser.add_argument("--workers", type=int, default=2,
                        help="processes, each on a core of its own [%(default)s]")
    parser.add_argument("--items", type=int, default=37483, help="catalogue [%(default)s]")
    parser.add_argument("--batch_size", type=int, default=512,
                        help="lanes of each process [%(default)s]")
    parser.add_argument("--steps", type=int, default=100,
                        help="steps of a timed stretch [%(default)s]")
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    parser.add_argument("flags", nargs="*",
                        help="after --: flags of gru4rec.main, such as --n_sample 2048")
    return parser.parse_args(argv)


def nobody(workers):
    """A communicator whose other ranks say what this one says."""
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
    """One process: makes its engine, then runs stretches as stdin asks; one JSON line for each
    answer.
    """
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[max(args.rank, 0)]})
    out, sys.stdout = sys.stdout, sys.stderr
    from gru4rec import config, tf_compat
    from gru4rec.data import epochs, schedule
    from gru4rec.engine import create
    from gru4rec.engine.base import chunk_of
    from gru4rec.model import state
    from gru4rec.parallel import workers as workers_module
    tf_compat.setup()
    from gru4rec import device as devices
    found = cluster.from_environment() if args.rank >= 0 else None
    chosen = devices.choose("cpu", cluster=found, cluster_timeout=120.0)
    if args.rank == COMPUTE:
        chosen = dataclasses.replace(chosen, communicator=nobody(args.workers))
    if found:
        chosen.communicator.wait()
    cfg = config.from_flags(dict(zip([w[2:] for w in args.flags[::2]], args.flags[1::2]),
                                 batch_size=str(args.batch_size)))
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
    out.write(json.dumps({"events_per_step": events, "versions": common.versions()}) + "\n")
    out.flush()
    for _ in sys.stdin:
        cpu = time.process_time()
        seconds = common.seconds_of(lambda: run(args.steps))
        out.write(json.dumps([seconds, time.process_time() - cpu]) + "\n")
        out.flush()
    os._exit(0)  # a server of TensorFlow never ends by itself


class Process:
    def __init__(self, args, rank, addresses):
        words = [sys.executable, os.path.abspath(__file__), "--rank=%d" % rank]
        for name in ("workers", "items", "batch_size", "steps", "seed"):
            words += ["--" + name, str(getattr(args, name))]
        environment = dict(os.environ)
        if rank >= 0:
            environment["TF_CONFIG"] = cluster.environment(addresses, rank)
        self._process = subprocess.Popen(words + ["--"] + args.flags, stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE,
                                         universal_newlines=True, env=environment)

    def tell(self):
        self._process.stdin.write("run\n")
        self._process.stdin.flush()

    def answer(self):
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a process ended with status %s" % self._process.wait())
        return json.loads(line)

    def close(self):
        self._process.stdin.close()
        self._process.wait()


def loopback_bytes():
    """Bytes the loopback interface has sent since the machine started; None where the system does
    not tell.
    """
    found = machine.proc_value("/proc/net/dev", "    lo") or machine.proc_value("/proc/net/dev", "lo")
    return int(found.split()[8]) if found else None


def stretch(processes):
    """(seconds of the slowest, mean processor seconds, bytes) of a timed stretch that all make
    together.
    """
    before = loopback_bytes()
    for process in processes:
        process.tell()
    seconds, cpu = zip(*[process.answer() for process in processes])
    return max(seconds), sum(cpu) / len(cpu), None if before is None else loopback_bytes() - before


def main(argv=None):
    args = parse(argv)
    if args.rank is not None:
        return serve(args)
    common.check_repeats(args)
    if args.quick:
        args.items, args.batch_size, args.steps = 300, 8, 5
    alone, compute = [Process(args, ALONE, None)], [Process(args, COMPUTE, None)]
    facts = alone[0].answer()
    compute[0].answer()
    where = cluster.free_addresses(args.workers)
    together = [Process(args, rank, where) for rank in range(args.workers)]
    for process in together:
        process.answer()
    several = {"alone": alone, "compute": compute, "together": together}
    rounds = common.interleaved({name: functools.partial(stretch, processes) for name,
                                 processes in several.items()},
                                args.repeats)
    for process in alone + compute + together:
        process.close()
    ms, cpu = ({name: common.summary([1e3 * values[place] / args.steps for values in rows])
                for name, rows in rounds.items()}
               for place in (0, 1))
    carried = [row[2] for row in rounds["together"]]
    many = dict(alone=1, compute=1, together=args.workers)
    results = {"ms_per_step": ms, "cpu_ms_per_step": cpu,
               "events_per_step_and_process": facts["events_per_step"],
               "events_per_s": {name: 1e3 * facts["events_per_step"]
                                * many[name] / ms[name]["median"] for name in ms},
               "bytes_per_step": None if None in carried
               else sorted(carried)[len(carried) // 2] / args.steps}
    results["gain"] = {key: args.workers * value for key,
                       value in common.ratio(ms["alone"], ms["together"]).items()}
    for name in ms:
        print("%-9s %8.3f ms/step (min %.3f, max %.3f; cpu %.3f) %9.0f events/s" % (
            name, ms[name]["median"], ms[name]["min"], ms[name]["max"], cpu[name]["median"],
            results["events_per_s"][name]))
    print("events/s of %d processes over one: %.2f (best repeats %.2f)"
          % (args.workers, results["gain"]["median"],
                                                                         results["gain"]["best"]))
    found = common.report(args, results)
    found["versions"].update(facts["versions"])
    common.write(found, args.json)


if __name__ == "__main__":
    sys.exit(main())

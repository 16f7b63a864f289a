"""What all benchmarks share: interleaved timing, summaries, and the JSON report with everything
needed to read it.
"""

import datetime
import json
import os
import statistics
import subprocess
import sys
import time

import numpy as np

try:
    import resource
except ImportError:  # Windows
    resource = None

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)

from gru4rec.device import machine  # noqa: E402

RESULTS = os.path.join(ROOT, "benchmarks", "results")
# Environment that changes what numpy's or TensorFlow's kernels do.
ENVIRONMENT = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS",
               "MKL_NUM_THREADS",
               "TF_XLA_FLAGS", "XLA_FLAGS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS",
               "TF_ENABLE_ONEDNN_OPTS",
               "CUDA_VISIBLE_DEVICES")
MIN_REPEATS = 5


def add_flags(parser, repeats=7):
    """Flags every benchmark has."""
    parser.add_argument("--json", metavar="OUT", help="write the report to this file")
    parser.add_argument("--repeats", type=int, default=repeats,
                        help="timed rounds, each runs every variant once; at least 5 for a result "
                             "[%(default)s]")
    parser.add_argument("--seed", type=int, default=0,
                        help="seed of the synthetic data [%(default)s]")
    parser.add_argument("--quick", action="store_true",
                        help="tiny sizes and one round: checks that the benchmark runs, its "
                             "numbers mean nothing")


def check_repeats(args):
    """--quick takes one round; anything else that is too few to give a spread is refused."""
    if args.quick:
        args.repeats = 1
    elif args.repeats < MIN_REPEATS:
        sys.exit("error: --repeats %d is too few for a median and a spread; give at least %d"
                 % (args.repeats, MIN_REPEATS))


def interleaved(timers, repeats):
    """Run A B C A B C ...: what disturbs the machine for a while then disturbs all variants.

    Args:
      timers: dict name -> function () -> measured number. Warm-up is the caller's. repeats: rounds.
    Returns: dict name -> list of `repeats` numbers.
    """
    found = {name: [] for name in timers}
    for _ in range(repeats):
        for name, timer in timers.items():
            found[name].append(timer())
    return found


def seconds_of(function):
    """Wall seconds of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def summary(values):
    """{"median", "min", "max", "raw"} of repeated measurements of one thing."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values),
            "raw": list(values)}


def ratio(above, below):
    """Ratio of two summaries: of the medians, and of the best repeats."""
    return {"median": above["median"] / below["median"], "best": above["min"] / below["min"]}


def report(args, results, **more):
    """The report as a dict; `results` is the benchmark's own part."""
    flags = {name: _shown(value) for name, value in vars(args).items()}
    return dict(more, benchmark=os.path.basename(sys.argv[0]), command=command(), config=flags,
                commit=commit(),
                date=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
                hardware=hardware(),
                versions=versions(),
                environment={name: os.environ.get(name) for name in ENVIRONMENT}, results=results)


def write(found, path):
    """Write a report; no path, no file."""
    if path:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        with open(path, "w", encoding="utf-8") as out:
            json.dump(found, out, indent=1, sort_keys=True)
            out.write("\n")
        print("wrote %s" % path)


def command():
    """The command line, with directories outside the checkout cut off: they are this machine's own.
    """
    return " ".join(["python%d.%d" % sys.version_info[:2],
                     "benchmarks/" + os.path.basename(sys.argv[0])]
                    + [_shown(word) for word in sys.argv[1:]])


def _shown(value):
    return os.path.basename(value) if isinstance(value, str) and os.path.isabs(value) else value


def commit():
    """Commit of the checkout, "+changes" where tracked files outside benchmarks/results differ;
    None without git.
    """
    try:
        head = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".",
                       ":!benchmarks/results")
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+changes" if changed else "")


def _git(*words):
    return subprocess.check_output(("git", "-C", ROOT) + words,
                                   stderr=subprocess.DEVNULL).decode().strip()


def hardware():
    """Processor, cores this process may use, memory, and the GPU if the driver lists one."""
    try:
        gpu = subprocess.check_output(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
                                      stderr=subprocess.DEVNULL).decode().strip()
    except (OSError, subprocess.CalledProcessError):
        gpu = ""
    return dict(machine.facts(), gpu=gpu or None)


def peak_mib():
    """Largest resident memory of this process so far, MiB; None where the system does not tell."""
    # ru_maxrss would start from the peak of the parent process
    kib = machine.proc_value("/proc/self/status", "VmHWM")
    if kib:
        return int(kib.split()[0]) / 1024.0
    if resource is None:
        return None
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024.0
                                                                  if sys.platform != "darwin"
                                                                  else 2.0 ** 20))


def growth_mib(function):
    """MiB by which resident memory at its highest during a call is above what it was before; None
    outside Linux.
    """
    before = machine.proc_value("/proc/self/status", "VmRSS")
    try:
        with open("/proc/self/clear_refs", "w") as peak:
            peak.write("5")  # forgets the highest value so far
    except OSError:
        before = None
    function()
    return peak_mib() - int(before.split()[0]) / 1024.0 if before else None


def versions():
    """Python and the packages loaded so far, with numpy's BLAS library."""
    return dict(machine.versions("numpy", "pandas", "tensorflow"), blas=_blas())


def _blas():
    """Name of the library behind numpy's products, as numpy tells it."""
    try:
        blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        return "%s %s" % (blas.get("name"), blas.get("version"))
    except TypeError:  # numpy before 1.25 has no such argument
        for key in ("openblas_info", "openblas64__info", "blas_mkl_info", "blas_opt_info"):
            libraries = getattr(np.__config__, key, {}).get("libraries")
            if libraries:
                return ", ".join(libraries)
    return None


def zipf_sessions(num_targets, num_items, seed, mean_length=4.5):
    """Seeded sessions whose items follow Zipf's law with exponent 1; which item is popular is
    shuffled.

    Args:
      num_targets: events with a predecessor, in all. num_items: I. mean_length: events per session,
      at least 2 each.
    Returns: (items int32 [E], offsets int64 [S + 1]).
    """
    random = np.random.RandomState(seed)
    # more than enough
    steps = random.geometric(1.0 / (mean_length - 1.0), size=max(1, num_targets))
    last = int(np.searchsorted(np.cumsum(steps), num_targets))
    steps = steps[:last + 1]
    steps[last] -= int(steps.sum()) - num_targets
    offsets = np.concatenate([[0], np.cumsum(steps + 1)]).astype(np.int64)
    return zipf_items(random, int(offsets[-1]), num_items), offsets


def zipf_items(random, count, num_items):
    """[count] int32 item indices, rank r with probability proportional to 1 / r."""
    bounds = np.cumsum(1.0 / np.arange(1, num_items + 1))
    ranks = np.searchsorted(bounds, random.random_sample(count) * bounds[-1])
    return random.permutation(num_items).astype(np.int32)[np.minimum(ranks, num_items - 1)]

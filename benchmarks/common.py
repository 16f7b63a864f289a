"""What all benchmarks share: flags, interleaved timing, summaries, and the JSON report.

The report holds everything that is needed to interpret its numbers.
"""

import argparse
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
               "MKL_NUM_THREADS", "TF_XLA_FLAGS", "XLA_FLAGS", "TF_NUM_INTRAOP_THREADS",
               "TF_NUM_INTEROP_THREADS", "TF_ENABLE_ONEDNN_OPTS", "CUDA_VISIBLE_DEVICES")
MIN_REPEATS = 5


def parser(description, repeats=7):
    """An ArgumentParser with the flags that every benchmark has."""
    shared = argparse.ArgumentParser(description=description,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    shared.add_argument("--json", metavar="OUT", help="write the report to this file")
    shared.add_argument("--repeats", type=int, default=repeats,
                        help="timed rounds, each runs every variant once; at least 5 for a result "
                             "[%(default)s]")
    shared.add_argument("--seed", type=int, default=0,
                        help="seed of the synthetic data [%(default)s]")
    shared.add_argument("--quick", action="store_true",
                        help="tiny sizes and one round: checks that the benchmark runs; its "
                             "numbers mean nothing")
    return shared


def names(parser_, flag, text, known):
    """The comma-separated names of a flag as a list; ends with an error if one is not known."""
    listed = text.split(",")
    unknown = sorted(set(listed) - set(known))
    if unknown:
        parser_.error("%s: unknown %s; use: %s" % (flag, ", ".join(unknown), ", ".join(known)))
    return listed


def check_repeats(args):
    """With --quick one round is made; otherwise too few rounds to give a spread are refused."""
    if args.quick:
        args.repeats = 1
    elif args.repeats < MIN_REPEATS:
        sys.exit("error: --repeats %d is too few for a median and a spread; give at least %d"
                 % (args.repeats, MIN_REPEATS))


class Child:
    """A process that reads requests and writes answers, each one JSON line; it waits in between."""

    def __init__(self, words, **environment):
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         universal_newlines=True,
                                         env=dict(os.environ, **environment))

    def tell(self, request):
        """Send a request."""
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()

    def answer(self):
        """Wait for an answer."""
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the child process ended with status %s" % self._process.wait())
        return json.loads(line)

    def ask(self, request):
        """Send a request and wait for its answer."""
        self.tell(request)
        return self.answer()

    def close(self):
        """Let the process end, and wait for that."""
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def answers():
    """For the process of a Child: function (answer) that writes it.

    From then on print writes to stderr, so that only answers go to the pipe.
    """
    out, sys.stdout = sys.stdout, sys.stderr

    def put(answer):
        out.write(json.dumps(answer) + "\n")
        out.flush()
    return put


def interleaved(timers, repeats):
    """Run A B C A B C ...: what disturbs the machine for a while then disturbs all variants.

    Args:
      timers: dict name -> function () -> measured number. The caller has warmed them up.
      repeats: rounds.
    Returns: dict name -> list of `repeats` numbers.
    """
    measured = {name: [] for name in timers}
    for _ in range(repeats):
        for name, timer in timers.items():
            measured[name].append(timer())
    return measured


def seconds_of(function):
    """Wall seconds of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def summary(values):
    """{"median", "min", "max", "raw"} of repeated measurements."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values),
            "raw": list(values)}


def ratio(above, below):
    """Ratio of two summaries: of their medians, and of their best repeats."""
    return {"median": above["median"] / below["median"], "best": above["min"] / below["min"]}


def report(args, results, **more):
    """The report as a dict; `results` is the benchmark's own part."""
    flags = {name: _shown(value) for name, value in vars(args).items()}
    environment = {name: os.environ.get(name) for name in ENVIRONMENT}
    now = datetime.datetime.now(datetime.timezone.utc)
    return dict(more, benchmark=os.path.basename(sys.argv[0]), command=command(), config=flags,
                commit=commit(), date=now.strftime("%Y-%m-%dT%H:%M:%SZ"), hardware=hardware(),
                versions=versions(), environment=environment, results=results)


def write(report_, path):
    """Write a report; without a path nothing is written."""
    if path:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        with open(path, "w", encoding="utf-8") as out:
            json.dump(report_, out, indent=1, sort_keys=True)
            out.write("\n")
        print("wrote %s" % path)


def command():
    """The command line; absolute paths are cut to their last part."""
    words = ["python%d.%d" % sys.version_info[:2], "benchmarks/" + os.path.basename(sys.argv[0])]
    return " ".join(words + [_shown(word) for word in sys.argv[1:]])


def _shown(value):
    return os.path.basename(value) if isinstance(value, str) and os.path.isabs(value) else value


def commit():
    """Commit of the checkout; with "+changes" if tracked files differ from it. None without git."""
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
    """Largest resident memory of this process so far, MiB; None if the system does not tell."""
    # ru_maxrss would start from the peak of the parent process, so VmHWM is asked first.
    kib = machine.proc_value("/proc/self/status", "VmHWM")
    if kib:
        return int(kib.split()[0]) / 1024.0
    if resource is None:
        return None
    unit = 2.0 ** 20 if sys.platform == "darwin" else 1024.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def growth_mib(function):
    """By how much resident memory grows at most during a call, MiB; None outside Linux."""
    before = machine.proc_value("/proc/self/status", "VmRSS")
    try:
        with open("/proc/self/clear_refs", "w") as peak:
            peak.write("5")  # resets the highest value
    except OSError:
        before = None
    function()
    return peak_mib() - int(before.split()[0]) / 1024.0 if before else None


def versions():
    """Python and the packages loaded so far, with numpy's BLAS library."""
    return dict(machine.versions("numpy", "pandas", "tensorflow"), blas=_blas())


def _blas():
    """Name of the library that computes numpy's matrix products."""
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
    """Seeded sessions of items by Zipf's law with exponent 1; which items are popular is random.

    Args:
      num_targets: number of events that have a predecessor in their session.
      num_items: I.
      seed: whole number.
      mean_length: mean number of events per session; each has at least 2.
    Returns: (items int32 [E], offsets int64 [S + 1]).
    """
    random = np.random.RandomState(seed)
    # More sessions than are needed; the rest is cut off.
    steps = random.geometric(1.0 / (mean_length - 1.0), size=max(1, num_targets))
    last = int(np.searchsorted(np.cumsum(steps), num_targets))
    steps = steps[:last + 1]
    steps[last] -= int(steps.sum()) - num_targets
    offsets = np.concatenate([[0], np.cumsum(steps + 1)]).astype(np.int64)
    return zipf_items(random, int(offsets[-1]), num_items), offsets


def zipf_items(random, count, num_items):
    """[count] int32 item indices; the item of rank r has a probability proportional to 1 / r."""
    bounds = np.cumsum(1.0 / np.arange(1, num_items + 1))
    ranks = np.searchsorted(bounds, random.random_sample(count) * bounds[-1])
    return random.permutation(num_items).astype(np.int32)[np.minimum(ranks, num_items - 1)]

"""Time and memory of `python -m gru4rec.prepare` on a generated log as large as that of RSC15.

The log has the form of yoochoose-clicks.dat, or of the files of REES46: sessions of 3.57 events on
average, more than a quarter of them with one event, 182 days, 52,739 items by Zipf's law with
exponent 1.4, so that every filter has work. Each figure comes from a process of its own; its peak
memory is the largest resident size that the system saw. The report also has a summary of the
outputs.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

import common
import numpy as np

from gru4rec.device import machine

START_MS, DAYS, MEAN_LENGTH = 1396310400000, 182, 3.57
YOOCHOOSE = "SELECT s, strftime(make_timestamp(t * 1000), '%Y-%m-%dT%H:%M:%S.%gZ'), i, 0 FROM frame"
# Four sessions per user, which only a pause separates; one event in ten is not a view.
REES46 = ("SELECT strftime(make_timestamp(t * 1000), '%Y-%m-%d %H:%M:%S UTC') AS event_time, "
          "CASE WHEN t % 10 = 0 THEN 'cart' ELSE 'view' END AS event_type, i AS product_id, "
          "NULL AS category_id, NULL AS category_code, NULL AS brand, 9.99 AS price, "
          "s % {users} AS user_id, NULL AS user_session FROM frame")


def generate(path, dataset, rows, num_items, seed):
    """Write about `rows` lines in the raw form of the dataset; returns the number written.

    A million sessions are made at a time.
    """
    import duckdb
    import pandas as pd
    random, written, first = np.random.RandomState(seed), 0, 0
    bounds = np.cumsum(1.0 / np.arange(1, num_items + 1) ** 1.4)
    ids = random.permutation(num_items) + 214500000
    num_sessions = max(1, int(rows / MEAN_LENGTH))
    connection = duckdb.connect()
    with open(path, "wb") as out:
        while first < num_sessions:
            count = min(1000000, num_sessions - first)
            lengths = random.geometric(1.0 / MEAN_LENGTH, count)
            session = np.repeat(np.arange(first, first + count), lengths)
            place = np.arange(len(session)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
            begin = (session * (DAYS * 86400000.0 / num_sessions)).astype(np.int64)
            ms = START_MS + begin + 60000 * place + random.randint(0, 60000, len(session))
            ranks = np.searchsorted(bounds, random.random_sample(len(session)) * bounds[-1])
            frame = pd.DataFrame({"s": session + 1, "t": ms,
                                  "i": ids[np.minimum(ranks, num_items - 1)]})
            connection.register("frame", frame)
            part, query = path + ".part", YOOCHOOSE
            if dataset == "rees46":
                query = REES46.replace("{users}", str(max(1, num_sessions // 4)))
            connection.execute("COPY (%s) TO '%s' (FORMAT csv, HEADER %s)" % (
                query, part.replace("'", "''"), str(dataset == "rees46" and not first).lower()))
            connection.unregister("frame")
            with open(part, "rb") as source:
                shutil.copyfileobj(source, out)
            os.remove(part)
            written, first = written + len(session), first + count
    return written


def prepare(args, out):
    """Run the command once in a new process.

    Returns: dict: seconds, peak_mib, sha256 of the outputs, summary that the command wrote.
    """
    words = [sys.executable, "-m", "gru4rec.prepare", args.dataset, args.file, "--out", out,
             "--memory", str(args.memory), "--threads", str(args.threads)]
    start = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, cwd=common.ROOT)
    peak = 0
    # VmHWM never shrinks, so only growth in the last fraction of a second can be missed.
    while process.poll() is None:
        kib = machine.proc_value("/proc/%d/status" % process.pid, "VmHWM") or "0 kB"
        peak = max(peak, int(kib.split()[0]))
        time.sleep(0.05)
    seconds = time.perf_counter() - start
    if process.returncode:
        raise RuntimeError("%s ended with status %d" % (" ".join(words[1:4]), process.returncode))
    digest = hashlib.sha256()
    for name in sorted(os.listdir(out)):
        with open(os.path.join(out, name), "rb") as source:
            for block in iter(lambda: source.read(1 << 22), b""):
                digest.update(block)
    with open(os.path.join(out, args.dataset + "_summary.json"), encoding="utf-8") as source:
        return {"seconds": seconds, "peak_mib": peak / 1024.0, "sha256": digest.hexdigest(),
                "summary": json.load(source)}


def measure(args):
    """All runs: a dict for the report. The generated file and the outputs are removed."""
    directory = tempfile.mkdtemp(dir=args.directory)
    try:
        args.file = os.path.join(directory, "clicks.dat")
        rows = generate(args.file, args.dataset, args.rows, args.items, args.seed)
        runs = []
        for number in range(args.repeats):
            out = os.path.join(directory, "out-%d" % number)
            runs.append(prepare(args, out))
            print("  %s: %d rows in %.1f s, peak %.0f MiB"
                  % (args.dataset, rows, runs[-1]["seconds"], runs[-1]["peak_mib"]))
            sys.stdout.flush()
            shutil.rmtree(out)
        if len({run["sha256"] for run in runs}) > 1:
            raise RuntimeError("two runs gave different outputs")
        return {"rows": rows, "file_bytes": os.path.getsize(args.file), "sha256": runs[0]["sha256"],
                "summary": runs[0]["summary"],
                "seconds": common.summary([run["seconds"] for run in runs]),
                "peak_mib": common.summary([run["peak_mib"] for run in runs])}
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def main():
    parser = common.parser(__doc__, repeats=5)
    parser.add_argument("--dataset", choices=("rsc15", "yoochoose", "rees46"), default="rsc15",
                        help="which preparation, and which raw form [%(default)s]")
    parser.add_argument("--rows", type=int, default=33000000,
                        help="events of the generated file, about [%(default)s]")
    parser.add_argument("--items", type=int, default=52739, help="distinct items [%(default)s]")
    parser.add_argument("--memory", type=float, default=2.5,
                        help="--memory of the command [%(default)s]")
    parser.add_argument("--threads", type=int, default=2,
                        help="--threads of the command [%(default)s]")
    parser.add_argument("--directory",
                        help="where the generated file and the outputs are written [the system's "
                             "directory for temporary files]")
    parser.add_argument("--once", action="store_true",
                        help="one run: for large sizes, to measure memory, not time")
    args = parser.parse_args()
    if args.quick:
        args.rows, args.items = 3000, 200
    if args.once:
        args.repeats = 1
    else:
        common.check_repeats(args)
    import duckdb
    results = measure(args)
    common.write(common.report(args, results, duckdb=duckdb.__version__), args.json)


if __name__ == "__main__":
    main()

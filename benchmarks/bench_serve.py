"""Load test of `python -m gru4rec.serve` on loopback: requests/s, latency and errors.

The server is the real command in a process of its own, on a checkpoint of random weights (or
--checkpoint_dir); this process is the clients. The loads:
  closed    --clients connections; each sends a request when it has the answer to the one before
  steady    requests at a rate of --rate, sent by any free connection; latency counts from the time
            at which a request was due
  alone     one connection
Sessions are seeded, with 1 to 20 items by Zipf's law. `cpu_cores` is how many processors the
server's process used meanwhile. Writing the random checkpoint needs TensorFlow.
"""

import asyncio
import contextlib
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import time

import common
import numpy as np

LOADS = ("closed", "steady", "alone")


def write_checkpoint(directory, args):
    """Write a checkpoint of random weights; item ids are 0..I-1."""
    from gru4rec import checkpoint, config
    from gru4rec.data.vocab import Vocabulary
    from gru4rec.model import state
    cfg = config.from_flags({"size": str(args.size), "seed": str(args.seed), "optimizer": "sgd"})
    vocabulary = Vocabulary(np.arange(args.items, dtype=np.int64), np.ones(args.items, np.int64))
    checkpoint.save(directory, cfg, vocabulary, state.initial(cfg, args.items), 0, 1)


@contextlib.contextmanager
def server(directory, flags=()):
    """Start the command; yields (process, port)."""
    words = [sys.executable, "-m", "gru4rec.serve", "--checkpoint_dir", directory, "--port", "0"]
    process = subprocess.Popen(words + list(flags), cwd=common.ROOT, stdout=subprocess.PIPE,
                               universal_newlines=True)
    try:
        line = process.stdout.readline()
        port = re.search(r":(\d+)\n\Z", line)
        if not port:
            raise RuntimeError("the server did not start: %r" % line)
        yield process, int(port.group(1))
    finally:
        process.terminate()
        process.wait(60)


def requests(args, path, ids):
    """Whole HTTP requests as a list of bytes; ids: item ids that the model knows."""
    random = np.random.RandomState(args.seed)
    lengths = np.minimum(random.geometric(1.0 / 3.5, args.requests), 20)
    items = ids[common.zipf_items(random, int(lengths.sum()), len(ids))].tolist()
    texts, at = [], 0
    for number, length in enumerate(lengths):
        if path == "/recommend":
            where, body = path, {"items": items[at:at + length], "k": args.k}
        else:
            where, body = "/sessions/%d/click" % (number % 1000), {"item": items[at], "k": args.k}
        content = json.dumps(body).encode()
        texts.append(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                     b"Content-Length: %d\r\n\r\n%s" % (where.encode(), len(content), content))
        at += length
    return texts


class Client(asyncio.Protocol):
    """One connection, with at most one request at a time."""

    def __init__(self):
        self._buffer, self.answer = b"", None

    def connection_made(self, transport):
        self._transport = transport

    def ask(self, request):
        """Send a request; returns a future of the status of the answer (0: connection lost)."""
        self.answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self.answer

    def data_received(self, data):
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        length = int(re.search(rb"(?i)content-length: (\d+)", self._buffer[:head]).group(1))
        if len(self._buffer) >= head + 4 + length:
            status, self._buffer = int(self._buffer[9:12]), b""
            self.answer.set_result(status)

    def connection_lost(self, error):
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(0)


async def connect(port, count):
    loop = asyncio.get_running_loop()
    return [(await loop.create_connection(Client, "127.0.0.1", port))[1] for _ in range(count)]


async def closed(port, texts, clients, seconds):
    """(seconds of each request, number of errors, wall seconds)."""
    times, errors, number = [], [0], iter(range(10 ** 9))
    start = time.perf_counter()

    async def one(client):
        while time.perf_counter() - start < seconds:
            began = time.perf_counter()
            status = await client.ask(texts[next(number) % len(texts)])
            times.append(time.perf_counter() - began)
            errors[0] += status != 200

    await asyncio.gather(*[one(client) for client in await connect(port, clients)])
    return times, errors[0], time.perf_counter() - start


async def steady(port, texts, clients, seconds, rate):
    """As `closed`, at `rate` requests a second."""
    times, errors, free = [], [0], asyncio.Queue()
    for client in await connect(port, clients):
        free.put_nowait(client)
    start = time.perf_counter()

    async def one(due, request):
        client = await free.get()
        status = await client.ask(request)
        times.append(time.perf_counter() - due)
        errors[0] += status != 200
        free.put_nowait(client)

    tasks = []
    for number in range(int(seconds * rate)):
        due = start + number / rate
        wait = due - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        tasks.append(asyncio.ensure_future(one(due, texts[number % len(texts)])))
    await asyncio.gather(*tasks)
    return times, errors[0], time.perf_counter() - start


def cpu_seconds(process):
    """Processor seconds that a process has used so far; None outside Linux."""
    try:
        with open("/proc/%d/stat" % process.pid) as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except OSError:
        return None


def summary(process, run):
    """Run one load: requests, requests_per_s, errors, p50_ms ... max_ms, cpu_cores as a dict."""
    before = cpu_seconds(process)
    times, errors, seconds = asyncio.run(run)
    latency = dict(zip(("p50_ms", "p90_ms", "p99_ms", "max_ms"),
                       1e3 * np.percentile(times, [50, 90, 99, 100])))
    used = None if before is None else (cpu_seconds(process) - before) / seconds
    return dict(latency, requests=len(times), requests_per_s=len(times) / seconds, errors=errors,
                cpu_cores=used)


def mean_batch(port):
    """Mean number of requests that the server computed together so far."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    total, count = (float(re.search(r"^gru4rec_batch_requests_%s (\S+)" % name, text,
                                    re.M).group(1))
                    for name in ("sum", "count"))
    return total / count


def measure(args):
    """Everything: a dict for the report."""
    from gru4rec.data.vocab import Vocabulary
    with tempfile.TemporaryDirectory() as directory:
        if args.checkpoint_dir:
            directory = args.checkpoint_dir
        else:
            write_checkpoint(directory, args)
        rows, ids = [], Vocabulary.load(os.path.join(directory, "vocabulary.npz")).ids
        with server(directory, args.server_flags.split()) as (process, port):
            for path in ("/recommend", "/sessions/{id}/click"):
                texts = requests(args, path, ids)
                asyncio.run(closed(port, texts, args.clients, args.seconds / 5))  # warm-up
                for round_ in range(args.repeats):
                    for load in args.loads.split(","):
                        run = load_of(load, port, texts, args)
                        rows.append(dict(summary(process, run), load=load, path=path,
                                         round=round_))
                        show(rows[-1])
            batch = mean_batch(port)
    return {"items": len(ids), "size": args.size, "k": args.k, "clients": args.clients,
            "rate": args.rate, "rows": rows, "mean_batch": batch,
            "load_average": os.getloadavg()}


def load_of(name, port, texts, args):
    """The coroutine of a load."""
    if name == "steady":
        return steady(port, texts, args.clients, args.seconds, args.rate)
    if name == "alone":
        return closed(port, texts, 1, args.seconds / 2)
    return closed(port, texts, args.clients, args.seconds)


def show(row):
    print("%-22s %-7s %7.0f requests/s  p50 %6.2f  p90 %6.2f  p99 %6.2f  max %6.1f ms  errors %d  "
          "server %.2f cores" % (row["path"], row["load"], row["requests_per_s"], row["p50_ms"],
                                 row["p90_ms"], row["p99_ms"], row["max_ms"], row["errors"],
                                 row["cpu_cores"] or 0))
    sys.stdout.flush()


def main():
    parser = common.parser(__doc__, repeats=5)
    parser.add_argument("--checkpoint_dir", help="model to serve [random weights]")
    parser.add_argument("--items", type=int, default=17376, help="catalogue [%(default)s]")
    parser.add_argument("--size", type=int, default=100, help="hidden units [%(default)s]")
    parser.add_argument("-k", type=int, default=20, help="length of a list [%(default)s]")
    parser.add_argument("--clients", type=int, default=64, help="connections [%(default)s]")
    parser.add_argument("--rate", type=float, default=1000.0,
                        help="requests/s of the load `steady` [%(default)s]")
    parser.add_argument("--seconds", type=float, default=5.0,
                        help="length of a load in a round [%(default)s]")
    parser.add_argument("--requests", type=int, default=5000,
                        help="different requests [%(default)s]")
    parser.add_argument("--loads", default=",".join(LOADS), help="which to run [%(default)s]")
    parser.add_argument("--server_flags", default="",
                        help="flags of the server, as one argument [none]")
    args = parser.parse_args()
    common.names(parser, "--loads", args.loads, LOADS)
    common.check_repeats(args)
    if args.quick:
        args.items, args.size, args.seconds, args.rate, args.requests = 500, 16, 0.4, 100.0, 50
    try:
        import uvloop
        uvloop.install()
    except ImportError:
        pass
    result = measure(args)
    errors = sum(row["errors"] for row in result["rows"])
    print("errors %d, mean batch %.1f requests" % (errors, result["mean_batch"]))
    common.write(common.report(args, result), args.json)
    sys.exit(1 if errors else 0)


if __name__ == "__main__":
    main()

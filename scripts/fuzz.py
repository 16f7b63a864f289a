"""Feed hostile input to everything that reads files, and count the cases.

    python scripts/fuzz.py [--cases 2000] [--seed 0] [TARGET ...]

A case is a valid input with bytes, values or structure changed at random, or fully random input.
Checksums are corrected afterwards, as an attacker would do. A case passes if the input is accepted,
or refused with one of the program's own errors, within 20 seconds of processor time and 4 GiB, and
no file was written. Otherwise the case is named and the exit status is 1.
"""

import argparse
import contextlib
import gzip
import io
import json
import os
import pickle
import random
import shutil
import signal
import struct
import sys
import tempfile
import time
import zipfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)

import numpy as np  # noqa: E402

from gru4rec import checkpoint, config  # noqa: E402
from gru4rec.checkpoint import bundle_writer  # noqa: E402
from gru4rec.checkpoint import manifest as manifests  # noqa: E402
from gru4rec.command import flags as flags_module  # noqa: E402
from gru4rec.config import presets  # noqa: E402
from gru4rec.data import sessions, synthetic  # noqa: E402
from gru4rec.data.reading import loader  # noqa: E402
from gru4rec.data.vocab import Vocabulary  # noqa: E402
from gru4rec.errors import Gru4RecError  # noqa: E402
from gru4rec.evaluation.baselines import rules  # noqa: E402
from gru4rec.files import hashes  # noqa: E402
from gru4rec.model import state  # noqa: E402
from gru4rec.training import resume  # noqa: E402
from gru4rec.training.directory import RunDirectory  # noqa: E402
from gru4rec.training.start import Refit  # noqa: E402

SECONDS, MEMORY = 20, 4 << 30
WORDS = ["", "0", "-1", "1e999", "nan", "NaN", "9" * 30, "1e-320", "null", "\ud800", "\x00",
         "../../etc/passwd", "é", "true", "-0", "0x10", "1_000", "٣",
         "100,50", ",", "'", '"', "\t", "\n", "%s", "1" * 5000]
NUMBERS = [0, -1, 1, 2 ** 31, 2 ** 63, -2 ** 63 - 1, 10 ** 400, 1e308, float("inf"), float("nan"),
           0.1, True, None]


class Executed:
    """An object that creates a file when it is unpickled."""

    def __reduce__(self):
        return open, ("executed", "w")


def mutated(chance, data, pieces=()):
    """The bytes with a few places changed, cut, doubled or replaced."""
    data = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 5, 20])):
        at = chance.randrange(len(data) + 1)
        kind = chance.randrange(6)
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del data[at:at + chance.choice([1, 2, 8, 100, 10 ** 6])]
        elif kind == 2:
            data[at:at] = bytes(chance.randrange(256) for _ in range(chance.randrange(1, 9)))
        elif kind == 3:
            data[at:at] = data[at:at + chance.randrange(1, 200)]
        elif kind == 4 and pieces:
            data[at:at + chance.randrange(4)] = chance.choice(pieces)
        else:
            number = chance.choice([0, -1, 1, 2 ** 31, 2 ** 40, 2 ** 62, -2 ** 63])
            data[at:at + 8] = struct.pack("<q", number)
    return bytes(data)


def junk(chance, depth=3):
    """A random JSON value."""
    kind = chance.randrange(6 if depth else 4)
    if kind < 2:
        return chance.choice(NUMBERS)
    if kind < 4:
        return chance.choice(WORDS)
    if kind == 4:
        return [junk(chance, depth - 1) for _ in range(chance.randrange(4))]
    return {chance.choice(WORDS): junk(chance, depth - 1) for _ in range(chance.randrange(4))}


def changed(chance, value, depth=0):
    """The JSON value with about one part replaced, removed or added."""
    if depth and chance.random() < 0.1:
        return junk(chance)
    if isinstance(value, dict) and value:
        out = dict(value)
        key = chance.choice(sorted(out))
        kind = chance.randrange(8)
        if kind == 0:
            del out[key]
        elif kind == 1:
            out[chance.choice(WORDS)] = junk(chance)
        elif kind == 2:
            out[key] = junk(chance)
        else:
            out[key] = changed(chance, out[key], depth + 1)
        return out
    if isinstance(value, list) and value:
        at = chance.randrange(len(value))
        part = changed(chance, value[at], depth + 1)
        return value[:at] + [part] + value[at + 1 + (chance.random() < 0.1):]
    return junk(chance)


class Corpus:
    """Valid inputs to start from, in the current directory."""

    def __init__(self, directory, real_tensors):
        self.directory = directory
        self.frame = synthetic.markov_sessions(6, 5, 1)
        self.text = self.frame.to_csv(sep="\t", index=False).encode()
        with contextlib.redirect_stdout(io.StringIO()):
            events = self.events("clicks.tsv", self.text)
        self.vocabulary, self.sessions, _ = sessions.index_train(events)
        self.config = config.parse(["--size", "4", "--batch_size", "2", "--valid_fraction", "0.5",
                                    "--checkpoint_dir", "."])
        self.arrays = state.initial(self.config, len(self.vocabulary))
        self.arrays[state.GLOBAL_STEP] = np.array(7)
        if not real_tensors:
            bundle_writer.write = _stand_in
        rules.save("rules.npz", rules.build(self.sessions, len(self.vocabulary)), self.vocabulary)
        record = {"metric": "recall@20", "value": 0.5, "best_epoch": 0, "best_value": 0.5,
                  "values": [0.5]}
        checkpoint.save(".", self.config, self.vocabulary, self.arrays, 0, 70, record,
                        phase="train",
                        position={"epoch": 0, "steps": 7, "loss_sum": 1.5, "seconds": 2.0,
                                  "mean_loss": 1.5, "best_loss": 1.0},
                        data={"train": "x", "validation": "y", "events": 9, "items": 5})
        self.refit = json.loads(Refit(self.config, 0, "text").text())
        self.manifest = self.read("gru-model-0.json")
        self.bytes = {name: self.read(name, "rb") for name in os.listdir(".")}

    def events(self, name, data):
        with open(name, "wb") as out:
            out.write(data)
        return loader.load_events(name)

    def read(self, name, mode="r"):
        with open(name, mode) as file:
            return json.load(file) if mode == "r" else file.read()

    def put(self, name, data):
        """Write a file with other content, and correct its checksum in the manifest."""
        for other, content in self.bytes.items():
            if other != name:
                _write(other, content)
        _write(name, data)
        if name in self.manifest["files"]:
            manifest = dict(self.manifest,
                            files=dict(self.manifest["files"], **{name: hashes.fingerprint(name)}))
            self.put_manifest(manifest)

    def put_manifest(self, manifest):
        rest = {key: value for key, value in manifest.items() if key not in ("sha256", "format")}
        _write("gru-model-0.json",
               manifests.dump(manifests.make(**rest)).encode("utf-8", "surrogatepass"))


def _stand_in(prefix, arrays):
    for ending in bundle_writer.ENDINGS:
        _write(prefix + ending, b"stand-in")


def _write(name, data):
    with open(name, "wb") as out:
        out.write(data)


# A target is a function (chance, corpus) that writes a case and returns the function () to read it.

def text_events(chance, corpus):
    pieces = [word.encode("utf-8", "replace")
              for word in WORDS] + [b"SessionId", b"\r\n", b"\xef\xbb\xbf", b";", b","]
    data = corpus.text
    if chance.random() >= 0.9:
        data = bytes(chance.randrange(256) for _ in range(chance.randrange(300)))
    data = mutated(chance, data, pieces)
    if chance.random() < 0.2:
        data = gzip.compress(data)
        if chance.random() < 0.7:
            data = mutated(chance, data)
    name = chance.choice(["case.tsv", "case.csv.gz", "case.txt"])
    _write(name, data)

    def read():
        events = loader.load_events(name)
        vocabulary, _, _ = sessions.index_train(events)
        sessions.index_test(events, vocabulary, chance.choice(["drop", "miss"]))
    return read


def parquet_events(chance, corpus):
    if "clicks.parquet" not in corpus.bytes:
        frame = corpus.frame.astype({"ItemId": str} if chance.random() < 0.5 else {})
        frame.to_parquet("clicks.parquet")
        corpus.bytes["clicks.parquet"] = corpus.read("clicks.parquet", "rb")
    _write("case.parquet", mutated(chance, corpus.bytes["clicks.parquet"]))
    return lambda: loader.load_events("case.parquet")


def flags(chance, corpus):
    names = [item.name for _, _, item in flags_module.fields_of(config.GROUPS)]
    argv = []
    for _ in range(chance.randrange(1, 6)):
        value = chance.choice(WORDS + [str(n) for n in NUMBERS[:6]]
                              + ["fast", "rsc15", "adam", "bpr", "tanh", "90s"])
        if chance.random() < 0.95:
            argv += ["--" + chance.choice(names), value]
        else:
            argv.append(chance.choice(WORDS))
    return lambda: config.parse(argv)


def configuration(chance, corpus):
    value = changed(chance, corpus.config.to_dict())
    return lambda: config.from_dict(value)


def _resume(corpus):
    with RunDirectory(".") as directory:
        start = resume.find(config.parse(["--resume", "1", "--checkpoint_dir", "."]), directory)
        assert start.origin.saved or not start.origin.position
        start.origin.base_vocabulary()


def manifest(chance, corpus):
    corpus.put("x", b"")
    if chance.random() < 0.3:
        pieces = [word.encode("utf-8", "replace") for word in WORDS]
        _write("gru-model-0.json", mutated(chance, corpus.bytes["gru-model-0.json"], pieces))
    else:
        corpus.put_manifest(changed(chance, corpus.manifest))

    def read():
        with contextlib.suppress(Gru4RecError):
            _resume(corpus)
        checkpoint.pick(".")
    return read


def refit(chance, corpus):
    corpus.put("x", b"")
    text_ = json.dumps(changed(chance, corpus.refit)).encode()
    _write("refit.json", mutated(chance, text_) if chance.random() < 0.3 else text_)
    return lambda: _resume(corpus)


def _npz(chance, data):
    """An .npz changed as bytes, or with an array that is changed, pickled, huge or compressed."""
    kind = chance.randrange(4)
    if kind == 0:
        return mutated(chance, data)
    with np.load(io.BytesIO(data)) as stored:
        arrays = {key: stored[key] for key in stored.files}
    key = chance.choice(sorted(arrays))
    if kind == 1:
        arrays[key] = np.array([Executed()], object)
    elif kind == 2:
        values = arrays[key].astype(chance.choice(["i8", "f8", "u1", "S3", "c16", "M8[s]", "?"]))
        arrays[key] = chance.choice([
            values[:-1] if values.ndim else values, values.reshape(-1, 1), np.zeros_like(values),
            values, np.zeros(0, np.int64), np.full(values.shape, 2 ** 62),
            np.full(values.shape, -1)])
    out = io.BytesIO()
    if kind == 3:  # a header that announces much data, or a raw pickle
        method = chance.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
        with zipfile.ZipFile(out, "w", method) as archive:
            for other in arrays:
                member = io.BytesIO()
                np.save(member, arrays[other])
                body = member.getvalue()
                if other == key:
                    much = b"'shape': (%d," % 10 ** chance.randrange(3, 18)
                    body = chance.choice([
                        pickle.dumps(Executed()), body.replace(b"'shape': (", much),
                        body + bytes(10 ** 6), b"", body.replace(b"<i8", b"|O8"), body[:100]])
                archive.writestr(other + ".npy", body)
    else:
        np.savez(out, **arrays)
    return out.getvalue()


def vocabulary(chance, corpus):
    corpus.put("vocabulary.npz", _npz(chance, corpus.bytes["vocabulary.npz"]))

    def read():
        with contextlib.suppress(Gru4RecError):
            Vocabulary.load("vocabulary.npz")
        _resume(corpus)
    return read


def rule_file(chance, corpus):
    _write("rules.npz", _npz(chance, corpus.bytes["rules.npz"]))
    return lambda: rules.load("rules.npz", corpus.vocabulary)


def preset(chance, corpus):
    os.makedirs("presets", exist_ok=True)
    presets._HERE = os.path.abspath("presets")
    value = {"about": "a", "flags": {"size": 100, "lr": 0.2, "loss": "bpr", "dropout": "0.5,0.2"}}
    data = json.dumps(changed(chance, value)).encode()
    _write("presets/case.json", mutated(chance, data) if chance.random() < 0.4 else data)

    def read():
        with contextlib.redirect_stdout(io.StringIO()), \
                contextlib.suppress(Gru4RecError, SystemExit):
            config.parse(["--preset", "list"])
        config.parse(["--preset", "case"])
    return read


def tensors(chance, corpus):
    """Tensor files; writing the valid ones needs TensorFlow."""
    ending = chance.choice(bundle_writer.ENDINGS)
    corpus.put("gru-model-0" + ending, mutated(chance, corpus.bytes["gru-model-0" + ending]))

    def read():
        loaded = checkpoint.load(".")
        state.caught_up(loaded.config, loaded.arrays)
    return read


TARGETS = {function.__name__: function for function in (
    text_events, parquet_events, flags, configuration, manifest, refit, vocabulary, rule_file,
    preset, tensors)}


def _snapshot():
    return {os.path.join(parent, name): os.stat(os.path.join(parent, name)).st_mtime_ns
            for parent, _, names in os.walk(".") for name in names}


@contextlib.contextmanager
def limits():
    """Within it, too much time or memory is an error."""
    def late(*_):
        raise TimeoutError("no end after %d s" % SECONDS)

    before = signal.signal(signal.SIGPROF, late)
    import resource
    old = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, old)
        signal.signal(signal.SIGPROF, before)


def run(name, cases, seed):
    """Run the cases of a target; returns {"taken": n, "refused": n}.

    Raises: AssertionError, which names the first case that does not pass.
    """
    here, replaced = os.getcwd(), (presets._HERE, bundle_writer.write)
    scratch = tempfile.mkdtemp(prefix="gru4rec-fuzz-")
    count = {"taken": 0, "refused": 0}
    try:
        os.chdir(scratch)
        corpus = Corpus(scratch, name == "tensors")
        with limits():
            for case in range(cases):
                read = TARGETS[name](random.Random("%s %d %d" % (name, seed, case)), corpus)
                before = _snapshot()
                signal.setitimer(signal.ITIMER_PROF, SECONDS)
                try:
                    read()
                    count["taken"] += 1
                except Gru4RecError as error:
                    count["refused"] += 1
                    assert str(error).strip(), "a message without text"
                except MemoryError:
                    count["refused"] += 1  # the command reports it in one line
                finally:
                    signal.setitimer(signal.ITIMER_PROF, 0)
                assert _snapshot() == before, "files were written"
    except Exception as error:
        raise AssertionError("%s: seed %d, case %d: %s: %s"
                             % (name, seed, case, type(error).__name__, error)) from error
    finally:
        os.chdir(here)
        presets._HERE, bundle_writer.write = replaced
        shutil.rmtree(scratch)
    return count


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=2000, help="for each target [default: 2000]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("targets", nargs="*",
                        help="some of: %s [default: all]" % ", ".join(TARGETS))
    args = parser.parse_args(argv)
    total = 0
    for name in args.targets or TARGETS:
        started = time.monotonic()
        count = run(name, args.cases, args.seed)
        total += args.cases
        print("%-14s %7d cases: %7d refused in one line, %7d taken, %.0f s" % (
            name, args.cases, count["refused"], count["taken"], time.monotonic() - started),
              flush=True)
    print("%d cases, nothing else happened, nothing was written" % total)
    return 0


if __name__ == "__main__":
    sys.exit(main())

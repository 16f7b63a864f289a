"""Command: a checkpoint -> graphs that serve without this package.

    python -m gru4rec.export --checkpoint_dir runs/a --format frozen_pb --out frozen
"""

import contextlib
import os
import re
import sys
from dataclasses import dataclass
from typing import Optional, Tuple

from gru4rec.command.flags import Command, flag
from gru4rec.command.interrupts import StopRequest
from gru4rec.command.kinds import int_list, whole
from gru4rec.command.process import exit_status, say, setup_logging
from gru4rec.errors import ConfigError
from gru4rec.export import FORMATS, directory

BATCH_SIZE, MAX_LENGTH = 50, 20  # of frozen_pb, where no flag is given


@dataclass(frozen=True)
class ExportConfig:
    """Which checkpoint is exported, as what and where to."""

    checkpoint_dir: str = flag("checkpoint", "directory of the checkpoint", "directory")
    test: Optional[int] = flag(None, "epoch of the checkpoint (0-based)", "epoch", kind=whole,
                               low=0, shown="the best by validation, or the newest if there was "
                                            "none")
    format: Optional[str] = flag(None, "format of the graphs", choices=FORMATS,
                                 shown="none, must be given")
    out: Optional[str] = flag(None, "directory to create", "directory", shown="none, must be given")
    overwrite: int = flag(0, "1 replaces an earlier export there", choices=(0, 1), kind=whole)
    k: int = flag(20, "length of the recommended lists", "items", kind=whole, low=1, high=10 ** 6)
    batch_size: Optional[Tuple[int, ...]] = flag(
        None, "sessions in one call (frozen_pb; the other formats take any number); with several "
        "sizes such as 1,8,64 the graphs take any number, and atc compiles them for these sizes",
        "sessions", kind=int_list, low=1, high=10 ** 6, shown=str(BATCH_SIZE))
    max_length: Optional[int] = flag(
        None, "largest number of items in a session that the prefix graph takes (frozen_pb; the "
        "other formats take any number)", "ids", kind=whole, low=1, high=1000,
        shown=str(MAX_LENGTH))
    soc_version: Optional[str] = flag(
        None, "chip that atc compiles for, if the environment has no SOC_VERSION (frozen_pb)",
        shown="Ascend310")


COMMAND = Command("python -m gru4rec.export", __doc__.splitlines()[0], (("export", ExportConfig),))


def parse(argv):
    """Command line -> ExportConfig.

    Raises: ConfigError.
    """
    options, = COMMAND.parse(argv)
    if options.format is None:
        raise ConfigError("--format is missing; use one of: " + ", ".join(FORMATS))
    if options.out is None:
        raise ConfigError("--out is missing; give the directory to make")
    if options.format != "frozen_pb":
        for name in ("batch_size", "max_length"):
            if getattr(options, name) is not None:
                raise ConfigError("--%s belongs to --format frozen_pb; %s takes any number"
                                  % (name, options.format))
        if options.soc_version is not None:
            raise ConfigError("--soc_version belongs to --format frozen_pb")
    if options.batch_size and len(set(options.batch_size)) < len(options.batch_size):
        raise ConfigError("--batch_size %s names a size twice"
                          % ",".join(map(str, options.batch_size)))
    if options.soc_version is not None and not re.match(r"[A-Za-z0-9_-]+\Z", options.soc_version):
        raise ConfigError("--soc_version %r is no name of a chip, such as Ascend310P3"
                          % options.soc_version)
    return options


def run(options):
    """Write the export that `options` (ExportConfig) ask for, whole or not at all."""
    directory.check(options.out, options.overwrite)
    from gru4rec.export import source as source_module
    with _library(options.format), StopRequest() as stop:
        source = source_module.read(options.checkpoint_dir, options.test)
        stop.check()
        with directory.replacing(options.out) as place:
            directory.write_vocabulary(os.path.join(place, directory.VOCABULARY), source.vocabulary)
            graphs, versions = _write(place, source, options)
            directory.write_manifest(place, options.format, source, graphs, versions)
            stop.check()
    say("%s: %d items, epoch %d, step %d -> %s"
        % (options.format, source.num_items, source.record["epoch"], source.record["step"],
           options.out))
    for name, entry in graphs.items():
        say("%s: %s -> %s" % (name, _text(entry["inputs"]), _text(entry["outputs"])))


def _library(export_format):
    """Import the library that writes a format.

    Returns: context in which the library's errors for lack of memory become a MemoryError.
    """
    if export_format == "onnx":
        from gru4rec.export import onnx_model
        onnx_model.import_onnx()
        return contextlib.nullcontext()
    from gru4rec import tf_compat
    tf_compat.setup()
    return tf_compat.memory_errors()


def _write(place, source, options):
    """Write the graphs -> (manifest entry by graph, version by library that wrote them)."""
    if options.format == "onnx":
        from gru4rec.export import onnx_model
        versions = {"onnx": onnx_model.import_onnx().__version__}
        return onnx_model.write(place, source, options.k), versions
    from gru4rec.export import frozen_pb, saved_model
    from gru4rec.tf_compat import tf
    versions = {"tensorflow": tf.__version__}
    if options.format == "saved_model":
        return saved_model.write(place, source, options.k), versions
    graphs = frozen_pb.write(place, source, options.batch_size or (BATCH_SIZE,),
                             options.max_length or MAX_LENGTH, options.k,
                             options.soc_version or "Ascend310")
    return graphs, versions


def _text(tensors):
    """Tensors of a manifest entry as `input int32 [50], rnn_state float32 [50, 100]`."""
    return ", ".join("%s %s [%s]" % (t["name"], t["dtype"],
                                     ", ".join("any" if n is None else str(n) for n in t["shape"]))
                     for t in tensors)


def main(argv=None):
    """Run the command; returns its exit status (command.process.exit_status)."""
    setup_logging()
    return exit_status(lambda: run(parse(sys.argv[1:] if argv is None else list(argv))))


if __name__ == "__main__":
    sys.exit(main())

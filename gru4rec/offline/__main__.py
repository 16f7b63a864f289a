"""Command: Recall and MRR of an exported graph on a test file, measured as by `--train 0`.

    python -m gru4rec.offline --model_dir frozen --test_path next_day.tsv
"""

import logging
import sys
from dataclasses import dataclass
from typing import Optional

from gru4rec.command.flags import Command, flag
from gru4rec.command.interrupts import StopRequest
from gru4rec.command.kinds import whole
from gru4rec.command.process import exit_status, progress, say, setup_logging
from gru4rec.config.groups import EvalConfig
from gru4rec.errors import ConfigError
from gru4rec.evaluation.metrics import OF_LISTS
from gru4rec.export.signature import PREFIX, STEP
from gru4rec.runlog.lines import counts_line

_log = logging.getLogger("gru4rec.offline")  # __name__ is "__main__" when this runs as the command

KEYS = ("session_key", "item_key", "time_key")
_OF_A_CHECKPOINT = ("test", "eval_batch_size", "compare_rules")


@dataclass(frozen=True)
class OfflineConfig:
    """Which graph runs on which events, and in what."""

    model_dir: Optional[str] = flag(None, "directory that gru4rec.export made", "directory",
                                    shown="none, must be given")
    graph: str = flag(STEP, "step: one call for each click, and ranks among all items; prefix: one "
                      "call for each target, and its place in the list of the graph",
                      choices=(STEP, PREFIX))
    runtime: str = flag("auto", "auto: TensorFlow or ONNX Runtime on the CPU; acl: the .om on an "
                        "NPU, through pyACL", choices=("auto", "acl"))
    device_id: int = flag(0, "NPU of --runtime acl", kind=whole, low=0, high=10 ** 4)
    test_path: Optional[str] = flag(None, "test events", "file", shown="that of training")
    session_key: Optional[str] = flag(None, "column of the session id", "column",
                                      shown="that of training")
    item_key: Optional[str] = flag(None, "column of the item id", "column",
                                   shown="that of training")
    time_key: Optional[str] = flag(None, "column of the event time", "column",
                                   shown="that of training")


COMMAND = Command("python -m gru4rec.offline", __doc__.splitlines()[0],
                  (("replay", OfflineConfig), ("evaluation", EvalConfig)), _OF_A_CHECKPOINT)


def parse(argv):
    """Command line -> (OfflineConfig, EvalConfig).

    Raises: ConfigError.
    """
    which, options = COMMAND.parse(argv)
    if which.model_dir is None:
        raise ConfigError("--model_dir is missing; give the directory that python -m "
                          "gru4rec.export made")
    lists = [name for name in options.metrics if name in OF_LISTS]
    if lists:
        raise ConfigError("--metrics %s needs the model itself; use recall, mrr and ndcg, or "
                          "--train 0" % lists[0])
    if which.graph == PREFIX and options.tie != "conservative":
        raise ConfigError("--tie %s is not possible: lists of --graph prefix put the lower item "
                          "index first; use --graph step" % options.tie)
    if which.graph == PREFIX and options.ranks_out is not None:
        raise ConfigError("--ranks_out: --graph prefix gives no rank beyond its lists; use "
                          "--graph step")
    return which, options


def run(which, options):
    """Evaluate and print; the arguments are those of `parse`."""
    from gru4rec.data import sample
    from gru4rec.data.reading import loader
    from gru4rec.evaluation import protocol, ranks_file
    from gru4rec.export import exported
    from gru4rec.files import outputs
    from gru4rec.offline import runtimes
    export = exported.read(which.model_dir)
    graph = exported.graph(export, which.graph)
    runtimes.check(export, graph, which.runtime)
    if which.graph == PREFIX:
        k, longest = graph.signature.outputs[0].shape[1], max(options.cut_off)
        if longest > k and k < len(export.vocabulary):
            raise ConfigError("--cut_off %d is beyond the lists of %d items; export with --k %d, "
                              "or use --graph step" % (longest, k, longest))
    trained = export.config.data
    path = sample.test_file(which.test_path, trained.train_path, trained.test_path)
    outputs.check("--ranks_out", options.ranks_out, path)
    keys = [getattr(which, key) or getattr(trained, key) for key in KEYS]
    test = protocol.load(loader.load_events(path, *keys), export.vocabulary, options)
    ranks = _ranks(export, graph, which, test)
    say(counts_line(test.report, options.unknown))
    for line in protocol.result_lines(protocol.results(test, ranks)):
        say(line)
    for line in protocol.split_lines(protocol.split_rows(test, ranks), options.cut_off):
        say(line)
    ranks_file.write_ranks(test, ranks)


class _Between:
    """The `progress` of a replay: between two calls it moves the bar and obeys a signal."""

    def __init__(self, stop, bar):
        self._stop, self._bar = stop, bar

    def update(self, count):
        """Raises: Interrupted."""
        self._stop.check()
        if self._bar is not None:
            self._bar.update(count)


def _ranks(export, graph, which, test):
    """[counted targets] float64 ranks; a target outside its list of a prefix graph has the last."""
    from gru4rec.evaluation import protocol
    from gru4rec.offline import replay, runtimes
    runner = runtimes.open_graph(export, graph, which.runtime, which.device_id)
    try:
        with StopRequest() as stop, progress("replay", "event")(test.report.events) as bar:
            between = _Between(stop, bar)
            if which.graph == STEP:
                return protocol.ranks_of_all(test, replay.by_step(runner, test.sessions, between))
            places = replay.by_prefix(runner, test.sessions, len(export.vocabulary), between)
    finally:
        runner.close()
    if places.num_cut:
        _log.warning("%d of %d prefixes are longer than the graph takes; their last ids alone were "
                     "used (export with a larger --max_length)", places.num_cut, len(places.rank))
    if test.wanted is None:
        return places.rank
    return places.rank[test.wanted]


def main(argv=None):
    """Run the command; returns its exit status (command.process.exit_status)."""
    setup_logging()
    return exit_status(lambda: run(*parse(sys.argv[1:] if argv is None else list(argv))))


if __name__ == "__main__":
    sys.exit(main())

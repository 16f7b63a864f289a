"""Command: items of a session, or a file of sessions -> the items that may come next.

    python -m gru4rec.recommend --checkpoint_dir runs/a --items 214536502,214536500 -k 10
    python -m gru4rec.recommend --checkpoint_dir runs/a --sessions_path new.tsv --out lists.parquet
"""

import collections
import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Optional, Tuple

from gru4rec.command.flags import Command, flag
from gru4rec.command.interrupts import StopRequest
from gru4rec.command.kinds import id_list, lists_path, whole
from gru4rec.command.process import exit_status, progress, say, setup_logging
from gru4rec.errors import ConfigError
from gru4rec.recommend.threads import cores

_log = logging.getLogger("gru4rec.recommend")

BLOCK = 4096  # sessions ranked and written at once
MAX_K = 10 ** 5


@dataclass(frozen=True)
class ModelOptions:
    """Which model."""

    checkpoint_dir: str = flag("checkpoint", "directory of a trained model", "directory")
    epoch: Optional[int] = flag(None, "epoch of the checkpoint (0-based)", "epoch", kind=whole,
                                low=0, shown="the best by validation, or the newest if there was "
                                             "none")
    backend: str = flag("numpy", "numpy needs no TensorFlow; tf runs the graph of the evaluation",
                        choices=("numpy", "tf"))


@dataclass(frozen=True)
class ListOptions:
    """For which sessions, and what may be recommended."""

    items: Optional[Tuple[str, ...]] = flag(None, "item ids of one session, oldest first", "ids",
                                            kind=id_list, shown="none")
    sessions_path: Optional[str] = flag(
        None, "instead of --items: a file with the events of many sessions, in the formats of "
        "--train_path", "file", shown="none")
    out: Optional[str] = flag(None, "file for the lists of --sessions_path (.parquet .csv .jsonl)",
                              "file", kind=lists_path, shown="none")
    k: int = flag(20, "length of each list", "items", kind=whole, low=1, high=MAX_K)
    exclude_seen: int = flag(0, "1 leaves out the items of the session", choices=(0, 1), kind=whole)
    candidates: Optional[Tuple[str, ...]] = flag(None, "the only items to recommend", "ids",
                                                 kind=id_list, shown="every item")
    exclude: Optional[Tuple[str, ...]] = flag(None, "items not to recommend", "ids", kind=id_list,
                                              shown="none")
    session_key: Optional[str] = flag(None, "column of the session id", "column",
                                      shown="as in training")
    item_key: Optional[str] = flag(None, "column of the item id", "column", shown="as in training")
    time_key: Optional[str] = flag(None, "column of the event time", "column",
                                   shown="as in training")
    threads: Optional[int] = flag(None, "threads that rank blocks of sessions in parallel",
                                  "threads", kind=whole, low=1, high=1000, shown="one per core")


COMMAND = Command("python -m gru4rec.recommend", __doc__.splitlines()[0],
                  (("model", ModelOptions), ("lists", ListOptions)))


def parse(argv):
    """Command line -> (ModelOptions, ListOptions).

    Raises: ConfigError.
    """
    model, lists = COMMAND.parse(argv)
    if (lists.items is None) == (lists.sessions_path is None):
        raise ConfigError("give either the items of one session with --items, or a file with "
                          "--sessions_path and --out")
    if (lists.sessions_path is None) != (lists.out is None):
        raise ConfigError("give --sessions_path and --out together; --items prints its list and "
                          "needs no --out")
    return model, lists


def run(model_options, options):
    """Recommend, and print the list or write the file; the options are those of `parse`."""
    from gru4rec.files import outputs
    from gru4rec.recommend import model
    outputs.check("--out", options.out, options.sessions_path)
    trained = model.load(model_options.checkpoint_dir, model_options.backend, model_options.epoch)
    if options.items is not None:
        _print_list(trained, options)
    else:
        _write_lists(trained, options)


def _print_list(model, options):
    """Print what comes next in the session of --items."""
    recommendation = model.recommend(options.items, options.k, bool(options.exclude_seen),
                                     options.candidates, options.exclude)
    if recommendation.unknown:
        _log.warning("the model does not know %s; skipped",
                     ", ".join(map(str, recommendation.unknown)))
    if recommendation.by_popularity:
        _log.warning("no item of the session is known: these are the most popular, with their "
                     "events in the training file")
    for item, score in zip(*recommendation):
        say("%s\t%.6g" % (item, score))


def _write_lists(model, options):
    """Write what comes next in each session of --sessions_path."""
    from gru4rec.data import sessions
    from gru4rec.data.reading import loader
    from gru4rec.recommend import list_files
    data = model.config.data
    keys = [getattr(options, key) or getattr(data, key)
            for key in ("session_key", "item_key", "time_key")]
    query = model.query(options.k, options.candidates, options.exclude)
    events = loader.load_events(options.sessions_path, *keys)
    order, offsets = sessions.sort_events(events)
    codes, ids = model.vocabulary.encode(events.item)[order], events.session[order[offsets[:-1]]]
    unknown = int((codes < 0).sum())
    del events, order

    def rank(start):
        part = offsets[start:start + BLOCK + 1]
        return start, model.rank(codes[part[0]:part[-1]], part - part[0], query,
                                 bool(options.exclude_seen))

    num_popular, show = 0, progress("recommend", "session")
    with StopRequest() as stop, list_files.writer(options.out) as out, show(len(ids)) as bar:
        blocks = _in_order(rank, range(0, len(ids), BLOCK), options.threads or cores())
        for start, (index, scores, by_popularity) in blocks:
            stop.check()
            out.add(ids[start:start + BLOCK], index, scores, by_popularity, model.ids)
            num_popular += int(by_popularity.sum())
            if bar is not None:
                bar.update(len(index))
    _log.info("%s: lists of %d sessions; %d events of unknown items skipped; %d sessions with no "
              "known item got the most popular", options.out, len(ids), unknown, num_popular)


def _in_order(function, arguments, threads):
    """Results of a function in the order of its arguments; the next calls run ahead in threads."""
    with ThreadPoolExecutor(threads) as pool:
        waiting = collections.deque()
        try:
            for argument in arguments:
                waiting.append(pool.submit(function, argument))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def main(argv=None):
    """Run the command; returns its exit status (command.process.exit_status)."""
    setup_logging()
    return exit_status(lambda: run(*parse(sys.argv[1:] if argv is None else list(argv))),
                       "use fewer --threads, or a smaller -k")

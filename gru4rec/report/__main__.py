"""Write the report of a run as one HTML page.

The page shows curves, metrics, popularity bias and configuration of the run in a checkpoint
directory:

    python -m gru4rec.report --checkpoint_dir checkpoint --out report.html
"""

import logging
import os
import sys
from dataclasses import dataclass
from typing import Optional

from gru4rec.command.flags import Command, flag
from gru4rec.command.kinds import page_path, whole
from gru4rec.command.process import exit_status, say, setup_logging
from gru4rec.errors import InputError

_log = logging.getLogger("gru4rec.report")


@dataclass(frozen=True)
class ReportConfig:
    """What the page shows."""

    checkpoint_dir: str = flag("checkpoint", "directory of the run", "directory")
    epoch: Optional[int] = flag(None, "epoch of the model whose popularity bias is measured "
                                      "(0-based)", "epoch", kind=whole, low=0,
                                shown="the best by validation, or the newest if there was none")
    out: str = flag("report.html", "the page", "file", kind=page_path)
    test_path: Optional[str] = flag(None, "test events, for the popularity bias", "file",
                                    shown="as in the evaluation")


COMMAND = Command("python -m gru4rec.report", __doc__.splitlines()[0], (("report", ReportConfig),))


def run(options):
    """Write the page.

    Raises: InputError, CheckpointError.
    """
    from gru4rec.files import outputs
    from gru4rec.recommend import model
    from gru4rec.report import page
    from gru4rec.runlog import rows as rows_module
    outputs.check("--out", options.out)
    rows = rows_module.read(options.checkpoint_dir)
    trained = model.load(options.checkpoint_dir, epoch=options.epoch)
    title = "GRU4Rec run %s, epoch %d" % (os.path.basename(os.path.abspath(options.checkpoint_dir)),
                                          trained.epoch)
    text = page.make(title, rows, trained.config, popularity_bias(options, trained, rows))
    with outputs.replacing("--out", options.out) as file:
        file.write(text.encode("utf-8"))
    say("%s: %d rows" % (options.out, len(rows)))


def popularity_bias(options, trained, rows):
    """bias.Bias, or text that says why it could not be measured."""
    from gru4rec.data import sessions
    from gru4rec.data.reading import loader
    from gru4rec.report import bias
    path = options.test_path or next((row["test_path"] for row in rows[::-1]
                                      if row.get("test_path")), None)
    if path is None:
        return "Not measured: the run was not evaluated, and --test_path was not given."
    data = trained.config.data
    try:
        events = loader.load_events(path, data.session_key, data.item_key, data.time_key)
        return bias.measure(trained, sessions.index_test(events, trained.vocabulary)[0])
    except InputError as error:
        if options.test_path:
            raise
        _log.warning("no popularity bias: %s", error)
        return "Not measured: %s" % error


def main(argv=None):
    """Run the command; returns its exit status (command.process.exit_status)."""
    setup_logging()
    return exit_status(lambda: run(*COMMAND.parse(sys.argv[1:] if argv is None else argv)))


if __name__ == "__main__":
    sys.exit(main())

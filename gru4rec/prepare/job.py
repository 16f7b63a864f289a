"""One preparation: read, filter, split, write, and rename into place."""

import contextlib
import logging
import os
import re
import shutil
import time
import uuid
from typing import NamedTuple, Optional, Tuple

from gru4rec.data.dataset import is_dataset
from gru4rec.errors import InputError, LockedError
from gru4rec.files.locks import Lock
from gru4rec.prepare import first_paper, formats, partitions, readers
from gru4rec.prepare import study as study_module
from gru4rec.prepare.datasets import DATASETS
from gru4rec.prepare.engine import Engine, NotUtf8, Signals
from gru4rec.prepare.report import Report

_LOG = logging.getLogger(__name__)

PARTS = ("_train_full.txt", "_test.txt", "_train_tr.txt", "_train_valid.txt")
_SCRATCH, _GRACE = ".prepare-", 10.0  # seconds


class Job(NamedTuple):
    """Checked flags."""

    dataset: str
    raw: Tuple[str, ...]
    out: str
    overwrite: bool
    memory: float
    threads: Optional[int]
    keys: Optional[formats.Keys]         # None: the dataset's own reader
    event_types: Optional[Tuple[str, ...]]
    options: Optional[study_module.Options]  # None: the first paper's protocol
    slices: Tuple[int, ...]
    slice_by: str
    partitions: Optional[int] = None     # of the dataset directories; None: none are written

    def names(self):
        """Names of the files and dataset directories the job writes, the summary last."""
        parts = PARTS if not self.options or self.options.split != "none" else ("_full.txt",)
        slices = ["%s_train_full_%d.txt" % (self.dataset, part) for part in self.slices]
        names = [self.dataset + part for part in parts] + slices
        parted = [partitions.directory_of(name) for name in names] if self.partitions else []
        return names + [name for name in parted if name] + [self.dataset + "_summary.json"]


def run(job):
    """Do it; returns the Report. Outputs appear under their names only when all of them are
    complete.
    """
    out, names = os.path.abspath(job.out), job.names()
    if job.partitions:
        partitions.check()
    _refuse_existing(job, out, names)
    made, scratch = _missing(out), os.path.join(out, _SCRATCH + uuid.uuid4().hex[:12])
    lock = Lock(scratch)
    with Signals() as signals:
        try:
            try:
                _remove_dead(out)
                os.makedirs(scratch, 0o700)
                lock.acquire()
                return _run_in(job, out, scratch, names, signals)
            finally:
                signals.hold()
        except OSError as error:
            raise InputError("%s cannot be written: %s; make room, or make it writable" % (
                job.out, error.strerror or error)) from None
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            lock.release()
            for path in made:
                with contextlib.suppress(OSError):  # not empty: the outputs are there
                    os.rmdir(path)


def _remove_dead(out):
    """Remove what a run that was killed has left; a run that lives holds the lock in its directory.
    """
    for name in os.listdir(out) if os.path.isdir(out) else ():
        path = os.path.join(out, name)
        # A run that is only just beginning has not locked its directory yet.
        if name.startswith(_SCRATCH) and os.path.isdir(path) and time.time() - os.path.getmtime(path) > _GRACE:
            lock = Lock(path)
            with contextlib.suppress(LockedError, FileNotFoundError):
                lock.acquire()
                shutil.rmtree(path, ignore_errors=True)
                lock.release()
                _LOG.info("%s is removed, the rest of a run that was killed", path)


def _refuse_existing(job, out, names):
    for path in (os.path.join(out, name) for name in names):
        if (os.path.isdir(path)
            and not is_dataset(path)) or (os.path.exists(path) and not job.overwrite):
            raise InputError("%s is there already; give another --out, or --overwrite 1 to replace "
                             "files" % path)


def _missing(path):
    """The directories on the way to `path`, itself first, that are not there."""
    missing = []
    while not os.path.isdir(path) and path != os.path.dirname(path):
        missing.append(path)
        path = os.path.dirname(path)
    return missing


def _run_in(job, out, scratch, names, signals):
    try:
        report = _prepare(job, scratch, signals)
    except NotUtf8:
        report = _prepare(job, scratch, signals, every_column=True)
    with open(os.path.join(scratch, names[-1]), "w", encoding="utf-8") as summary:
        summary.write(report.to_json())
    signals.hold()
    _refuse_existing(job, out, names)  # again: another run may have been quicker
    for name in names:
        # a dataset to replace: nothing can be renamed over a full directory
        if os.path.isdir(os.path.join(out, name)):
            os.replace(os.path.join(out, name), os.path.join(scratch, name + ".old"))
        os.replace(os.path.join(scratch, name), os.path.join(out, name))
    output = re.compile(re.escape(job.dataset)
                        + r"_(full|test|train_(full|full_[0-9]+|tr|valid))\.(txt|parquet)\Z")
    for name in sorted(set(filter(output.match, os.listdir(out))) - set(names)):
        _LOG.warning("%s is of an earlier run, not of this one", os.path.join(job.out, name))
    return report


def _prepare(job, scratch, signals, every_column=False):
    known, options = DATASETS[job.dataset], job.options
    report = Report(job.dataset, {
        "protocol": "arXiv 1511.06939" if options is None else "arXiv 2307.14956",
        "event_types": list(job.event_types) if job.event_types else None,
        "columns": list(job.keys) if job.keys else None,
        **(options._asdict() if options else {"slices": list(job.slices),
                                              "slice_by": job.slice_by}),
        **({"partitions": job.partitions} if job.partitions else {})})
    with Engine(scratch, job.memory, job.threads, signals) as engine:
        make_source = known.reader or formats.any_log(engine, job.keys)
        readers.load(engine, job.raw, make_source, job.event_types, report, every_column)
        if options is None:
            first_paper.first_paper(engine, report, scratch, job.slices, job.slice_by,
                                    job.partitions)
        else:
            study_module.study(engine, report, scratch, job.dataset, options, job.partitions)
    return report

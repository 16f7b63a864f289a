"""One run of the preparation: read, filter, split, write, and rename into place."""

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
_SCRATCH = ".prepare-"  # begin of the name of a temporary directory
_GRACE_SECONDS = 10.0  # age from which a temporary directory without a lock is a dead run's


class Job(NamedTuple):
    """What to prepare: the flags, checked."""

    dataset: str
    raw: Tuple[str, ...]
    out: str
    overwrite: bool
    memory: float                             # GiB
    threads: Optional[int]                    # None: one for each core
    keys: Optional[formats.Keys]              # None: the dataset has a reader of its own
    event_types: Optional[Tuple[str, ...]]    # None: every kind
    options: Optional[study_module.Options]   # None: the protocol of the first paper
    slices: Tuple[int, ...]
    slice_by: str
    partitions: Optional[int] = None          # None: no dataset directories are written

    def names(self):
        """Names of the files and dataset directories that the job writes, the summary last."""
        parts = PARTS
        if self.options and self.options.split == "none":
            parts = ("_full.txt",)
        slices = ["%s_train_full_%d.txt" % (self.dataset, part) for part in self.slices]
        names = [self.dataset + part for part in parts] + slices
        parted = [partitions.directory_of(name) for name in names] if self.partitions else []
        return names + [name for name in parted if name] + [self.dataset + "_summary.json"]


def run(job):
    """Run a Job; returns its Report. No output has its name before all are complete."""
    out, names = os.path.abspath(job.out), job.names()
    if job.partitions:
        partitions.check()
    _refuse_existing(job, out, names)
    new_directories = _missing(out)
    scratch = os.path.join(out, _SCRATCH + uuid.uuid4().hex[:12])
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
            for path in new_directories:
                with contextlib.suppress(OSError):  # not empty where the outputs are in it
                    os.rmdir(path)


def _remove_dead(out):
    """Remove temporary directories of runs that were killed; a living run holds a lock in its own.
    """
    if not os.path.isdir(out):
        return
    for name in os.listdir(out):
        path = os.path.join(out, name)
        if not name.startswith(_SCRATCH) or not os.path.isdir(path):
            continue
        # A run that has just begun may not have locked its directory yet.
        if time.time() - os.path.getmtime(path) <= _GRACE_SECONDS:
            continue
        lock = Lock(path)
        with contextlib.suppress(LockedError, FileNotFoundError):
            lock.acquire()
            shutil.rmtree(path, ignore_errors=True)
            lock.release()
            _LOG.info("%s is removed, the rest of a run that was killed", path)


def _refuse_existing(job, out, names):
    """InputError if an output exists and must not be replaced."""
    for path in (os.path.join(out, name) for name in names):
        is_foreign = os.path.isdir(path) and not is_dataset(path)
        if is_foreign or (os.path.exists(path) and not job.overwrite):
            raise InputError("%s is there already; give another --out, or --overwrite 1 to replace "
                             "files" % path)


def _missing(path):
    """`path` and the directories above it that do not exist, `path` first."""
    missing = []
    while not os.path.isdir(path) and path != os.path.dirname(path):
        missing.append(path)
        path = os.path.dirname(path)
    return missing


def _run_in(job, out, scratch, names, signals):
    """Prepare in the directory `scratch`, then rename every output into `out`."""
    try:
        report = _prepare(job, scratch, signals)
    except NotUtf8:
        report = _prepare(job, scratch, signals, every_column=True)
    with open(os.path.join(scratch, names[-1]), "w", encoding="utf-8") as summary:
        summary.write(report.to_json())
    signals.hold()
    _refuse_existing(job, out, names)  # again: another run may have been faster
    for name in names:
        # A dataset to replace; nothing can be renamed over a directory that is not empty.
        if os.path.isdir(os.path.join(out, name)):
            os.replace(os.path.join(out, name), os.path.join(scratch, name + ".old"))
        os.replace(os.path.join(scratch, name), os.path.join(out, name))
    output = re.compile(re.escape(job.dataset)
                        + r"_(full|test|train_(full|full_[0-9]+|tr|valid))\.(txt|parquet)\Z")
    for name in sorted(set(filter(output.match, os.listdir(out))) - set(names)):
        _LOG.warning("%s is of an earlier run, not of this one", os.path.join(job.out, name))
    return report


def _facts(job):
    """The flags of a job as the report keeps them."""
    facts = {"event_types": list(job.event_types) if job.event_types else None,
             "columns": list(job.keys) if job.keys else None}
    if job.options is None:
        facts.update(protocol="arXiv 1511.06939", slices=list(job.slices), slice_by=job.slice_by)
    else:
        facts.update(job.options._asdict(), protocol="arXiv 2307.14956")
    if job.partitions:
        facts["partitions"] = job.partitions
    return facts


def _prepare(job, scratch, signals, every_column=False):
    """Read, filter, split and write into `scratch`; returns the Report."""
    known, options = DATASETS[job.dataset], job.options
    report = Report(job.dataset, _facts(job))
    with Engine(scratch, job.memory, job.threads, signals) as engine:
        make_source = known.reader or formats.any_log(engine, job.keys)
        readers.load(engine, job.raw, make_source, job.event_types, report, every_column)
        if options is None:
            first_paper.first_paper(engine, report, scratch, job.slices, job.slice_by,
                                    job.partitions)
        else:
            study_module.study(engine, report, scratch, job.dataset, options, job.partitions)
    return report

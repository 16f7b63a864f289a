"""Requests that wait together are computed together: one thread, one batch through the network."""

import collections
import logging
import queue
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, List, Optional, Tuple

import numpy as np

from gru4rec.recommend.ranking import Query, best_items, last_states, make_query

_log = logging.getLogger(__name__)


@dataclass
class Job:
    """One request.

    items: raw ids, oldest first; of a session, its new click. session_id: None for a request
    without state. allow, deny: tuples of NamedList.
    """

    items: List[Any]
    k: int
    exclude_seen: bool = False
    candidates: Optional[List[Any]] = None
    exclude: Optional[List[Any]] = None
    allow: Tuple[Any, ...] = ()
    deny: Tuple[Any, ...] = ()
    session_id: Optional[str] = None
    future: Any = field(default_factory=Future)


def _deliver(results):
    for future, answer, error in results:
        future.set_result(answer) if error is None else future.set_exception(error)


class Answer(dict):
    """What is said to a request: items, scores, unknown, source, model; of a session, clicks."""


class Batcher:
    """The thread that computes. `model` may be replaced at any time: a batch uses one model from
    beginning to end.
    """

    def __init__(self, model, store, max_batch=64, on_batch=None, deliver=None):
        """model: recommend.model.Model. store: store.SessionStore. on_batch: None, or function
        (number of jobs).

        deliver: None, or function (list of (future of a job, Answer, error), one of the latter
        None), called by the thread."""
        self.model, self._store, self._max_batch, self._on_batch = model, store, max_batch, on_batch
        self._deliver = deliver or _deliver
        self._queue, self._held = queue.SimpleQueue(), collections.deque()
        self._thread = threading.Thread(target=self._run, name="batcher", daemon=True)
        self._thread.start()

    def submit(self, job):
        """Let a job be computed; its future gets an Answer."""
        self._queue.put(job)
        return job.future

    def waiting(self):
        """Jobs not taken yet."""
        return self._queue.qsize()

    def close(self):
        """Compute what waits, then end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _run(self):
        while True:
            jobs, closing = self._take()
            if jobs:
                self._compute(jobs)
            if closing:
                while self._held:
                    self._compute(self._without_repeats([]))
                return

    def _take(self):
        """(jobs of the next batch, whether to end after it): what waits, at least one."""
        jobs, closing = [], False
        if not self._held:
            jobs.append(self._queue.get())
        while len(jobs) + len(self._held) < self._max_batch:
            try:
                jobs.append(self._queue.get_nowait())
            except queue.Empty:
                break
            if jobs[-1] is None:
                break
        if jobs and jobs[-1] is None:
            jobs.pop()
            closing = True
        return self._without_repeats(jobs), closing

    def _without_repeats(self, jobs):
        """Jobs with one click of a session at most; later ones are held for the next batch, in
        order.
        """
        waiting, seen, taken = list(self._held) + jobs, set(), []
        self._held.clear()
        for job in waiting:
            if job.session_id is not None and job.session_id in seen:
                self._held.append(job)
            else:
                seen.add(job.session_id)
                taken.append(job)
        return taken

    def _compute(self, jobs):
        if self._on_batch is not None:
            self._on_batch(len(jobs))
        model = self.model
        try:
            results = [(job.future, answer, None) for job,
                       answer in zip(jobs, self._answers(model, jobs))]
        except Exception:  # of whichever request; the others must not suffer from it
            results = [self._alone(model, job) for job in jobs]
        self._deliver(results)

    def _alone(self, model, job):
        try:
            return job.future, self._answers(model, [job])[0], None
        except Exception as error:  # the thread must live on; whoever asked is told
            _log.exception("a request failed")
            return job.future, None, error

    def _answers(self, model, jobs):
        runs = [_Run(job, None if job.session_id is None else self._store.get(job.session_id),
                     model) for job in jobs]
        filters = _encode(model, runs)
        hidden = _advance(model, runs)
        queries = [_query(model, job, codes) for job, codes in zip(jobs, filters)]
        # before any click is kept, which could not be taken back
        lists = _lists(model, hidden, queries, runs)
        for job, run in zip(jobs, runs):
            if run.entry is not None:
                run.keep(model)
                self._store.put(job.session_id, run.entry)
        return [run.answer(model, *found) for run, found in zip(runs, lists)]


def _query(model, job, codes):
    """ranking.Query of a job; codes: of its candidates and exclude, None without."""
    candidates, dropped = codes
    if len(job.allow) + len(job.deny) == 1 and candidates is None and dropped is None:
        return (job.allow + job.deny)[0].query(model, bool(job.allow))._replace(k=job.k)
    for named in job.allow:
        allowed = named.codes(model)
        candidates = allowed if candidates is None else np.intersect1d(candidates, allowed)
    denied = [named.codes(model) for named in job.deny] + ([] if dropped is None else [dropped])
    return make_query(job.k, len(model), candidates, np.concatenate(denied) if denied else None)


class NamedList:
    """Raw ids to allow or deny by name; what they mean to a model is kept until another model asks.
    """

    def __init__(self, ids):
        self.ids, self._kept = tuple(ids), (None, {})

    def codes(self, model):
        """Sorted item indices of the ids the model knows."""
        return self._once(model, "codes", lambda: np.unique(_codes(model, self.ids)))

    def query(self, model, allows):
        """ranking.Query of this list alone, to allow or to deny; its k is 0."""
        codes = self.codes(model)
        return self._once(model, allows,
                          lambda: make_query(0, len(model),
                                             *((codes, None) if allows else (None, codes))))

    def _once(self, model, name, make):
        version, found = self._kept
        if version != model.version:
            self._kept = version, found = model.version, {}
        if name not in found:
            found[name] = make()
        return found[name]


def _codes(model, ids):
    codes = model.vocabulary.encode(list(ids)).astype(np.int64)
    return codes[codes >= 0]


class _Run:
    """A job on its way through a batch: `items` go through the network, from `states` (None: zero).
    """

    def __init__(self, job, entry, model):
        self.job, self.entry, self.items, self.states, self.before = job, entry, job.items, None, []
        if entry is not None and entry.version == model.version:
            self.states, self.before = entry.states, list(entry.codes)
        elif entry is not None:  # of another model: its last clicks again
            self.items = list(entry.items)[-(entry.items.maxlen - 1):] + job.items

    def encoded(self, codes):
        """Take in the item indices of `items`."""
        self.codes, self.known = codes, codes[codes >= 0]
        self.seen = np.concatenate([np.array(self.before, np.int64), self.known])

    def advanced(self, states):
        """Take in the states after `items`: per layer [1, H]."""
        self.states = states

    def keep(self, model):
        """Write the click into the entry of the session."""
        entry = self.entry
        entry.states, entry.version, entry.clicks = self.states, model.version, entry.clicks + 1
        entry.codes = self.seen[-entry.items.maxlen:]
        entry.items.extend(self.job.items)

    def answer(self, model, index, scores):
        """The Answer with a list of item indices and their scores."""
        job = self.job
        fresh = self.codes[len(self.codes) - len(job.items):]
        found = Answer(items=model.ids[index].tolist(), scores=scores, model=model.version,
                       unknown=[item for item, code in zip(job.items, fresh) if code < 0],
                       source="model" if len(self.seen) else "popularity")
        if self.entry is not None:
            found["clicks"] = self.entry.clicks
        return found


def _encode(model, runs):
    """Give each run its codes, all by one look-up; returns per run the codes of its (candidates,
    exclude), None without.
    """
    asked = [ids for run in runs for ids in (run.job.candidates, run.job.exclude)]
    parts = [run.items for run in runs] + [ids or [] for ids in asked]
    codes = model.vocabulary.encode([item for part in parts for item in part]).astype(np.int64)
    bounds = np.cumsum([0] + [len(part) for part in parts])
    found = [codes[a:b] for a, b in zip(bounds, bounds[1:])]
    for run, of_items in zip(runs, found):
        run.encoded(of_items)
    filters = [None if ids is None else part for ids, part in zip(asked, found[len(runs):])]
    return list(zip(filters[::2], filters[1::2]))


def _advance(model, runs):
    """Give each run its states after its items; returns the hidden ones of the last layer [runs,
    H].
    """
    states = model.network.zero_states(len(runs))
    for row, run in enumerate(runs):
        for layer, values in zip(states, run.states or ()):
            layer[row] = values[0]
    offsets = np.concatenate([[0], np.cumsum([len(run.known) for run in runs])]).astype(np.int64)
    states = last_states(model.network, np.concatenate([run.known for run in runs]), offsets,
                         states)
    for row, run in enumerate(runs):
        run.advanced([layer[row:row + 1].copy() for layer in states])
    return states[-1]


def _lists(model, hidden, queries, runs):
    """(index, score) of each run: those without candidates by one product, each of the others by
    itself.
    """
    found, seen = [None] * len(runs), [run.seen if run.job.exclude_seen else None for run in runs]
    together = [row for row,
                run in enumerate(runs) if len(run.seen) and queries[row].candidates is None]
    if together:
        drops = [_joined(queries[row].dropped, seen[row]) for row in together]
        most = Query(max(queries[row].k for row in together))
        for row, index, scores in zip(together,
                                      *best_items(model.network, len(model), hidden[together], most,
                                                  drops)):
            found[row] = _filled(index[:queries[row].k], scores)
    for row, (query, run) in enumerate(zip(queries, runs)):
        if not len(run.seen):
            found[row] = model.popularity.best(query)
        elif found[row] is None:
            index, scores = best_items(model.network, len(model), hidden[row:row + 1], query,
                                       [seen[row]])
            found[row] = _filled(index[0], scores[0])
    return found


def _joined(one, other):
    return one if other is None else other if one is None else np.concatenate([one, other])


def _filled(index, scores):
    count = int((index >= 0).sum())
    return index[:count], scores[:count]

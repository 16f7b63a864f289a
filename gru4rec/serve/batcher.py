"""Requests that wait at the same time are computed together, as one batch, by one thread."""

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

    items: raw ids, oldest first; of a kept session, only its new click.
    session_id: None for a request whose session is not kept.
    allow, deny: tuples of NamedList.
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


def settle(future, answer, error):
    """Give a future its Answer, or the error if there is one."""
    if error is None:
        future.set_result(answer)
    else:
        future.set_exception(error)


def _deliver(results):
    for result in results:
        settle(*result)


class Answer(dict):
    """The answer to a request: items, scores, unknown, source, model; for a kept session clicks."""


class Batcher:
    """The thread that computes.

    `model` may be replaced at any time; a batch uses one model from beginning to end.
    """

    def __init__(self, model, store, max_batch=64, on_batch=None, deliver=None):
        """Start the thread.

        Args:
          model: recommend.model.Model.
          store: sessions.SessionStore.
          max_batch: most requests that are computed together.
          on_batch: None, or function (number of jobs), called for each batch.
          deliver: None, or function (list of (future of a job, Answer, error)), called by the
            thread; Answer or error is None.
        """
        self.model, self._store, self._max_batch, self._on_batch = model, store, max_batch, on_batch
        self._deliver = deliver or _deliver
        self._queue, self._held = queue.SimpleQueue(), collections.deque()
        self._thread = threading.Thread(target=self._run, name="batcher", daemon=True)
        self._thread.start()

    def submit(self, job):
        """Queue a job; returns its future, which gets an Answer."""
        self._queue.put(job)
        return job.future

    def waiting(self):
        """Number of jobs that are not taken yet."""
        return self._queue.qsize()

    def close(self):
        """Compute what still waits, then end the thread."""
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
        """(jobs of the next batch, whether to end after it); waits until there is a job."""
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
        """At most one click of each session; later clicks are held for the next batch, in order."""
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
            results = [(job.future, answer, None)
                       for job, answer in zip(jobs, self._answers(model, jobs))]
        except Exception:  # caused by one request; the others must not fail with it
            results = [self._alone(model, job) for job in jobs]
        self._deliver(results)

    def _alone(self, model, job):
        try:
            return job.future, self._answers(model, [job])[0], None
        except Exception as error:  # the thread must go on; the client gets the error
            _log.exception("a request failed")
            return job.future, None, error

    def _answers(self, model, jobs):
        entries = [None if job.session_id is None else self._store.get(job.session_id)
                   for job in jobs]
        runs = [_Run(job, entry, model) for job, entry in zip(jobs, entries)]
        filters = _encode(model, runs)
        hidden = _advance(model, runs)
        queries = [_query(model, job, codes) for job, codes in zip(jobs, filters)]
        # Before any click is stored: a stored click could not be taken back if this fails.
        lists = _lists(model, hidden, queries, runs)
        for job, run in zip(jobs, runs):
            if run.entry is not None:
                run.keep(model)
                self._store.put(job.session_id, run.entry)
        return [run.answer(model, *ranked) for run, ranked in zip(runs, lists)]


def _query(model, job, codes):
    """ranking.Query of a job; codes: item indices of (candidates, exclude), each may be None."""
    candidates, dropped = codes
    if len(job.allow) + len(job.deny) == 1 and candidates is None and dropped is None:
        return (job.allow + job.deny)[0].query(model, bool(job.allow))._replace(k=job.k)
    for named in job.allow:
        allowed = named.codes(model)
        candidates = allowed if candidates is None else np.intersect1d(candidates, allowed)
    for named in job.deny:
        dropped = _joined(dropped, named.codes(model))
    return make_query(job.k, len(model), candidates, dropped)


class NamedList:
    """A named list of raw ids to allow or deny.

    Its item indices are kept until it is used with another model.
    """

    def __init__(self, ids):
        self.ids, self._kept = tuple(ids), (None, {})

    def codes(self, model):
        """Sorted item indices of the ids the model knows."""
        return self._once(model, "codes", lambda: np.unique(_codes(model, self.ids)))

    def query(self, model, allows):
        """ranking.Query of this list alone, to allow or to deny its items; its k is 0."""
        codes = self.codes(model)
        candidates, dropped = (codes, None) if allows else (None, codes)
        return self._once(model, allows,
                          lambda: make_query(0, len(model), candidates, dropped))

    def _once(self, model, name, make):
        """The value of `make()`, computed once per model and name."""
        version, values = self._kept
        if version != model.version:
            self._kept = version, values = model.version, {}
        if name not in values:
            values[name] = make()
        return values[name]


def _codes(model, ids):
    """Item indices of the ids the model knows."""
    codes = model.vocabulary.encode(list(ids)).astype(np.int64)
    return codes[codes >= 0]


class _Run:
    """A job on its way through a batch.

    `items` go through the network, starting from `states` (None: zero); `before` holds the item
    indices of the session that are already in the states.
    """

    def __init__(self, job, entry, model):
        self.job, self.entry, self.items, self.states, self.before = job, entry, job.items, None, []
        if entry is not None and entry.version == model.version:
            self.states, self.before = entry.states, list(entry.codes)
        elif entry is not None:  # states of another model: its last clicks run through this one
            self.items = list(entry.items)[-(entry.items.maxlen - 1):] + job.items

    def encoded(self, codes):
        """Store the item indices of `items` (-1: unknown to the model)."""
        self.codes, self.known = codes, codes[codes >= 0]
        self.seen = np.concatenate([np.array(self.before, np.int64), self.known])

    def advanced(self, states):
        """Store the states after `items`: list of [1, H], one per layer."""
        self.states = states

    def keep(self, model):
        """Write the click into the entry of the session."""
        entry = self.entry
        entry.states, entry.version, entry.clicks = self.states, model.version, entry.clicks + 1
        entry.codes = self.seen[-entry.items.maxlen:]
        entry.items.extend(self.job.items)

    def answer(self, model, index, scores):
        """The Answer with these item indices and their scores."""
        job = self.job
        new_codes = self.codes[len(self.codes) - len(job.items):]
        answer = Answer(items=model.ids[index].tolist(), scores=scores, model=model.version,
                        unknown=[item for item, code in zip(job.items, new_codes) if code < 0],
                        source="model" if len(self.seen) else "popularity")
        if self.entry is not None:
            answer["clicks"] = self.entry.clicks
        return answer


def _encode(model, runs):
    """Give each run the item indices of its items; all ids are looked up at once.

    Returns: list of (indices of the candidates, indices of exclude) of each run; None where the
      request has none.
    """
    filter_ids = [ids for run in runs for ids in (run.job.candidates, run.job.exclude)]
    parts = [run.items for run in runs] + [ids or [] for ids in filter_ids]
    codes = model.vocabulary.encode([item for part in parts for item in part]).astype(np.int64)
    bounds = np.cumsum([0] + [len(part) for part in parts])
    code_parts = [codes[a:b] for a, b in zip(bounds, bounds[1:])]
    for run, of_items in zip(runs, code_parts):
        run.encoded(of_items)
    filters = [None if ids is None else part
               for ids, part in zip(filter_ids, code_parts[len(runs):])]
    return list(zip(filters[::2], filters[1::2]))


def _advance(model, runs):
    """Give each run its states after its items; returns those of the last layer, [runs, H]."""
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
    """The list of each run: (item indices, scores).

    Runs without candidates share one product; each of the others is ranked by itself.
    """
    lists = [None] * len(runs)
    seen = [run.seen if run.job.exclude_seen else None for run in runs]
    together = [row for row, run in enumerate(runs)
                if len(run.seen) and queries[row].candidates is None]
    if together:
        drops = [_joined(queries[row].dropped, seen[row]) for row in together]
        most = Query(max(queries[row].k for row in together))
        best = best_items(model.network, len(model), hidden[together], most, drops)
        for row, index, scores in zip(together, *best):
            lists[row] = _filled(index[:queries[row].k], scores)
    for row, (query, run) in enumerate(zip(queries, runs)):
        if not len(run.seen):
            lists[row] = model.popularity.best(query)
        elif lists[row] is None:
            index, scores = best_items(model.network, len(model), hidden[row:row + 1], query,
                                       [seen[row]])
            lists[row] = _filled(index[0], scores[0])
    return lists


def _joined(one, other):
    """Both arrays as one; each may be None."""
    arrays = [array for array in (one, other) if array is not None]
    return np.concatenate(arrays) if arrays else None


def _filled(index, scores):
    """A list without its empty places, whose index is -1."""
    count = int((index >= 0).sum())
    return index[:count], scores[:count]

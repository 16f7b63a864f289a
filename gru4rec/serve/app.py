"""The HTTP interface: paths, what they accept and refuse, counters. batcher.Batcher computes."""

import asyncio
import contextlib
import functools
import re
import time
from typing import Annotated, List, NamedTuple, Optional, Union

import orjson
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from pydantic import BaseModel, ConfigDict, StrictInt, StrictStr, ValidationError, create_model
from pydantic import Field as Limit

from gru4rec.serve import page
from gru4rec.serve.batcher import Job, NamedList, settle

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5)
MAX_LISTS, MAX_ID = 100, 256  # number of named lists; characters of an item id


class Limits(NamedTuple):
    """The largest values that a request may have."""

    k: int = 1000
    prefix: int = 200  # items of a session
    filter: int = 10000  # ids of candidates or exclude


class Metrics:
    """The counters at /metrics; each server has its own registry."""

    def __init__(self, state):
        self.registry = CollectorRegistry()
        options = dict(registry=self.registry)
        self.requests = Counter("gru4rec_requests", "Requests by path and status.",
                                ["path", "status"], **options)
        self.seconds = Histogram("gru4rec_request_seconds",
                                 "Time from the request read to the answer.", ["path"],
                                 buckets=_SECONDS, **options)
        self.batch = Histogram("gru4rec_batch_requests", "Requests computed together.",
                               buckets=[2 ** i for i in range(9)], **options)
        self.popular = Counter("gru4rec_popularity_lists", "Lists of sessions with no known item.",
                               **options)
        self.unknown = Counter("gru4rec_unknown_items",
                               "Items skipped because the model does not know them.", **options)
        self.reloads = Counter("gru4rec_reloads", "Models loaded after the first.", **options)
        # Looking up labels takes longer than counting, so it is done once per path.
        self._of = functools.lru_cache(None)(self._of)
        for name, text, value in (
                ("gru4rec_sessions", "Sessions kept.", lambda: len(state.store)),
                ("gru4rec_session_bytes", "Memory of the sessions kept, about.",
                 lambda: state.store.bytes),
                ("gru4rec_sessions_evicted", "Sessions dropped because memory was full.",
                 lambda: state.store.evicted),
                ("gru4rec_sessions_expired", "Sessions dropped because they were too old.",
                 lambda: state.store.expired),
                ("gru4rec_waiting_requests", "Requests not yet taken.",
                 lambda: state.batcher.waiting()),
                ("gru4rec_items", "Items the model knows.", lambda: len(state.batcher.model))):
            Gauge(name, text, **options).set_function(value)

    def answered(self, path, seconds):
        """Count a request that was answered with a list."""
        count, histogram = self._of(path)
        count.inc()
        histogram.observe(seconds)

    def _of(self, path):
        return self.requests.labels(path, 200), self.seconds.labels(path)


class State:
    """What the paths share: batcher, kept sessions, named lists, counters."""

    def __init__(self, make_batcher, store, limits=None):
        """Args: make_batcher: function (on_batch, deliver) -> batcher.Batcher."""
        self.store, self.limits, self.lists = store, limits or Limits(), {}
        self.metrics = Metrics(self)
        self.batcher = make_batcher(self.metrics.batch.observe, _deliver)


def _deliver(results):
    """Pass the answers of a batch to the event loop, all at once: each call wakes the loop up."""
    with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
        results[0][0].get_loop().call_soon_threadsafe(_settle, results)


def _settle(results):
    for future, answer, error in results:
        if not future.done():  # the client may have gone
            settle(future, answer, error)


def make_app(state, directory):
    """The FastAPI application. Its OpenAPI page at /docs fetches scripts from the web.

    Args:
      state: State.
      directory: the checkpoint directory, whose metrics.jsonl the page at / shows.
    """
    app = FastAPI(title="gru4rec", description="Next items of a session.",
                  openapi_url="/openapi.json")
    item = Union[Annotated[StrictInt, Limit(ge=-2 ** 63, lt=2 ** 63)], _text(MAX_ID)]
    filters = _filters(item, state.limits)
    Session = create_model("Session", __base__=filters,
                           items=(_list(item, state.limits.prefix), ...))
    Click = create_model("Click", __base__=filters, item=(item, ...))
    _add_ranking(app, state, Session, Click)
    _add_lists(app, state, item)
    _add_service(app, state)
    page.add(app, state, directory, _html_or_json)
    return app


def _html_or_json(content):
    return HTMLResponse(content) if isinstance(content, str) else _json(content)


def _text(length):
    return Annotated[StrictStr, Limit(max_length=length)]


def _list(kind, length):
    return Annotated[List[kind], Limit(max_length=length)]


def _filters(item, limits):
    """The fields that a request with a whole session and a request with one click share."""
    names = (Optional[_list(_text(64), 10)], None)
    return create_model("Filters", __base__=_Strict, k=(StrictInt, Limit(20, ge=1, le=limits.k)),
                        exclude_seen=(bool, False),
                        candidates=(Optional[_list(item, limits.filter)], None),
                        exclude=(Optional[_list(item, limits.filter)], None), allow=names,
                        deny=names)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


def _add_ranking(app, state, Session, Click):
    async def ranked(path, body, items, session_id=None):
        began = time.perf_counter()
        named = [_named(state, names) for names in (body.allow, body.deny)]
        job = Job(items, body.k, body.exclude_seen, body.candidates, body.exclude, *named,
                  session_id=session_id, future=asyncio.get_running_loop().create_future())
        try:
            answer = await state.batcher.submit(job)
        except Exception as error:  # the batcher has logged it
            raise HTTPException(500, "the list could not be computed: %s" % error) from error
        if answer["unknown"]:
            state.metrics.unknown.inc(len(answer["unknown"]))
        if answer["source"] == "popularity":
            state.metrics.popular.inc()
        state.metrics.answered(path, time.perf_counter() - began)
        return _json(answer)

    async def recommend(request: Request):
        """Next items of a session, given its items from the oldest to the newest; not stored."""
        body = Session.model_validate_json(await request.body())
        return await ranked("/recommend", body, body.items)

    async def click(session_id: str, request: Request):
        """Next items of a session after one more click.

        The session begins with its first click and is kept for a while.
        """
        _check_session(session_id)
        body = Click.model_validate_json(await request.body())
        return await ranked("/sessions/click", body, [body.item], session_id)

    async def forget(session_id: str):
        """Delete a session."""
        if not state.store.delete(session_id):
            raise HTTPException(404, "no session %r is kept" % session_id)
        return Response(status_code=204)

    # The bodies are parsed here: parsing by the framework took a fifth of the event loop's time.
    app.post("/recommend", openapi_extra=_takes(Session))(recommend)
    app.post("/sessions/{session_id}/click", openapi_extra=_takes(Click))(click)
    app.delete("/sessions/{session_id}", status_code=204)(forget)


def _takes(model):
    """The OpenAPI description of a body that is read as `model`."""
    return {"requestBody": {"required": True,
                            "content": {"application/json": {"schema": model.model_json_schema()}}}}


def _check_session(session_id):
    if len(session_id) > 128:
        raise HTTPException(422, "a session id has at most 128 characters")


def _named(state, names):
    """Tuple of the NamedList of each name; answers 404 for a name that does not exist."""
    for name in names or ():
        if name not in state.lists:
            raise HTTPException(404, "there is no list %r; PUT /lists/%s makes it" % (name, name))
    return tuple(state.lists[name] for name in names or ())


def _add_lists(app, state, item):
    List_ = List[item]

    def check(name):
        if not _NAME.match(name):
            raise HTTPException(422, "a list's name has 1 to 64 characters of A-Z a-z 0-9 _ . -")

    async def put(name: str, ids: List_):
        """Create or replace a named list of item ids, to be used as `allow` or `deny`."""
        check(name)
        if name not in state.lists and len(state.lists) >= MAX_LISTS:
            raise HTTPException(409, "there are %d lists already; delete one" % MAX_LISTS)
        named = NamedList(dict.fromkeys(ids))
        known = await asyncio.to_thread(named.codes, state.batcher.model)
        state.lists[name] = named
        return {"name": name, "items": len(named.ids), "unknown": len(named.ids) - len(known)}

    async def get(name: str):
        """The ids of a named list."""
        check(name)
        return {"name": name, "items": list(_named(state, [name])[0].ids)}

    async def remove(name: str):
        """Delete a named list."""
        _named(state, [name])
        del state.lists[name]
        return Response(status_code=204)

    app.put("/lists/{name}")(put)
    app.get("/lists/{name}")(get)
    app.delete("/lists/{name}", status_code=204)(remove)


def _add_service(app, state):
    async def healthz():
        """Whether the server can answer, and with which model."""
        model = state.batcher.model
        return {"status": "ok", "model": model.version, "epoch": model.epoch, "items": len(model)}

    async def metrics():
        """Counters for Prometheus."""
        return Response(generate_latest(state.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def invalid(request, error):
        state.metrics.requests.labels("refused", 422).inc()
        inside = ("body",) if isinstance(error, ValidationError) else ()
        return _problem(422, [{"where": ".".join(map(str, inside + tuple(problem["loc"]))),
                               "why": problem["msg"]} for problem in error.errors()[:5]])

    async def refused(request, error):
        state.metrics.requests.labels("refused", error.status_code).inc()
        return _problem(error.status_code, error.detail)

    app.get("/healthz")(healthz)
    app.get("/metrics")(metrics)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(ValidationError, invalid)
    app.add_exception_handler(HTTPException, refused)


def _problem(status, detail):
    return _json({"detail": detail}, status)


def _json(content, status=200):
    return Response(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY), status,
                    media_type="application/json")

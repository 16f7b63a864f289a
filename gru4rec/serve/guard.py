"""What every request passes before it is looked at: the token, and the size of its body."""

import contextlib
import hmac
import json
import os

OPEN = ("/", "/healthz")  # paths that need no token: they tell nothing of the model or of visitors


class TooLarge(Exception):
    """A body grew beyond its limit while it was read."""


class Guard:
    """ASGI middleware: 401 without the bearer token, 413 for a body that is too large, told or
    found while it is read.

    Args:
      app: ASGI application. token: None for none. max_body, max_list_body: bytes, of any request
      and of a PUT to /lists.
    """

    def __init__(self, app, token, max_body, max_list_body):
        self._app, self._max_body, self._max_list_body = app, max_body, max_list_body
        self._expected = None if token is None else b"Bearer " + os.fsencode(token)

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if self._expected is not None and scope["path"] not in OPEN and not hmac.compare_digest(
                headers.get(b"authorization", b""), self._expected):
            await _refuse(send, 401,
                          "the header Authorization must be Bearer and the server's token")
            return
        is_list = scope["method"] == "PUT" and scope["path"].startswith("/lists/")
        limit = self._max_list_body if is_list else self._max_body
        told = headers.get(b"content-length", b"0")
        if not told.isdigit() or int(told) > limit:
            await _refuse(send, 413,
                          "the body has %s bytes; at most %d are taken"
                          % (told.decode("latin-1"), limit))
            return
        taken, refused = [0], []

        async def counted():
            message = await receive()
            taken[0] += len(message.get("body", b""))
            if taken[0] > limit and not refused:
                # at once: the application would make another error of the exception
                refused.append(True)
                await _refuse(send, 413,
                              "the body is too large; at most %d bytes are taken" % limit)
            if refused:
                raise TooLarge
            return message

        async def noted(message):
            if not refused:
                await send(message)

        with contextlib.suppress(TooLarge):
            await self._app(scope, counted, noted)


async def _refuse(send, status, reason):
    # The connection stays: closing it on a client that still sends would take the answer from it as
    # well.
    body = json.dumps({"detail": reason}).encode("utf-8")
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

"""First checks of a request: the token (except for the paths in OPEN) and the size of the body."""

import contextlib
import hmac
import json
import os

OPEN = ("/", "/healthz")  # paths without token: they show nothing of model or visitors


class TooLarge(Exception):
    """The body of a request grew beyond its limit while it was read."""


class Guard:
    """ASGI middleware: answers 401 without the bearer token, and 413 to a body that is too large.

    A body is too large if its content-length says so, or once more bytes have arrived.

    Args:
      app: ASGI application.
      token: text; None if no token is asked for.
      max_body: bytes of the body of any request but a PUT to /lists.
      max_list_body: bytes of the body of a PUT to /lists.
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
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > limit:
            await _refuse(send, 413, "the body has %s bytes; at most %d are taken"
                          % (length.decode("latin-1"), limit))
            return
        num_bytes, refused = 0, False

        async def counted():
            nonlocal num_bytes, refused
            message = await receive()
            num_bytes += len(message.get("body", b""))
            if num_bytes > limit and not refused:
                # Answer now: the application would turn the exception into another error.
                refused = True
                await _refuse(send, 413,
                              "the body is too large; at most %d bytes are taken" % limit)
            if refused:
                raise TooLarge
            return message

        async def unless_refused(message):
            if not refused:
                await send(message)

        with contextlib.suppress(TooLarge):
            await self._app(scope, counted, unless_refused)


async def _refuse(send, status, reason):
    # The connection stays open: a client that is still sending would lose the answer otherwise.
    body = json.dumps({"detail": reason}).encode("utf-8")
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

"""Headless Chromium, driven through its debugging pipe: no driver and no package is needed."""

import base64
import fcntl
import itertools
import json
import os
import shutil
import subprocess
import tempfile


def find():
    """Path of a Chromium, or None."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
                None)


def _pipe():
    """(read, write) ends above 9, so that Chromium's 3 and 4 are neither."""
    ends = os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
    for end in ends:
        os.close(end)
    return high


class Page:
    """One page. `run` evaluates JavaScript in it; `problems` are uncaught errors and requests to
    other hosts.
    """

    def __init__(self, url, width=1180, height=760):
        self._profile = tempfile.mkdtemp(prefix="chromium-")
        ours_read, theirs_write = _pipe()
        theirs_read, ours_write = _pipe()
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                 "--remote-debugging-pipe",
                 "--user-data-dir=" + self._profile, "--window-size=%d,%d" % (width, height),
                 "--no-first-run", "about:blank"]
        script = 'exec "$0" "$@" 3<&%d 4>&%d' % (theirs_read, theirs_write)
        self._process = subprocess.Popen(["bash", "-c", script, find()] + flags,
                                         pass_fds=(theirs_read, theirs_write),
                                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(theirs_read), os.close(theirs_write)
        self._in, self._out = os.fdopen(ours_read, "rb"), os.fdopen(ours_write, "wb")
        self._numbers, self._session, self._buffer = itertools.count(1), None, b""
        self.problems, self.urls = [], []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target,
                                  flatten=True)["sessionId"]
        for domain in ("Runtime", "Network", "Page"):
            self.call(domain + ".enable")
        self.call("Page.navigate", url=url)

    def call(self, method, **params):
        """Result of a command of the DevTools protocol; events that come before it are noted."""
        number = next(self._numbers)
        message = dict(id=number, method=method, params=params)
        if self._session:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        self._out.flush()
        while True:
            found = self._next()
            if found.get("id") == number:
                if "error" in found:
                    raise RuntimeError(found["error"])
                return found["result"]
            if found.get("method") == "Runtime.exceptionThrown":
                self.problems.append(found["params"]["exceptionDetails"])
            elif found.get("method") == "Network.requestWillBeSent":
                self.urls.append(found["params"]["request"]["url"])

    def _next(self):
        while b"\0" not in self._buffer:
            part = os.read(self._in.fileno(), 1 << 16)
            if not part:
                raise RuntimeError("Chromium has ended")
            self._buffer += part
        message, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(message.decode("utf-8"))

    def run(self, script):
        """Value of a JavaScript expression, of its promise where it is one."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True,
                          returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"])
        return found["result"].get("value")

    def until(self, condition, seconds=20):
        """Wait until a JavaScript expression is true."""
        script = ("new Promise((done, failed) => { const end = Date.now() + %d; const look = () => "
                  "(%s) ? done(true) : "
                  "Date.now() > end ? failed(new Error('not within %d s: ' + %s)) : "
                  "setTimeout(look, 20); look(); })")
        self.run(script % (1000 * seconds, condition, seconds, json.dumps(condition)))

    def screenshot(self, path):
        """Write a PNG."""
        with open(path, "wb") as out:
            out.write(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def close(self):
        """End Chromium."""
        self._out.close()
        self._process.terminate()
        self._process.wait(20)
        self._in.close()
        shutil.rmtree(self._profile, ignore_errors=True)

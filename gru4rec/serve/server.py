"""Serve the recommendations of a trained model over HTTP.

    python -m gru4rec.serve --checkpoint_dir checkpoint

Needs the extra `serve`: pip install "gru4rec[serve]" (Python 3.9 or later).
"""

import contextlib
import importlib.util
import ipaddress
import logging
import os
import socket
import sys
from dataclasses import dataclass
from typing import Optional

from gru4rec.command.flags import Command, flag
from gru4rec.command.interrupts import install, restore
from gru4rec.command.kinds import real, whole
from gru4rec.command.process import exit_status, say, setup_logging
from gru4rec.errors import ConfigError, InputError

_log = logging.getLogger("gru4rec.serve")

TOKEN = "GRU4REC_SERVE_TOKEN"
NEEDED = ("fastapi", "uvicorn", "prometheus_client", "orjson")


@dataclass(frozen=True)
class ServeConfig:
    """What is served, where, and within which limits."""

    checkpoint_dir: str = flag("checkpoint", "directory of a trained model", "directory")
    epoch: Optional[int] = flag(None, "epoch of the checkpoint (0-based)", "epoch", kind=whole,
                                low=0, shown="the best by validation, or the newest if there was "
                                             "none")
    host: str = flag("127.0.0.1", "address to listen on; if other machines can reach it, set a "
                                  "token in the environment variable " + TOKEN, "address")
    port: int = flag(8000, "port; 0 takes a free one", "port", kind=whole, low=0, high=65535)
    reload_seconds: float = flag(2.0, "time between two checks for a new checkpoint; 0 never "
                                      "checks", "s", kind=real, low=0.0, high=86400.0)
    max_batch: int = flag(64, "largest number of requests that are computed together", "requests",
                          kind=whole, low=1, high=4096)
    max_body: int = flag(1 << 20, "largest body of a request", "bytes", kind=whole, low=100)
    max_list_body: int = flag(64 << 20, "largest body of a PUT to /lists", "bytes", kind=whole,
                              low=100)
    max_k: int = flag(1000, "longest list", "items", kind=whole, low=1)
    max_prefix: int = flag(200, "longest session in a request to /recommend", "items", kind=whole,
                           low=1)
    session_mb: int = flag(256, "memory for kept sessions; if it is full, the least recently used "
                                "are dropped", "MiB", kind=whole, low=1)
    session_ttl: float = flag(3600.0, "time a session is kept after its last click", "s", kind=real,
                              above=0.0, high=1e9)
    threads: Optional[int] = flag(None, "threads that compute the scores together if the model has "
                                        "100,000 items or more", "threads", kind=whole, low=1,
                                  high=1000, shown="one per core")


COMMAND = Command("python -m gru4rec.serve", __doc__.splitlines()[0], (("server", ServeConfig),))


def parse(argv):
    """Read the command line.

    Returns: ServeConfig.
    Raises: ConfigError, as command.flags.Command; InputError if the extra is not installed.
    """
    options, = COMMAND.parse(argv)
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing or sys.version_info < (3, 9):
        raise InputError('the server needs Python 3.9 or later and %s; pip install "gru4rec[serve]"'
                         % ", ".join(missing or NEEDED))
    return options


def token():
    """The bearer token of the environment, or None. Raises: ConfigError for an empty one."""
    value = os.environ.get(TOKEN)
    if value is not None and not value.strip():
        raise ConfigError("%s is empty; give it a value, or unset it to serve without a token"
                          % TOKEN)
    return value


def listen(host, port):
    """A socket that listens there.

    Raises: InputError if the address cannot be used.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(2048)
        except OSError:
            listening.close()
            raise
        return listening
    except (OSError, UnicodeError) as error:  # UnicodeError: a text that cannot be a host's name
        raise InputError("--host %s --port %d: the server cannot listen there: %s; give another"
                         % (host, port, getattr(error, "strerror", None) or error)) from error


def run(options):
    """Serve until SIGINT or SIGTERM; requests that are being answered then are still answered."""
    import uvicorn

    from gru4rec.recommend import model
    from gru4rec.recommend.threads import cores
    from gru4rec.serve import app, batcher, guard, reload
    from gru4rec.serve import sessions as sessions_module
    secret = token()

    def load():
        return model.load(options.checkpoint_dir, epoch=options.epoch,
                          threads=options.threads or cores())

    first = load()
    sessions = sessions_module.SessionStore(options.session_mb << 20, options.session_ttl)
    with contextlib.closing(listen(options.host, options.port)) as bound:
        state = app.State(
            lambda *hooks: batcher.Batcher(first, sessions, options.max_batch, *hooks),
            sessions, app.Limits(options.max_k, options.max_prefix))

        def replace(new):
            state.batcher.model = new
            state.metrics.reloads.inc()

        guarded = guard.Guard(app.make_app(state, options.checkpoint_dir), secret, options.max_body,
                              options.max_list_body)
        server = uvicorn.Server(uvicorn.Config(guarded, log_config=None, access_log=False,
                                               lifespan="off", timeout_graceful_shutdown=30,
                                               server_header=False))
        address = bound.getsockname()
        if secret is None and not ipaddress.ip_address(address[0]).is_loopback:
            _log.warning("anyone who can reach %s can use this server; set %s to ask for a token",
                         options.host, TOKEN)
        say("serving %s on http://%s:%d" % (first.path, options.host, address[1]))
        watcher = reload.Reloader(options.checkpoint_dir, options.epoch, first.version, load,
                                  replace, options.reload_seconds)
        # uvicorn stops at a signal and then sends it again to the handler from before. That one
        # must do nothing: the stop was orderly.
        before = install(lambda number, frame: None)
        try:
            server.run(sockets=[bound])
        finally:
            watcher.close()
            state.batcher.close()
            restore(before)
    _log.info("stopped")


def main(argv=None):
    """Run the command; returns its exit status: 0 after a stop by signal, else as exit_status."""
    setup_logging()
    return exit_status(lambda: run(parse(sys.argv[1:] if argv is None else list(argv))),
                       "use a machine with more")

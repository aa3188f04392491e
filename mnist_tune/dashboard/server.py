"""Serves a WSGI application on a socket of this machine until it is stopped.

gunicorn where it is installed, else the standard library's server with a thread for each request;
both take a socket that is bound already, so that a port cannot be lost between looking and taking.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import threading
from collections.abc import Callable
from socketserver import ThreadingMixIn
from types import FrameType
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from mnist_tune.errors import InputError

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

DEFAULT_PORT = 8080
_TRIED = 100  # ports after the default one before any free one is taken
_THREADS = 4
_BACKLOG = 128


def bound(host: str, port: int | None) -> socket.socket:
    """Take a port.

    Args:
        host: name or address of this machine.
        port: to take; None takes the default one, or where that is taken the next free one.

    Raises:
        InputError: it cannot be taken.
    """
    if port is not None:
        return _bound(host, port)
    for candidate in (*range(DEFAULT_PORT, DEFAULT_PORT + _TRIED), 0):
        try:
            return _bound(host, candidate)
        except _Taken:
            continue
    raise AssertionError("port 0 is never taken")


def url(listening: socket.socket, host: str) -> str:
    """Where a browser finds what listens there, on other machines too if it listens everywhere."""
    name = f"[{host}]" if ":" in host else host
    if host in ("0.0.0.0", "::"):
        name = socket.gethostname()
    return f"http://{name}:{listening.getsockname()[1]}/"


def serve(make: Callable[[], WSGIApplication], listening: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        make: the application; called in the process that serves it.
        listening: from `bound`.
    """
    try:
        from gunicorn.app.base import BaseApplication
    except ImportError:
        _serve_threads(make(), listening)
        return
    _serve_gunicorn(BaseApplication, make, listening)


class _Taken(InputError):
    """Somebody else has the port."""


def _bound(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise InputError(f"--host {host} is no name of this machine; give another") from error
    listening = socket.socket(family, kind, protocol)
    try:
        # Else a port that was in use a minute ago could not be taken again.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise _why(error, host, port) from error
    return listening


def _why(error: OSError, host: str, port: int) -> InputError:
    if error.errno == errno.EADDRINUSE:
        return _Taken(f"port {port} of {host} is taken: give another --port, or none")
    if error.errno == errno.EACCES:
        return InputError(f"port {port} wants more rights than yours: give a --port above 1023")
    return InputError(f"cannot listen on {host}, port {port} ({error.strerror}): give another")


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing of requests."""


def _serve_threads(application: WSGIApplication, listening: socket.socket) -> None:
    host, port = listening.getsockname()[:2]
    server = _Server((host, port), _Quiet, bind_and_activate=False)
    server.socket.close()
    server.socket = listening
    server.server_name, server.server_port = host, port
    server.setup_environ()
    server.set_app(application)
    with server, _StopsOn(server.shutdown):
        server.serve_forever()


class _StopsOn:
    """Has SIGINT and SIGTERM stop something; once more they end the process, as usual."""

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._on)

    def __exit__(self, *_: object) -> None:
        self._put_back()

    def _on(self, _number: int, _frame: FrameType | None) -> None:
        self._put_back()
        # `shutdown` waits for the very loop that this handler has interrupted.
        threading.Thread(target=self._stop, daemon=True).start()

    def _put_back(self) -> None:
        while self._before:
            signal.signal(*self._before.popitem())


def _serve_gunicorn(
    base: Any, make: Callable[[], WSGIApplication], listening: socket.socket
) -> None:
    number = listening.detach()  # gunicorn closes it in the end

    class Application(base):  # type: ignore[misc]
        def load_config(self) -> None:
            self.cfg.set("bind", f"fd://{number}")
            self.cfg.set("threads", _THREADS)
            self.cfg.set("loglevel", "warning")

        def load(self) -> WSGIApplication:
            return make()

    parent = os.getpid()
    try:
        Application().run()
    except SystemExit as end:
        if end.code or os.getpid() != parent:  # the process that it forked must end here
            raise

"""Taking ports, and serving on them until a signal comes; each server in a process of its own."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from mnist_tune.dashboard import server
from mnist_tune.errors import InputError

SERVE = """
import sys
if sys.argv[1] == "threads":
    sys.modules["gunicorn"] = None  # as where it is not installed
from mnist_tune.dashboard import server

def make():
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ["wsgi.url_scheme"].encode(), b" ", environ["REQUEST_METHOD"].encode()]
    return application

with server.bound("127.0.0.1", 0) as listening:
    print(server.url(listening, "127.0.0.1"), flush=True)
    server.serve(make, listening)
print("ended", flush=True)
"""


def taken() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def test_a_port_that_is_taken_is_refused_where_it_was_asked_for() -> None:
    with taken() as other:
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} of 127.0.0.1 is taken: give another"):
            server.bound("127.0.0.1", port)


def test_the_next_free_port_is_taken_where_none_was_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with taken() as other:
        first = other.getsockname()[1]
        monkeypatch.setattr(server, "DEFAULT_PORT", first)
        monkeypatch.setattr(server, "_TRIED", 1)
        with server.bound("127.0.0.1", None) as found:
            assert found.getsockname()[1] not in (0, first)


@pytest.mark.parametrize("host", ["no.such.name.invalid", "203.0.113.7"])
def test_a_host_that_is_not_here_is_refused(host: str) -> None:
    with pytest.raises(InputError, match=f"{host}"):
        server.bound(host, 0)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_addresses_are_written_for_a_browser(host: str) -> None:
    with server.bound(host, 0) as listening:
        port = listening.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        assert server.url(listening, host) == f"http://{shown}:{port}/"


@pytest.mark.parametrize("kind", ["gunicorn", "threads"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serves_until_a_signal_comes(kind: str, number: signal.Signals, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, kind],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        with urllib.request.urlopen(url, timeout=60) as answer:
            assert answer.read() == b"http GET"
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "ended\n", "")

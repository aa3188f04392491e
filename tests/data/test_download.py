"""The download: complete and checked, or given up within seconds; always by real sockets."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from mnist_tune.data import download
from mnist_tune.data.download import Patience
from mnist_tune.data.mnist import MNIST
from mnist_tune.errors import DataError

BODY = bytes(range(256)) * 1000
SHORT = Patience(answer_seconds=0.3, silence_seconds=0.3, total_seconds=2)


def accept(path: Path) -> None:
    """Check nothing."""


def send(handler, body: bytes, *, announced: int | None = None, status: int = 200) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body) if announced is None else announced))
    handler.end_headers()
    handler.wfile.write(body)


def failed(url: str, target: Path, patience: Patience = SHORT, *, within: float = 1.0) -> str:
    """Try, and return the one line that tells why it failed; nothing may be left behind."""
    before = target.read_bytes() if target.exists() else None
    start = time.monotonic()
    with pytest.raises(DataError) as caught:
        download.fetch(url, target, accept, patience)
    assert time.monotonic() - start < within + 1.0  # one second for a busy machine
    assert (target.read_bytes() if target.exists() else None) == before
    assert [p for p in target.parent.iterdir() if p != target] == []
    assert "\n" not in str(caught.value)
    assert download.failure(url) == str(caught.value)
    return str(caught.value)


def test_downloads_into_a_new_folder(serve, tmp_path):
    url = serve(lambda h: send(h, BODY))
    target = tmp_path / "home" / "datasets" / "mnist.npz"
    download.fetch(url, target, accept)
    assert target.read_bytes() == BODY
    assert list(target.parent.iterdir()) == [target]
    assert download.failure(url) is None


def test_the_file_can_be_read_by_others_as_the_umask_says(serve, tmp_path):
    target = tmp_path / "mnist.npz"
    before = os.umask(0o022)
    try:
        download.fetch(serve(lambda h: send(h, BODY)), target, accept)
    finally:
        os.umask(before)
    assert target.stat().st_mode & 0o777 == 0o644


def test_follows_a_redirection(serve, tmp_path):
    final = serve(lambda h: send(h, BODY))

    def elsewhere(handler):
        handler.send_response(302)
        handler.send_header("Location", final)
        handler.end_headers()

    download.fetch(serve(elsewhere), tmp_path / "mnist.npz", accept)
    assert (tmp_path / "mnist.npz").read_bytes() == BODY


def test_an_older_file_is_replaced_only_by_a_checked_one(serve, tmp_path):
    target = tmp_path / "mnist.npz"
    target.write_bytes(b"old")
    url = serve(lambda h: send(h, BODY))

    def refuse(path: Path) -> None:
        assert path.read_bytes() == BODY
        raise DataError("not this one")

    with pytest.raises(DataError, match="not this one"):
        download.fetch(url, target, refuse)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]
    with target.open("rb") as reader:
        download.fetch(url, target, accept)
        assert reader.read() == b"old"  # whoever is reading it now is not disturbed
    assert target.read_bytes() == BODY


def test_connection_refused(refused_url, tmp_path):
    assert "Connection refused" in failed(refused_url, tmp_path / "mnist.npz")


def test_a_server_that_never_answers(deaf_url, tmp_path):
    assert "no answer in time" in failed(deaf_url, tmp_path / "mnist.npz")


def test_the_default_patience_is_three_seconds(deaf_url, tmp_path):
    start = time.monotonic()
    failed(deaf_url, tmp_path / "mnist.npz", download.PATIENCE, within=3.0)
    assert time.monotonic() - start > 2.9


def test_a_name_resolution_that_hangs(monkeypatch, tmp_path):
    hanging = threading.Event()
    # The one thing here that cannot be had for real: a resolver that swallows questions.
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: hanging.wait(30) and [])
    assert "no answer in time" in failed("http://mnist.invalid/hang", tmp_path / "mnist.npz")
    hanging.set()


def test_an_unknown_name(tmp_path):
    patience = Patience(answer_seconds=3)
    assert "failed" in failed("http://mnist.invalid/", tmp_path / "mnist.npz", patience, within=3)


@pytest.mark.parametrize("status", [403, 404, 500, 503])
def test_a_server_that_says_no(serve, tmp_path, status):
    url = serve(lambda h: send(h, b"no", status=status))
    assert f"the server answered {status}" in failed(url, tmp_path / "mnist.npz")


def test_half_a_body(serve, tmp_path):
    url = serve(lambda h: send(h, BODY[:128_000], announced=len(BODY)))
    message = failed(url, tmp_path / "mnist.npz")
    assert "the connection ended after 128,000 of 256,000 bytes" in message


def test_half_a_body_and_then_silence(serve, tmp_path):
    released = threading.Event()

    def stall(handler):
        send(handler, BODY[:128_000], announced=len(BODY))
        released.wait(10)

    message = failed(serve(stall), tmp_path / "mnist.npz")
    released.set()
    assert "no answer in time" in message


def test_a_trickle_does_not_go_on_for_ever(serve, tmp_path):
    released = threading.Event()

    def trickle(handler):
        send(handler, b"", announced=10**6)
        while not released.wait(0.05):
            handler.wfile.write(b"x")

    patience = Patience(answer_seconds=1, silence_seconds=1, total_seconds=0.5)
    assert "no answer in time" in failed(serve(trickle), tmp_path / "mnist.npz", patience)
    released.set()


def test_a_slow_but_steady_server_is_waited_for(serve, tmp_path):
    def steady(handler):
        send(handler, b"", announced=5_000)
        for _ in range(5):
            time.sleep(0.15)
            handler.wfile.write(b"x" * 1_000)

    patience = Patience(answer_seconds=0.5, silence_seconds=0.5)
    download.fetch(serve(steady), tmp_path / "mnist.npz", accept, patience)
    assert (tmp_path / "mnist.npz").read_bytes() == b"x" * 5_000


def test_an_endless_file_is_given_up(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "LIMIT_BYTES", 100_000)
    assert "too large" in failed(serve(lambda h: send(h, BODY)), tmp_path / "mnist.npz")


def test_garbage_instead_of_http(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"220 mail.example.org ESMTP\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        assert "failed" in failed(url, tmp_path / "mnist.npz")
        thread.join()


def test_a_cache_that_cannot_be_written(serve, tmp_path):
    (tmp_path / "home").write_text("a file where a folder should be")
    target = tmp_path / "home" / "mnist.npz"
    with pytest.raises(DataError, match=r"mnist\.npz cannot be written"):
        download.fetch(serve(lambda h: send(h, BODY)), target, accept)


def test_killed_in_the_middle_leaves_no_half_file(serve, tmp_path):
    under_way, released = threading.Event(), threading.Event()

    def stall(handler):
        send(handler, BODY[:200_000], announced=len(BODY))
        under_way.set()
        released.wait(20)

    program = (
        "import sys; from pathlib import Path; from mnist_tune.data import download;"
        "download.fetch(sys.argv[1], Path(sys.argv[2]), print)"
    )
    target = tmp_path / "mnist.npz"
    child = subprocess.Popen([sys.executable, "-c", program, serve(stall), str(target)])
    assert under_way.wait(20)
    child.send_signal(signal.SIGKILL)
    child.wait(10)
    released.set()
    assert not target.exists()


def test_interrupted_by_the_user_leaves_nothing(serve, tmp_path):
    def interrupt(handler):
        send(handler, BODY)

    def check(path: Path) -> None:
        raise KeyboardInterrupt

    url = serve(interrupt)
    with pytest.raises(KeyboardInterrupt):
        download.fetch(url, tmp_path / "mnist.npz", check)
    assert list(tmp_path.iterdir()) == []
    assert download.failure(url) is None


def test_two_processes_may_download_at_once(serve, tmp_path):
    url = serve(lambda h: send(h, BODY))
    target = tmp_path / "mnist.npz"
    threads = [
        threading.Thread(target=download.fetch, args=(url, target, accept)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert target.read_bytes() == BODY
    assert list(tmp_path.iterdir()) == [target]


def test_the_url_is_that_of_the_installed_keras():
    folder, _, name = MNIST.url.rpartition("/")
    spec = find_spec("keras")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    text = (Path(spec.submodule_search_locations[0]) / "src" / "datasets" / "mnist.py").read_text()
    assert f'"{folder}/"' in text
    assert f"{{origin_folder}}{name}" in text

"""Fixtures for the tests of `mnist_tune.data`: real files, real sockets, small arrays.

`small` is a stand-in for MNIST with its own digests, so that everything said about files and
downloads can be tried without the real ones; `dataset` is the real thing where
`MNIST_TUNE_DATA` names it, else the embedded digits.
"""

import contextlib
import gzip
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from mnist_tune.data import idx, sources
from mnist_tune.data.mnist import MNIST, Edition


def idx_bytes(array: np.ndarray, *, kind: int = 8) -> bytes:
    """An IDX file written by hand, not by the code under test."""
    dimensions = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes((0, 0, kind, array.ndim)) + dimensions + array.tobytes()


def some_digits(train: int = 24, test: int = 10, seed: int = 1) -> tuple[np.ndarray, ...]:
    """Images and labels that are all different from each other."""

    def images(count: int, start: int) -> np.ndarray:
        values = np.arange(count * 784, dtype=np.uint64) * 2654435761 + start * seed
        return (values >> 7).astype(np.uint8).reshape(count, 28, 28)

    def labels(count: int, start: int) -> np.ndarray:
        return ((np.arange(count) * 3 + start * seed) % 10).astype(np.uint8)

    return images(train, 1000), labels(train, 1), images(test, 77000), labels(test, 2)


@dataclass(frozen=True)
class Small:
    """Four small arrays and the edition that declares them to be published."""

    arrays: tuple[np.ndarray, ...]
    edition: Edition

    def folder(self, folder: Path, *, packed: bool = False) -> Path:
        """Write the four IDX files."""
        folder.mkdir(parents=True, exist_ok=True)
        for file, array in zip(self.edition.files, self.arrays, strict=True):
            content = idx_bytes(array)
            if packed:
                (folder / f"{file.name}.gz").write_bytes(gzip.compress(content))
            else:
                (folder / file.name).write_bytes(content)
        return folder

    def npz(self, path: Path, **changes: np.ndarray | None) -> Path:
        """Write an archive as Keras has it; a change of None leaves an array out."""
        path.parent.mkdir(parents=True, exist_ok=True)
        keys = [file.key for file in self.edition.files]
        arrays = {**dict(zip(keys, self.arrays, strict=True)), **changes}
        np.savez_compressed(path, **{k: a for k, a in arrays.items() if a is not None})  # type: ignore[arg-type]
        return path

    def at(self, url: str) -> Edition:
        """The edition as published at `url`."""
        return replace(self.edition, url=url)


@pytest.fixture
def small() -> Small:
    arrays = some_digits()
    one, two, three, four = (
        replace(file, sha256=idx.digest(array))
        for file, array in zip(MNIST.files, arrays, strict=True)
    )
    return Small(arrays, Edition((one, two, three, four), "http://127.0.0.1:9/mnist.npz"))


@pytest.fixture
def write_idx() -> Callable[..., bytes]:
    return idx_bytes


@pytest.fixture(scope="session")
def embedded_dataset() -> sources.Dataset:
    return sources.load_dataset(environment={"KERAS_HOME": os.devnull}, download=False)


@pytest.fixture(scope="session")
def full_folder() -> Path:
    if not os.environ.get("MNIST_TUNE_DATA"):
        pytest.skip("needs the full MNIST: set MNIST_TUNE_DATA")
    return Path(os.environ["MNIST_TUNE_DATA"])


@pytest.fixture(scope="session")
def dataset(embedded_dataset: sources.Dataset) -> sources.Dataset:
    named = os.environ.get("MNIST_TUNE_DATA")
    return sources.load_dataset(Path(named)) if named else embedded_dataset


class Server(ThreadingHTTPServer):
    """Waits for its threads when it is closed, so that no test leaves a socket behind."""

    daemon_threads = False


Behaviour = Callable[[BaseHTTPRequestHandler], None]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Behaviour], str]]:
    """Start a real HTTP server that answers a GET as told; return the URL of a file on it."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with contextlib.ExitStack() as servers:

        def start(behaviour: Behaviour) -> str:
            class Handler(BaseHTTPRequestHandler):
                def do_GET(self) -> None:
                    # A client that has given up is what many of these tests are about.
                    with contextlib.suppress(ConnectionError):
                        behaviour(self)

                def log_message(self, *_: object) -> None:
                    """Say nothing."""

            server = servers.enter_context(Server(("127.0.0.1", 0), Handler))
            threading.Thread(target=server.serve_forever, args=(0.02,)).start()
            servers.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_port}/mnist.npz"

        yield start


@pytest.fixture
def deaf_url() -> Iterator[str]:
    """A server that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/mnist.npz"


@pytest.fixture
def refused_url() -> str:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return f"http://127.0.0.1:{port}/mnist.npz"


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder to be used by somebody whom permissions bind, also when root runs the tests."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder

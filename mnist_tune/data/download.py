"""Keras' download of `mnist.npz` by the standard library, which gives up within seconds.

`keras.datasets.mnist.load_data` would import TensorFlow and wait for minutes on a network that
swallows packets. Name resolution cannot be interrupted at all, so everything that touches the
network happens in a daemon thread that is left behind when it stays silent for too long.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from mnist_tune.data.idx import LIMIT_BYTES
from mnist_tune.errors import DataError
from mnist_tune.files import replacing

_CHUNK_BYTES = 2**16


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait.

    Attributes:
        answer_seconds: for name resolution, connection and the first line of the answer.
        silence_seconds: for the next bytes of the body.
        total_seconds: for everything together.
    """

    answer_seconds: float = 3.0
    silence_seconds: float = 5.0
    total_seconds: float = 300.0


PATIENCE = Patience()

# URLs that failed, with the reason. A machine without network would otherwise wait once more
# each time data is looked for; the next process tries again.
_failures: dict[str, str] = {}


def failure(url: str) -> str | None:
    """Return why `url` failed earlier in this process, or None."""
    return _failures.get(url)


def fetch(
    url: str, target: Path, check: Callable[[Path], object], patience: Patience = PATIENCE
) -> None:
    """Download `url` to `target`, which appears complete and checked or not at all.

    Args:
        url: what to download.
        target: where to put it; its folder is made, an older file is replaced.
        check: raises DataError when the downloaded file is not what it should be.
        patience: when to give up.

    Raises:
        DataError: it failed; from then on `failure` tells why, and callers should not try again.
    """
    try:
        content = _downloaded(url, patience)
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary:
            temporary.write_bytes(content)
            check(temporary)
    except DataError as error:
        _failures[url] = str(error)
        raise
    except OSError as error:
        _failures[url] = f"{target} cannot be written: {error.strerror}"
        raise DataError(_failures[url]) from error


def _downloaded(url: str, patience: Patience) -> bytes:
    """The body of `url`, read in a thread that is left behind when it takes too long."""
    began, answered, body = time.monotonic(), threading.Event(), Future[bytes]()

    def work() -> None:
        try:
            body.set_result(_body(url, patience.silence_seconds, answered))
        except Exception as error:  # whatever it is, it belongs to the thread that waits for it
            body.set_exception(error)
        answered.set()

    threading.Thread(target=work, daemon=True, name="mnist-download").start()
    try:
        if not answered.wait(patience.answer_seconds):
            raise TimeoutError
        return body.result(began + patience.total_seconds - time.monotonic())
    except Exception as error:
        raise DataError(f"the download of {url} failed: {_reason(error)}") from error


def _body(url: str, timeout: float, answered: threading.Event) -> bytes:
    try:
        response = urlopen(url, timeout=timeout)
    except HTTPError as error:
        error.close()  # it holds the connection open
        raise OSError(f"the server answered {error.code}") from None
    received = bytearray()
    with response:
        answered.set()
        announced = response.headers["Content-Length"]
        # read1 gives what is there: on a slow line, read would look like silence.
        while chunk := response.read1(_CHUNK_BYTES):
            received += chunk
            if len(received) > LIMIT_BYTES:
                raise OSError("the file is too large for MNIST")
    if announced is not None and len(received) != int(announced):
        raise OSError(f"the connection ended after {len(received):,} of {int(announced):,} bytes")
    return bytes(received)


def _reason(error: Exception) -> str:
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, TimeoutError):
        return "no answer in time"
    text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return str(text).splitlines()[0]

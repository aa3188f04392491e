"""Keras' download of `mnist.npz` by the standard library, which gives up within seconds.

`keras.datasets.mnist.load_data` would import TensorFlow and wait for minutes on a network that
swallows packets. Name resolution cannot be interrupted at all, so everything that touches the
network happens in a daemon thread that is left behind when it stays silent for too long.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from mnist_tune.data.idx import LIMIT_BYTES
from mnist_tune.errors import DataError
from mnist_tune.files import replacing

_CHUNK_BYTES = 2**16
_SILENT = "no answer in time"


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
        _fetch(url, target, check, patience)
    except DataError as error:
        _failures[url] = str(error)
        raise


def _fetch(url: str, target: Path, check: Callable[[Path], object], patience: Patience) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary:
            with temporary.open("xb") as stream:
                for chunk in _chunks(url, patience):
                    stream.write(chunk)
            check(temporary)
    except OSError as error:
        raise DataError(f"{target} cannot be written: {error.strerror}") from error


# What the thread sends: bytes of the body, None at its end, or what went wrong.
_Message = bytes | Exception | None


def _chunks(url: str, patience: Patience) -> Iterator[bytes]:
    """Yield the body as it arrives, first an empty chunk when the server has answered."""
    messages: queue.Queue[_Message] = queue.Queue()
    abandoned = threading.Event()
    arguments = (url, patience.silence_seconds, messages, abandoned)
    threading.Thread(target=_pump, args=arguments, daemon=True, name="mnist-download").start()
    try:
        yield from _received(url, messages, patience)
    finally:
        abandoned.set()


def _received(url: str, messages: queue.Queue[_Message], patience: Patience) -> Iterator[bytes]:
    start = time.monotonic()
    seconds = patience.answer_seconds
    while (message := _next(url, messages, start + seconds - time.monotonic())) is not None:
        if isinstance(message, Exception):
            raise DataError(f"the download of {url} failed: {_reason(message)}") from message
        yield message
        # From here on the time-out of the socket watches for silence.
        seconds = patience.total_seconds


def _next(url: str, messages: queue.Queue[_Message], seconds: float) -> _Message:
    try:
        return messages.get(timeout=max(seconds, 0))
    except queue.Empty:
        raise DataError(f"the download of {url} failed: {_SILENT}") from None


def _pump(
    url: str, timeout: float, messages: queue.Queue[_Message], abandoned: threading.Event
) -> None:
    try:
        for chunk in _body(url, timeout):
            if abandoned.is_set():
                return
            messages.put(chunk)
        messages.put(None)
    except Exception as error:  # whatever it is, it belongs to the thread that waits for it
        messages.put(error)


def _body(url: str, timeout: float) -> Iterator[bytes]:
    with _opened(url, timeout) as response:
        yield b""
        announced = response.headers["Content-Length"]
        received = 0
        # read1 gives what is there: on a slow line, read would look like silence.
        while chunk := response.read1(_CHUNK_BYTES):
            received += len(chunk)
            if received > LIMIT_BYTES:
                raise OSError("the file is too large for MNIST")
            yield chunk
    if announced is not None and received != int(announced):
        raise OSError(f"the connection ended after {received:,} of {int(announced):,} bytes")


def _opened(url: str, timeout: float) -> HTTPResponse:
    try:
        response: HTTPResponse = urlopen(url, timeout=timeout)
        return response
    except HTTPError as error:
        error.close()  # it holds the connection open
        raise OSError(f"the server answered {error.code}") from None


def _reason(error: Exception) -> str:
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, TimeoutError):
        return _SILENT
    text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return str(text).splitlines()[0]

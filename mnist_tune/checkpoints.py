"""Checkpoints of unfinished runs: one file per run, written atomically.

A file holds

    magic         16 bytes   says that the file is ours
    version        4 bytes   of this layout, unsigned
    length         4 bytes   of the description, unsigned
    description              UTF-8 JSON: identity, seed, metrics, shapes of the arrays
    numbers                  float32 of all weights, then of all slots of the optimizer
    checksum      32 bytes   SHA-256 over everything before

with every number in little-endian order. Metrics keep all their digits, so a run that resumes
from its file gives the same bits as one that was never interrupted.

Contract: one process at a time writes a path, any number read it. A writer that is killed leaves
the file as it was, and at most one temporary file beside it, which the next write replaces
and `remove` removes. What another program or a broken disk did to a file is noticed on loading.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_tune.errors import MnistTuneError, StorageError
from mnist_tune.files import partial_of, write_atomically
from mnist_tune.trainer.states import Arrays, EpochMetrics, RunState

FORMAT = 1

_MAGIC = b"mnist_tune run\r\n"  # the line ending shows a transfer in text mode
_HEAD = struct.Struct("<16sII")
_CHECKSUM_BYTES = hashlib.sha256().digest_size
_FLOAT = np.dtype("<f4")
_MOST_OF_THE_TIME = 0.02


class CheckpointError(MnistTuneError):
    """A checkpoint cannot be used; the message is one line with the file and the reason."""


class CheckpointTimer:
    """Says when to save: at most once in a number of seconds, and for at most 2 % of the time.

    Large networks on slow disks are thus saved less often than was asked for.

    Args:
        seconds: least time between two saves; 0 saves at every chance.
        clock: in seconds, never going backwards.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._wait = seconds
        self._clock = clock
        self._last = clock()

    def due(self) -> bool:
        """Whether the time has come; True starts the next wait."""
        now = self._clock()
        if now - self._last < self._wait:
            return False
        self._last = now
        return True

    def saved(self) -> None:
        """Note that the save which was due has ended; the next one waits for its time's fifty-fold."""
        self._wait = max(self._seconds, (self._clock() - self._last) / _MOST_OF_THE_TIME)


def save_checkpoint(path: Path, state: RunState, identity: str) -> None:
    """Write a state so that `path` holds either the new one or what it held before.

    Args:
        path: of the file; its folder is made if need be.
        state: of the run, with finite metrics.
        identity: digest of all that decides the run's numbers.

    Raises:
        StorageError: the disk is full, the folder is not writable, and so on; the old file stays.
    """
    write_checkpoint(path, _pieces(state, identity))


def write_checkpoint(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Write a file of which another machine has made the content, as `save_checkpoint` does.

    Raises:
        StorageError: as of `save_checkpoint`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content, one_writer=True)
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written ({error.strerror}): make room there, or make its folder "
            "writable, and type the same command again; what was stored before is safe"
        ) from error


def load_checkpoint(path: Path, identity: str) -> RunState | None:
    """Read a state back; None if there is no such file.

    Args:
        path: that `save_checkpoint` was given.
        identity: that the state must belong to.

    Raises:
        CheckpointError: the file is broken, foreign, of another format, of another identity or
            not readable. The run can restart and comes to the same result.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    try:
        description, numbers = _opened(content)
        if description["identity"] != identity:
            raise CheckpointError("it belongs to another run or to changed settings")
        return _state(description, numbers)
    except CheckpointError as error:
        raise CheckpointError(f"{path} is not used: {error}") from None


def trained_epochs(path: Path) -> tuple[EpochMetrics, ...]:
    """Return the epochs that a checkpoint holds, from its head alone; none if it cannot be read."""
    try:
        with path.open("rb") as file:
            magic, version, length = _HEAD.unpack(file.read(_HEAD.size))
            if (magic, version) != (_MAGIC, FORMAT):
                return ()
            description = json.loads(file.read(length))
    except (OSError, struct.error, ValueError):
        return ()
    return tuple(EpochMetrics(*values) for values in description["history"])


def remove(paths: Iterable[Path]) -> None:
    """Remove checkpoints, and what killed writers left beside them; a missing file is no error."""
    for path in paths:
        path.unlink(missing_ok=True)
        partial_of(path).unlink(missing_ok=True)


def _pieces(state: RunState, identity: str) -> list[bytes]:
    """The content of the file, in order."""
    arrays = (*state.weights, *state.slots)
    description = {
        "identity": identity,
        "seed": state.seed,
        "history": [astuple(metrics) for metrics in state.history],
        "weights": [array.shape for array in state.weights],
        "slots": [array.shape for array in state.slots],
    }
    text = json.dumps(description, allow_nan=False).encode()
    pieces = [_HEAD.pack(_MAGIC, FORMAT, len(text)), text]
    pieces += [np.ascontiguousarray(array, _FLOAT).tobytes() for array in arrays]
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return [*pieces, digest.digest()]


def _opened(content: bytes) -> tuple[dict[str, Any], NDArray[np.float32]]:
    """Check a file's content; return its description and its numbers.

    Raises:
        CheckpointError: with the reason, but without the name of the file.
    """
    if len(content) < _HEAD.size:
        raise CheckpointError("it is cut short" if content else "it is empty")
    magic, version, length = _HEAD.unpack_from(content)
    if magic != _MAGIC:
        raise CheckpointError("it was not written by mnist_tune, or its first bytes are damaged")
    if version != FORMAT:
        age = "a newer" if version > FORMAT else "an older"
        raise CheckpointError(f"{age} version of mnist_tune wrote it, format {version}")
    body, checksum = content[:-_CHECKSUM_BYTES], content[-_CHECKSUM_BYTES:]
    if hashlib.sha256(body).digest() != checksum:
        raise CheckpointError("its checksum is wrong: it is damaged or cut short")
    # From here on the file is as we wrote it.
    end = _HEAD.size + length
    return json.loads(body[_HEAD.size : end]), np.frombuffer(body, _FLOAT, offset=end)


def _state(description: dict[str, Any], numbers: NDArray[np.float32]) -> RunState:
    shapes = [tuple(shape) for shape in (*description["weights"], *description["slots"])]
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    arrays: Arrays = tuple(
        part.reshape(shape).astype(np.float32)
        for part, shape in zip(np.split(numbers, ends[:-1]), shapes, strict=True)
    )
    count = len(description["weights"])
    history = tuple(EpochMetrics(*values) for values in description["history"])
    return RunState(description["seed"], arrays[:count], arrays[count:], history)

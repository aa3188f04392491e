"""Atomic writing: a reader, also one after a crash or a power cut, sees a file's old content or its new."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PARTIAL = ".partial"  # suffix of what a killed process leaves of a file with one writer


def write_atomically(
    path: Path, content: bytes | Iterable[bytes], *, one_writer: bool = False
) -> Path:
    """Write a file, or replace it, at once; its folder must be there.

    Args:
        path: of the file.
        content: all of it, or its pieces in order.
        one_writer: whether no two processes write this file at the same time. What is unfinished
            then has one fixed name, so that kills do not fill the disk.

    Returns:
        The path.

    Raises:
        OSError: the disk is full, the folder is not writable, and so on; the old file stays.
    """
    temporary = partial_of(path) if one_writer else None
    with replacing(path, temporary) as part, part.open("wb") as file:
        for piece in (content,) if isinstance(content, bytes) else content:
            file.write(piece)
    return path


@contextmanager
def replacing(path: Path, temporary: Path | None = None) -> Iterator[Path]:
    """Put a file in the place of another when the block that writes it ends without an error.

    Args:
        path: of the file that is replaced.
        temporary: where the new one is written first; by default a name that nobody else uses.

    Yields:
        Where to write; by default a name with the suffix of `path`.
    """
    unique = f".{os.getpid()}-{secrets.token_hex(4)}{PARTIAL}.{path.name}"
    part = temporary or path.with_name(unique)
    try:
        yield part
        sync(part)
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    with suppress(PermissionError):  # Windows opens no folders
        sync(path.parent)


def partial_of(path: Path) -> Path:
    """Name of the unfinished file beside one that has a single writer."""
    return path.with_name(path.name + PARTIAL)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

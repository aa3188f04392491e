"""A lock of the operating system on a file in the storage's `locks` folder.

It ends with the process that holds it, also after kill -9, and does not pass to the workers that
it spawned. Who holds it is written beside it, for people. Cheap to import: filelock comes in with
`acquire`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_tune.errors import StorageError
from mnist_tune.files import partial_of, write_atomically
from mnist_tune.storage.holders import Holder, this_process
from mnist_tune.storage.location import Location

if TYPE_CHECKING:
    from filelock import BaseFileLock

# `holder` borrows the lock for microseconds; a coordinator that meets it waits it out.
_PATIENCE_SECONDS = 0.5


class LockFile:
    """The lock of one study whose database is a file.

    Args:
        location: of the database.
        study: name of the study; any characters.
    """

    def __init__(self, location: Location, study: str) -> None:
        self._file = _lock_file(location, study)
        self._lock: BaseFileLock | None = None

    def acquire(self, patience_seconds: float = 0.0) -> bool:
        """Take it; False if somebody else has it.

        Args:
            patience_seconds: how long to wait for somebody else.

        Raises:
            StorageError: the file cannot be made.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(
            self._file,
            timeout=max(patience_seconds, _PATIENCE_SECONDS),
            poll_interval=0.02,
            thread_local=False,
        )
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
            self._lock = lock
            _write(_note(self._file))
        except Timeout:
            return False
        except OSError as error:
            self.release()
            raise StorageError(
                f"the lock file {self._file} cannot be made ({error.strerror}): "
                "make its folder writable, or give another --storage"
            ) from error
        return True

    def check(self) -> None:
        """Nothing but the end of this process takes it away."""

    def release(self) -> None:
        """Give it back; does nothing if it is not held."""
        if self._lock is None:
            return
        with suppress(OSError):
            _note(self._file).unlink(missing_ok=True)
        self._lock.release()
        self._lock = None

    def has_files(self) -> bool:
        """Whether somebody has or had it."""
        return self._file.exists()

    def discard(self) -> None:
        """Give it back together with its files.

        They are removed while it is held. Whoever waits for the lock notices that its file is
        gone, and makes a new one.
        """
        if self._lock is None:
            return
        note = _note(self._file)
        with suppress(OSError):
            for file in (note, partial_of(note), self._file):
                file.unlink(missing_ok=True)
        self.release()

    def holder(self) -> Holder:
        """Who has it, as far as it is known."""
        return _read(_note(self._file))


def held_files(location: Location, studies: list[str]) -> dict[str, Holder]:
    """Study → holder of its lock; studies without one are left out."""
    files = {study: _lock_file(location, study) for study in studies}
    return {study: _read(_note(file)) for study, file in files.items() if _is_locked(file)}


def _is_locked(file: Path) -> bool:
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except OSError:
        return False
    try:
        # Shared: two that ask at the same time do not meet each other.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def _lock_file(location: Location, study: str) -> Path:
    """Name a file after a study: readable, unique, and legal whatever the study is called."""
    database = location.path.name if location.path else str(location)
    digest = hashlib.sha256(f"{database}\n{study}".encode(errors="surrogateescape")).hexdigest()
    readable = re.sub(r"[^A-Za-z0-9._-]+", "_", study)[:40]
    return location.locks / f"{readable}-{digest[:16]}.lock"


def _note(file: Path) -> Path:
    return file.with_suffix(".json")


def _write(note: Path) -> None:
    write_atomically(note, json.dumps(asdict(this_process())).encode(), one_writer=True)


def _read(note: Path) -> Holder:
    try:
        return Holder(**json.loads(note.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return Holder()

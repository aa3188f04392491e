"""The lease: at most one coordinator at a time works on a study.

A lock of the operating system on a file in the storage's `locks` folder. It ends with the process
that holds it, also after kill -9, and does not pass to the workers that it spawned. Who holds it
is written beside it, for people. Cheap to import: filelock comes in with `acquire`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from mnist_tune.errors import StorageError
from mnist_tune.storage.location import Location
from mnist_tune.storage.records import utc_now

if TYPE_CHECKING:
    from filelock import BaseFileLock

# `holder` borrows the lock for microseconds; a coordinator that meets it waits it out.
_PATIENCE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lease; pid 0 if it has not said so."""

    pid: int = 0
    host: str = ""
    since: str = ""

    def __str__(self) -> str:
        if not self.pid:
            return "another process"
        return f"process {self.pid} on {self.host}, since {self.since}"


class Lease:
    """The right to ask, tell and write the trials of one study; a context manager.

    It ends with its object, too: keep that as long as the work goes on.

    Args:
        location: of the database.
        study: name of the study; any characters.
    """

    def __init__(self, location: Location, study: str) -> None:
        self._location = location
        self._study = study
        self._file = _lock_file(location, study)
        self._lock: BaseFileLock | None = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def acquire(self) -> None:
        """Take the lease, or refuse at once.

        Raises:
            StorageError: somebody has it, or the lock file cannot be made.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(
            self._file, timeout=_PATIENCE_SECONDS, poll_interval=0.02, thread_local=False
        )
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
            self._lock = lock
            _write(_note(self._file))
        except Timeout as error:
            raise StorageError(self._refusal()) from error
        except OSError as error:
            self.release()
            raise StorageError(
                f"the lock file {self._file} cannot be made ({error.strerror}): "
                "make its folder writable, or give another --storage"
            ) from error

    def release(self) -> None:
        """Give the lease back; does nothing if it is not held."""
        if self._lock is None:
            return
        with suppress(OSError):
            _note(self._file).unlink(missing_ok=True)
        self._lock.release()
        self._lock = None

    def has_files(self) -> bool:
        """Whether somebody has or had the lease."""
        return self._file.exists()

    def discard(self) -> None:
        """Give the lease back together with its files: there is no study any more.

        They are removed while it is held. Whoever waits for the lock notices that its file is
        gone, and makes a new one.
        """
        if self._lock is None:
            return
        with suppress(OSError):
            for file in (_note(self._file), _temporary(self._file), self._file):
                file.unlink(missing_ok=True)
        self.release()

    def _refusal(self) -> str:
        who = _read(_note(self._file))
        stop = f" (`kill {who.pid}` on {who.host})" if who.pid else ""
        return (
            f"{self._study} in {self._location} is being worked on by {who}: "
            f"wait for it, stop it{stop}, or give another --storage"
        )


def holder(location: Location, study: str) -> Holder | None:
    """Tell who holds the lease of a study, without taking it; None if it is free."""
    file = _lock_file(location, study)
    return _read(_note(file)) if _is_locked(file) else None


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


def _temporary(file: Path) -> Path:
    return file.with_suffix(".tmp")


def _write(note: Path) -> None:
    me = Holder(pid=os.getpid(), host=os.uname().nodename, since=utc_now())
    temporary = _temporary(note)
    temporary.write_text(json.dumps(asdict(me)), encoding="utf-8")
    temporary.replace(note)


def _read(note: Path) -> Holder:
    try:
        return Holder(**json.loads(note.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return Holder()

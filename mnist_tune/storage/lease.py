"""The lease: at most one coordinator at a time works on a study.

A lock on a file beside the database file; on a server an advisory lock. Either ends with the
process that holds it. Cheap to import: what locks comes in when it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from mnist_tune.errors import StorageError
from mnist_tune.storage.holders import Holder
from mnist_tune.storage.location import Location
from mnist_tune.storage.lock_files import LockFile, held_files

if TYPE_CHECKING:
    from mnist_tune.storage.advisory_locks import AdvisoryLock


class Lease:
    """The right to ask, tell and write the trials of one study; a context manager.

    It ends with its object, too: keep that as long as the work goes on.

    Args:
        location: of the database.
        study: name of the study; any characters.
        patience_seconds: how long to wait for somebody else.
    """

    def __init__(self, location: Location, study: str, patience_seconds: float = 0.0) -> None:
        self._location = location
        self._study = study
        self._patience_seconds = patience_seconds
        self._lock = _lock(location, study)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def acquire(self) -> None:
        """Take the lease, or refuse.

        Raises:
            StorageError: somebody has it, or it cannot be taken.
        """
        if not self._lock.acquire(self._patience_seconds):
            raise StorageError(self._refusal())

    def check(self) -> None:
        """Make sure that the lease is still held; called every second or so.

        Raises:
            ServerLost: the connection that holds it is lost, and somebody else may have it.
        """
        self._lock.check()

    def release(self) -> None:
        """Give the lease back; does nothing if it is not held."""
        self._lock.release()

    def has_files(self) -> bool:
        """Whether somebody has or had the lease and left files of it."""
        return self._lock.has_files()

    def discard(self) -> None:
        """Give the lease back together with its files: there is no study any more."""
        self._lock.discard()

    def _refusal(self) -> str:
        who = self._lock.holder()
        stop = f" (`kill {who.pid}` on {who.host})" if who.pid else ""
        return (
            f"{self._study} in {self._location} is being worked on by {who}: "
            f"wait for it, stop it{stop}, or give another --storage"
        )


def holder(location: Location, study: str) -> Holder | None:
    """Tell who holds the lease of a study, without taking it; None if it is free."""
    return holders(location, [study]).get(study)


def holders(location: Location, studies: list[str]) -> dict[str, Holder]:
    """Study → holder of its lease; studies whose lease is free are left out.

    Raises:
        StorageError: the server cannot be asked.
    """
    if location.is_sqlite:
        return held_files(location, studies)
    from mnist_tune.storage.advisory_locks import held_locks

    return held_locks(location, studies)


def _lock(location: Location, study: str) -> LockFile | AdvisoryLock:
    if location.is_sqlite:
        return LockFile(location, study)
    from mnist_tune.storage.advisory_locks import AdvisoryLock

    return AdvisoryLock(location, study)

"""The lease: at most one coordinator at a time works on a study.

For a file it is a lock of the operating system on a file in the storage's `locks` folder, with a
note beside it that says who holds it; it does not pass to the workers that its holder starts. On a
server it is an advisory lock, whose holder is the name of its connection, which everybody who may
read `pg_stat_activity` sees. Either ends with the process that holds it, also after kill -9.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import sqlalchemy
from sqlalchemy import Connection, NullPool, text

from mnist_tune.errors import StorageError
from mnist_tune.files import partial_of, write_atomically
from mnist_tune.storage.database import server_engine
from mnist_tune.storage.errors import translated
from mnist_tune.storage.location import Location
from mnist_tune.storage.records import utc_now

if TYPE_CHECKING:
    from filelock import BaseFileLock  # 0.05 s at run time

# `holders` borrows a lock for microseconds; a coordinator that meets it waits it out. The server's
# end of a connection that is gone lives on for a moment.
_LEAST_PATIENCE = 0.5  # s
_POLL_SECONDS = 0.02
_CHECK_SECONDS = 5.0  # between two looks at a connection that holds a lease
_TRY = text("SELECT pg_try_advisory_lock(:key)")
_RETURN = text("SELECT pg_advisory_unlock(:key)")
# The server lets go within 25 s when the network is cut; by default it would take two hours.
_NAME = text(
    "SELECT set_config('application_name', :name, false), "
    "set_config('tcp_keepalives_idle', '10', false), "
    "set_config('tcp_keepalives_interval', '5', false), "
    "set_config('tcp_keepalives_count', '3', false)"
)
_HELD = text(
    "SELECT (l.classid::bigint << 32) | l.objid::bigint, a.application_name "
    "FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid "
    "WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.database = "
    "(SELECT oid FROM pg_database WHERE datname = current_database())"
)
_HOLDER = re.compile(r"mnist-tune (\d+)@(\S*) (\S+)")
_HOST_LETTERS = 20  # since PostgreSQL cuts names after 63 bytes


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lease; pid 0 if it has not said so."""

    pid: int = 0
    host: str = ""
    since: str = ""

    def __str__(self) -> str:
        if not self.pid:
            return "another process"
        since = f"{self.since[:16].replace('T', ' ')} UTC"
        return f"process {self.pid} on {self.host}, since {since}"


class Lease:
    """The right to write the trials of one study; a context manager.

    It ends with its object, too: keep that as long as the work lasts.

    Args:
        location: of the database.
        study: name of the study; any characters.
        patience_seconds: how long to wait for somebody else.
    """

    def __new__(cls, location: Location, *_: object, **__: object) -> Self:  # noqa: D102
        return object.__new__(_FileLease if location.is_sqlite else _ServerLease)  # type: ignore[return-value]

    def __init__(self, location: Location, study: str, patience_seconds: float = 0.0) -> None:
        self._location = location
        self._study = study
        self._patience_seconds = max(patience_seconds, _LEAST_PATIENCE)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def acquire(self) -> None:
        """Take the lease; StorageError if somebody else has it, or it cannot be taken."""
        if self._taken():
            return
        who = self._holder()
        stop = f" (`kill {who.pid}` on {who.host})" if who.pid else ""
        raise StorageError(
            f"{self._study} in {self._location} is being worked on by {who}: "
            f"wait for it, stop it{stop}, or give another --storage"
        )

    def check(self) -> None:
        """Raise ServerLost if the lease may no longer be held; called every second or so."""

    def release(self) -> None:
        """Give the lease back; does nothing if it is not held."""
        raise NotImplementedError

    def has_files(self) -> bool:
        """Whether somebody has or had the lease and left files of it."""
        return False

    def discard(self) -> None:
        """Give the lease back together with its files: there is no study any more."""
        self.release()

    def _taken(self) -> bool:
        """Take it; False if somebody else has it."""
        raise NotImplementedError

    def _holder(self) -> Holder:
        """Who has it, as far as it is known."""
        raise NotImplementedError


class _FileLease(Lease):
    """The lease of a study whose database is a file."""

    def __init__(self, location: Location, study: str, patience_seconds: float = 0.0) -> None:
        super().__init__(location, study, patience_seconds)
        self._file = _lock_file(location, study)
        self._note = _note(self._file)
        self._lock: BaseFileLock | None = None

    def _taken(self) -> bool:
        from filelock import FileLock, Timeout

        lock = FileLock(
            self._file,
            timeout=self._patience_seconds,
            poll_interval=_POLL_SECONDS,
            thread_local=False,
        )
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
            self._lock = lock
            me = json.dumps(asdict(_this_process()))
            write_atomically(self._note, me.encode(), one_writer=True)
        except Timeout:
            return False
        except OSError as error:
            self.release()
            raise StorageError(
                f"the lock file {self._file} cannot be made ({error.strerror}): "
                "make its folder writable, or give another --storage"
            ) from error
        return True

    def release(self) -> None:
        if self._lock is None:
            return
        with suppress(OSError):
            self._note.unlink(missing_ok=True)
        self._lock.release()
        self._lock = None

    def has_files(self) -> bool:
        return self._file.exists()

    def discard(self) -> None:
        # Files are removed while it is held. Whoever waits for the lock notices that its file is
        # gone, and makes a new one.
        if self._lock is not None:
            with suppress(OSError):
                for file in (self._note, partial_of(self._note), self._file):
                    file.unlink(missing_ok=True)
        self.release()

    def _holder(self) -> Holder:
        return _read_note(self._note)


class _ServerLease(Lease):
    """The lease of a study whose database is on a server."""

    _connection: Connection | None = None
    _checked = 0.0

    def _taken(self) -> bool:
        me, key = _this_process(), {"key": _key(self._study)}
        name = f"mnist-tune {me.pid}@{me.host[:_HOST_LETTERS]} {me.since[:19]}Z"
        with translated(self._location):
            connection = _connection(self._location)
            try:
                connection.execute(_NAME, {"name": name})
                deadline = time.monotonic() + self._patience_seconds
                while not connection.execute(_TRY, key).scalar():
                    if time.monotonic() > deadline:
                        connection.close()
                        return False
                    time.sleep(_POLL_SECONDS)
            except BaseException:
                connection.close()
                raise
        self._connection, self._checked = connection, time.monotonic()
        return True

    def check(self) -> None:
        if self._connection is None or time.monotonic() - self._checked < _CHECK_SECONDS:
            return
        with translated(self._location):
            self._connection.execute(text("SELECT 1"))
        self._checked = time.monotonic()

    def release(self) -> None:
        if self._connection is not None:
            with suppress(sqlalchemy.exc.SQLAlchemyError):  # it may be lost already
                self._connection.execute(_RETURN, {"key": _key(self._study)})
            with suppress(sqlalchemy.exc.SQLAlchemyError):
                self._connection.close()
            self._connection = None

    def _holder(self) -> Holder:
        return holders(self._location, [self._study]).get(self._study, Holder())


def holder(location: Location, study: str) -> Holder | None:
    """Tell who holds the lease of a study, without taking it; None if it is free."""
    return holders(location, [study]).get(study)


def holders(location: Location, studies: list[str]) -> dict[str, Holder]:
    """Study → holder of its lease; studies whose lease is free are left out."""
    if location.is_sqlite:
        files = {study: _lock_file(location, study) for study in studies}
        return {study: _read_note(_note(f)) for study, f in files.items() if _is_locked(f)}
    with translated(location), _connection(location) as connection:
        names = {_signed(key): name or "" for key, name in connection.execute(_HELD)}
    return {study: _parsed(names[_key(study)]) for study in studies if _key(study) in names}


def _this_process() -> Holder:
    return Holder(pid=os.getpid(), host=os.uname().nodename, since=utc_now())


def _lock_file(location: Location, study: str) -> Path:
    """Name a file after a study: readable, unique, and legal whatever the study is called."""
    database = location.path.name if location.path else str(location)
    digest = hashlib.sha256(f"{database}\n{study}".encode(errors="surrogateescape")).hexdigest()
    readable = re.sub(r"[^A-Za-z0-9._-]+", "_", study)[:40]
    return location.locks / f"{readable}-{digest[:16]}.lock"


def _note(file: Path) -> Path:
    return file.with_suffix(".json")


def _read_note(note: Path) -> Holder:
    try:
        return Holder(**json.loads(note.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return Holder()


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


def _connection(location: Location) -> Connection:
    """A connection of its own, which ends when it is closed; each statement is a transaction."""
    engine = server_engine(location, poolclass=NullPool)
    return engine.connect().execution_options(isolation_level="AUTOCOMMIT")


def _key(study: str) -> int:
    """The number that stands for a study: 64 bits, signed, as PostgreSQL wants it."""
    digest = hashlib.sha256(f"mnist-tune\nstudy\n{study}".encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8], signed=True)


def _signed(key: int) -> int:
    return key - (1 << 64) if key >= 1 << 63 else key


def _parsed(name: str) -> Holder:
    found = _HOLDER.fullmatch(name)
    return Holder() if found is None else Holder(int(found[1]), found[2], found[3])

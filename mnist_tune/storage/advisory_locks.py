"""Advisory locks of a PostgreSQL server: they end with the connection that holds them.

Who holds one is the name that the holder's connection gives itself, which everybody who may read
`pg_stat_activity` sees, and which cannot outlive it.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import sqlalchemy
from sqlalchemy import Connection, NullPool, text

from mnist_tune.errors import StorageError
from mnist_tune.storage.faults import translated
from mnist_tune.storage.holders import Holder, this_process
from mnist_tune.storage.location import Location
from mnist_tune.storage.server import server_engine

_CHECK_SECONDS = 5.0  # between two looks at a connection that holds a lease
_POLL_SECONDS = 0.02
_BACKEND_GONE = 0.5  # s; the server's end of a connection lives on for a moment
_TRY = text("SELECT pg_try_advisory_lock(:key)")
_TAKE = text("SELECT pg_advisory_lock(:key)")
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
# PostgreSQL cuts names after 63 bytes.
_HOLDER = re.compile(r"mnist-tune (\d+)@(\S*) (\S+)")
_HOST_LETTERS = 20


class AdvisoryLock:
    """The lock of one study whose database is on a server.

    Args:
        location: of the database.
        study: name of the study; any characters.
    """

    def __init__(self, location: Location, study: str) -> None:
        self._location = location
        self._study = study
        self._connection: Connection | None = None
        self._checked = 0.0

    def acquire(self, patience_seconds: float = 0.0) -> bool:
        """Take it; False if somebody else has it.

        Args:
            patience_seconds: how long to wait for somebody else.

        Raises:
            StorageError: the server cannot be asked.
        """
        with translated(self._location):
            connection = _connect(self._location)
            try:
                me = this_process()
                name = f"mnist-tune {me.pid}@{me.host[:_HOST_LETTERS]} {me.since[:19]}Z"
                connection.execute(_NAME, {"name": name})
                deadline = time.monotonic() + max(patience_seconds, _BACKEND_GONE)
                while not connection.execute(_TRY, {"key": _key(self._study)}).scalar():
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
        """Make sure that its connection is there.

        Raises:
            ServerLost: it is not.
        """
        if self._connection is None or time.monotonic() - self._checked < _CHECK_SECONDS:
            return
        with translated(self._location):
            self._connection.execute(text("SELECT 1"))
        self._checked = time.monotonic()

    def release(self) -> None:
        """Give it back; does nothing if it is not held."""
        if self._connection is not None:
            with suppress(sqlalchemy.exc.SQLAlchemyError):  # it may be lost already
                self._connection.execute(_RETURN, {"key": _key(self._study)})
            with suppress(sqlalchemy.exc.SQLAlchemyError):
                self._connection.close()
            self._connection = None

    def has_files(self) -> bool:
        """A server keeps none."""
        return False

    def discard(self) -> None:
        """Give it back."""
        self.release()

    def holder(self) -> Holder:
        """Who has it, as far as it is known."""
        return held_locks(self._location, [self._study]).get(self._study, Holder())


def held_locks(location: Location, studies: list[str]) -> dict[str, Holder]:
    """Study → holder of its lock; studies without one are left out.

    Raises:
        StorageError: the server cannot be asked.
    """
    with translated(location), _connected(location) as connection:
        named = {_signed(key): name or "" for key, name in connection.execute(_HELD)}
    return {study: _read(named[_key(study)]) for study in studies if _key(study) in named}


@contextmanager
def exclusively(location: Location, what: str, seconds: float) -> Iterator[None]:
    """Let one process at a time do something.

    Args:
        location: of the database.
        what: is done.
        seconds: to wait for the others.

    Raises:
        StorageError: the server cannot be asked, or another process goes on for so long.
    """
    with translated(location), _connected(location) as connection:
        connection.execute(text(f"SET lock_timeout = {int(seconds * 1000)}"))
        try:
            connection.execute(_TAKE, {"key": _key(what, kind="work")})
        except sqlalchemy.exc.OperationalError as error:
            if "lock timeout" not in str(error):
                raise
            raise StorageError(
                f"{location}: another process has kept its {what} for {seconds:g} s; "
                "end it and type the same command again"
            ) from error
        yield


@contextmanager
def _connected(location: Location) -> Iterator[Connection]:
    connection = _connect(location)
    try:
        yield connection
    finally:
        connection.close()


def _connect(location: Location) -> Connection:
    """A connection of its own, which ends when it is closed; each statement is a transaction."""
    engine = server_engine(location, poolclass=NullPool)
    return engine.connect().execution_options(isolation_level="AUTOCOMMIT")


def _key(name: str, kind: str = "study") -> int:
    """The number that stands for a name: 64 bits, signed, as PostgreSQL wants it."""
    digest = hashlib.sha256(f"mnist-tune\n{kind}\n{name}".encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8], signed=True)


def _signed(key: int) -> int:
    return key - (1 << 64) if key >= 1 << 63 else key


def _read(name: str) -> Holder:
    found = _HOLDER.fullmatch(name)
    return Holder() if found is None else Holder(int(found[1]), found[2], found[3])

"""Engines and transactions: the one place that connects to databases by SQLAlchemy.

A `Database` is opened by `open_database`, which refuses whatever is not ours with one line. Any
thread may use it; each block of `transaction` or `reading` has a connection of its own. Errors of
the database, its disk or its server come out as StorageError; a block that raises leaves nothing
behind.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any, Literal, Self

import sqlalchemy
from sqlalchemy import Connection, Engine, NullPool, QueuePool, event, insert, inspect, text

from mnist_tune.errors import ServerLost, StorageError
from mnist_tune.storage import sqlite_files
from mnist_tune.storage.errors import explain, nothing_stored, translated
from mnist_tune.storage.location import Location
from mnist_tune.storage.schema import SCHEMA_VERSION, VERSIONS, is_ours, metadata

# libpq's defaults would take hours to notice that the network is cut. The URL may say otherwise.
_PATIENCE = {
    "connect_timeout": 10,  # s
    "keepalives_idle": 10,  # s
    "keepalives_interval": 5,  # s
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,  # ms, where the system has it
    "application_name": "mnist-tune",
}
_READ_ONLY = "-c default_transaction_read_only=on"
# Writers of our tables queue, as in SQLite, so that what they read cannot change before they write.
_QUEUE = "SET LOCAL lock_timeout = {milliseconds}; SELECT pg_advisory_xact_lock(7236837562)"
_CREATION = "SET lock_timeout = {milliseconds}; SELECT pg_advisory_lock(7236837563)"
_LOOK_SECONDS = 1.0  # between two attempts to reach a server


class Database:
    """An open database; `open_database` makes it.

    Attributes:
        location: where it is.
        engine: for those who need SQLAlchemy's own; prefer `transaction` and `reading`.
        read_only: whether every write is refused.
        following: whether a read-only one sees what others write later.
        busy_seconds: how long a write waits for another writer.
    """

    def __init__(
        self,
        location: Location,
        *,
        read_only: bool,
        busy_seconds: float,
        following: bool = False,
    ) -> None:
        self.location = location
        self.read_only = read_only
        self.following = following
        self.busy_seconds = busy_seconds
        self._others = ExitStack()
        self.engine = (
            self._sqlite_engine()
            if location.is_sqlite
            else server_engine(location, read_only=read_only)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections; the last one folds SQLite's log into the file."""
        self._others.close()
        self.engine.dispose()

    def close_with(self, close: Callable[[], None]) -> None:
        """Have something closed together with this database."""
        self._others.callback(close)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Write: all of the block is committed, or nothing.

        Writers queue, so that what the block reads cannot change before it writes.
        """
        with translated(self.location), self.engine.begin() as connection:
            if not self.location.is_sqlite:
                connection.exec_driver_sql(
                    _QUEUE.format(milliseconds=_milliseconds(self.busy_seconds))
                )
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Read: the whole block sees one state, and blocks no writer meanwhile."""
        with translated(self.location), self.engine.connect() as connection:
            if self.location.is_sqlite:
                yield connection.execution_options(mnist_tune_begin="DEFERRED")
            else:
                yield connection.execution_options(isolation_level="REPEATABLE READ")

    def tables(self) -> frozenset[str]:
        """Names of all tables."""
        with self.reading() as connection:
            return frozenset(inspect(connection).get_table_names())

    def is_ours(self) -> bool:
        """Whether our tables are there; StorageError if somebody else's are."""
        with self.reading() as connection:
            return is_ours(connection, self.location)

    def sqlite_connector(
        self, transactions: Literal["IMMEDIATE"] | None = None
    ) -> Callable[[], sqlite3.Connection]:
        """Return what makes connections to the file, for engines here and in Optuna."""
        path = sqlite_files.path_of(self.location)
        if self.read_only:
            return lambda: sqlite_files.connect_read_only(path, following=self.following)
        return lambda: sqlite_files.connect(
            path, busy_seconds=self.busy_seconds, transactions=transactions
        )

    def _sqlite_engine(self) -> Engine:
        engine = sqlalchemy.create_engine(
            self.location.url, creator=self.sqlite_connector(), poolclass=QueuePool
        )
        event.listen(engine, "begin", _begin)
        return engine


def open_database(
    location: Location,
    *,
    create: bool,
    read_only: bool = False,
    following: bool = False,
    busy_seconds: float = sqlite_files.BUSY_SECONDS,
) -> Database:
    """Open a database, and make it first where `create` says so.

    Making it is idempotent, and safe with several processes at once.

    Args:
        location: where it is, or is to be.
        create: make folders, file and tables where they are missing.
        read_only: for reports: also on a read-only disk, and every write is refused.
        following: a read-only database that stays open and shows what others write meanwhile.
        busy_seconds: how long a write waits for another writer before it is an error.

    Raises:
        StorageError: it cannot be used; or nothing is there and `create` is False.
    """
    assert not (create and read_only), "a database cannot be made without writing"
    if location.is_sqlite:
        _check_file(location, create=create, read_only=read_only)
    database = Database(
        location, read_only=read_only, busy_seconds=busy_seconds, following=following
    )
    try:
        if create:
            _make(database)
        elif not database.is_ours():
            raise nothing_stored(location)
    except BaseException:
        database.close()
        raise
    return database


@contextmanager
def creation_lock(location: Location, seconds: float = sqlite_files.BUSY_SECONDS) -> Iterator[None]:
    """Let one process at a time make tables; StorageError if another one keeps the lock."""
    if location.is_sqlite:
        with _file_lock(location, seconds):
            yield
        return
    engine = server_engine(location, poolclass=NullPool)  # the lock ends with its connection
    with translated(location), engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.exec_driver_sql(_CREATION.format(milliseconds=_milliseconds(seconds)))
        yield


def server_engine(location: Location, *, read_only: bool = False, **options: Any) -> Engine:
    """Make an engine for a server; nothing is connected yet.

    Raises:
        StorageError: the URL cannot be read, or its driver is not installed.
    """
    try:
        return sqlalchemy.create_engine(
            location.url, **server_options(location, read_only=read_only), **options
        )
    except (sqlalchemy.exc.NoSuchModuleError, ImportError) as error:
        raise explain(error, location) from error


def server_options(location: Location, *, read_only: bool = False) -> dict[str, Any]:
    """What SQLAlchemy needs to know, here and in Optuna, besides the URL of a server."""
    given = location.url.query
    arguments = {name: value for name, value in _PATIENCE.items() if name not in given}
    if read_only:
        options = given.get("options", "")
        before = options if isinstance(options, str) else " ".join(options)
        arguments["options"] = f"{before} {_READ_ONLY}".strip()
    return {"pool_pre_ping": True, "connect_args": arguments}


def wait_for_server(location: Location, seconds: float, stop: Callable[[], object]) -> bool:
    """Wait until a server answers again, or until `stop` says to wait no more; whether it answers.

    Raises:
        ServerLost: it does not do so in time.
    """
    deadline = time.monotonic() + seconds
    engine = server_engine(location, poolclass=NullPool)
    while not stop():
        try:
            with translated(location), engine.connect() as connection:
                connection.execute(text("SELECT 1"))
            return True
        except ServerLost:
            if time.monotonic() > deadline:
                raise
        time.sleep(_LOOK_SECONDS)
    return False


@contextmanager
def _file_lock(location: Location, seconds: float) -> Iterator[None]:
    from filelock import FileLock, Timeout

    lock = FileLock(location.locks / "creation.lock", timeout=seconds)
    try:
        location.locks.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise StorageError(
            f"{location}: another process has been making this database for {seconds:g} s; "
            "end it and type the same command again"
        ) from error
    except OSError as error:
        raise explain(error, location) from error
    try:
        yield
    finally:
        lock.release()


def _check_file(location: Location, *, create: bool, read_only: bool) -> None:
    if not sqlite_files.exists(location):
        if not create:
            raise nothing_stored(location)
        sqlite_files.make_folder(location)
    if not read_only:
        sqlite_files.refuse_read_only(location)


def _make(database: Database) -> None:
    """Make file and tables where they are missing."""
    with creation_lock(database.location):
        if database.location.path is not None:
            try:
                database.location.path.open("ab").close()  # unlike touch, leaves a file's times
            except OSError as error:
                raise explain(error, database.location) from error
        there = database.is_ours()  # before WAL is written into a file: is it somebody else's?
        if database.location.is_sqlite:
            with translated(database.location), closing(database.sqlite_connector()()) as raw:
                sqlite_files.turn_on_wal(raw)
        if not there:
            with database.transaction() as connection:
                metadata.create_all(connection)
                connection.execute(insert(VERSIONS).values(version=SCHEMA_VERSION))


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def _begin(connection: Connection) -> None:
    # sqlite3 itself begins nothing (isolation_level=None), so every transaction starts here.
    kind = connection.get_execution_options().get("mnist_tune_begin", "IMMEDIATE")
    connection.exec_driver_sql(f"BEGIN {kind}")

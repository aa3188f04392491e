"""The one place that makes engines and opens transactions.

A `Database` is opened by `open_database`, which refuses whatever is not ours with one line. Any
thread may use it; each block of `transaction` or `reading` has a connection of its own. Errors of
the database, its disk or its server come out as StorageError; a block that raises leaves nothing
behind.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, Self

import sqlalchemy
from filelock import FileLock, Timeout
from sqlalchemy import Connection, Engine, QueuePool, event, insert, inspect

from mnist_tune.errors import StorageError
from mnist_tune.storage import files, statements
from mnist_tune.storage.faults import explain, translated
from mnist_tune.storage.identity import SCHEMA_VERSION, is_ours, nothing_stored, stored_version
from mnist_tune.storage.location import Location
from mnist_tune.storage.server import queue_up, server_engine
from mnist_tune.storage.tables import metadata, schema
from mnist_tune.storage.upgrades import upgrade


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
                queue_up(connection, self.busy_seconds)
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Read: one state is shown to the whole block, which blocks no writer meanwhile."""
        with translated(self.location), self.engine.connect() as connection:
            if self.location.is_sqlite:
                yield connection.execution_options(mnist_tune_begin="DEFERRED")
            else:
                yield connection.execution_options(isolation_level="REPEATABLE READ")

    def rows(self, statement: str, /, **values: object) -> Sequence[tuple[Any, ...]]:
        """Return the rows of one SELECT, in which values stand for their names, as in `:name`."""
        with self.reading() as connection:
            return statements.rows(connection, statement, values)

    def tables(self) -> frozenset[str]:
        """Names of all tables."""
        with self.reading() as connection:
            return frozenset(inspect(connection).get_table_names())

    def is_ours(self) -> bool:
        """Whether our tables are there; StorageError if somebody else's are."""
        return is_ours(self.tables(), self.rows, self.location)

    def sqlite_connector(
        self, transactions: Literal["IMMEDIATE"] | None = None
    ) -> Callable[[], sqlite3.Connection]:
        """Return what makes connections to the file, for engines here and in Optuna."""
        path = self.location.path
        assert path is not None, "a server has no file"
        if self.read_only:
            connect = files.connect_following if self.following else files.connect_read_only
            return lambda: connect(path)
        return lambda: files.connect(
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
    busy_seconds: float = files.BUSY_SECONDS,
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

    def opened() -> Database:
        return Database(
            location, read_only=read_only, busy_seconds=busy_seconds, following=following
        )

    database = opened()
    try:
        _check_tables(database, create=create)
        if stored_version(database.rows) != SCHEMA_VERSION:
            _upgrade(location, busy_seconds)
            database.close()  # a read-only connection may go on seeing what was there before
            database = opened()
    except BaseException:
        database.close()
        raise
    return database


@contextmanager
def creation_lock(location: Location, seconds: float = files.BUSY_SECONDS) -> Iterator[None]:
    """Let one process at a time make tables.

    Raises:
        StorageError: the lock cannot be taken, or another process keeps it.
    """
    if not location.is_sqlite:
        from mnist_tune.storage.advisory_locks import exclusively

        with exclusively(location, "creation", seconds):
            yield
        return
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
    if not files.exists(location):
        if not create:
            raise nothing_stored(location)
        files.make_folder(location)
    if not read_only:
        files.refuse_read_only(location)


def _check_tables(database: Database, *, create: bool) -> None:
    if not create:
        if not database.is_ours():
            raise nothing_stored(database.location)
        return
    with creation_lock(database.location):
        if database.location.is_sqlite:
            _make_file(database)
        if not database.is_ours():
            _make_tables(database)


def _make_file(database: Database) -> None:
    path = database.location.path
    assert path is not None
    try:
        path.open("ab").close()  # unlike touch, leaves the times of a file that is there
    except OSError as error:
        raise explain(error, database.location) from error
    # Before WAL is written into a file: is it somebody else's?
    database.is_ours()
    with translated(database.location):
        connection = database.sqlite_connector()()
        try:
            files.turn_on_wal(connection)
        finally:
            connection.close()


def _make_tables(database: Database) -> None:
    with database.transaction() as connection:
        metadata.create_all(connection)
        connection.execute(insert(schema).values(version=SCHEMA_VERSION))


def _upgrade(location: Location, busy_seconds: float) -> None:
    if location.is_sqlite:
        files.refuse_read_only(location)
    opened = Database(location, read_only=False, busy_seconds=busy_seconds)
    with creation_lock(location), opened as database:
        upgrade(database.transaction, location)


def _begin(connection: Connection) -> None:
    # sqlite3 itself begins nothing (isolation_level=None), so every transaction starts here.
    kind = connection.get_execution_options().get("mnist_tune_begin", "IMMEDIATE")
    connection.exec_driver_sql(f"BEGIN {kind}")

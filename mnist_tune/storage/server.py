"""Connections to a PostgreSQL server, which notice soon when it is gone, and waiting for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import sqlalchemy
from sqlalchemy import Connection, Engine, text

from mnist_tune.errors import ServerLost
from mnist_tune.storage.faults import explain, translated
from mnist_tune.storage.location import Location

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
_LOOK_SECONDS = 1.0


def server_engine(location: Location, *, read_only: bool = False, **options: Any) -> Engine:
    """Make an engine; nothing is connected yet.

    Args:
        location: of the database.
        read_only: whether the server refuses every write.
        options: further ones of SQLAlchemy.

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
    """What SQLAlchemy needs to know, here and in Optuna, besides the URL."""
    given = location.url.query
    arguments = {name: value for name, value in _PATIENCE.items() if name not in given}
    if read_only:
        options = given.get("options", "")
        before = options if isinstance(options, str) else " ".join(options)
        arguments["options"] = f"{before} {_READ_ONLY}".strip()
    return {"pool_pre_ping": True, "connect_args": arguments}


def queue_up(connection: Connection, seconds: float) -> None:
    """Wait, in a transaction, until no other writer of our tables is at work.

    Args:
        connection: in its transaction, at the end of which the next one follows.
        seconds: to wait at most.
    """
    connection.exec_driver_sql(_QUEUE.format(milliseconds=int(seconds * 1000)))


def wait_for(location: Location, seconds: float, stop: Callable[[], object]) -> bool:
    """Wait until a server answers again.

    Args:
        location: of its database.
        seconds: to wait at most.
        stop: whether to wait no more.

    Returns:
        Whether it answers; False after a word to stop.

    Raises:
        ServerLost: it does not do so in time.
        StorageError: it answers that we are not wanted.
    """
    deadline = time.monotonic() + seconds
    engine = server_engine(location)
    try:
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
    finally:
        engine.dispose()

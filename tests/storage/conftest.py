"""Real databases: a file in `tmp_path`, and one of a PostgreSQL server.

Tests run with both unless they are about files and say so: `@sqlite_only`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import event

from mnist_tune.storage.database import Database, open_database
from mnist_tune.storage.location import Location
from mnist_tune.storage.store import Store
from tests.postgresql import Server

BACK_ENDS = ["sqlite", "postgresql"]


@pytest.fixture(params=BACK_ENDS)
def location(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Location:
    if request.param == "sqlite":
        return Location.parse(tmp_path / "storage" / "trials.db")
    monkeypatch.chdir(tmp_path)  # files that belong to a server's studies lie in ./storage
    server: Server = request.getfixturevalue("postgresql")
    return Location.parse(server.database())


@pytest.fixture
def database(location: Location) -> Iterator[Database]:
    with open_database(location, create=True) as database:
        if location.is_sqlite:
            # Rows come backwards unless their order is asked for, as they might from a server.
            database.engine.dispose()
            event.listen(database.engine, "connect", backwards)
        yield database


def backwards(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("PRAGMA reverse_unordered_selects=ON")


@pytest.fixture
def store(database: Database) -> Store:
    return Store(database)

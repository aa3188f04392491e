"""Real databases in `tmp_path`; a back end joins the conformance tests by a line in BACK_ENDS."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import event

from mnist_tune.storage.database import Database, open_database
from mnist_tune.storage.location import Location
from mnist_tune.storage.store import Store

BACK_ENDS = ["sqlite"]


@pytest.fixture(params=BACK_ENDS)
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    assert request.param == "sqlite"
    return Location.parse(tmp_path / "storage" / "trials.db")


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

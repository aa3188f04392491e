"""From an older schema to this one: columns and tables are added, nothing is rewritten.

A file is copied beside itself first, so that an older mnist_tune can go on with what it had.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from sqlalchemy import Connection, insert, inspect

from mnist_tune.storage import statements
from mnist_tune.storage.copies import copy_database, free_name
from mnist_tune.storage.faults import explain
from mnist_tune.storage.identity import SCHEMA_VERSION, stored_version
from mnist_tune.storage.location import Location
from mnist_tune.storage.notices import notice
from mnist_tune.storage.tables import metadata, schema


def upgrade(
    transaction: Callable[[], AbstractContextManager[Connection]], location: Location
) -> None:
    """Bring the tables to SCHEMA_VERSION, in one transaction; does nothing where they are there.

    Args:
        transaction: opens one, in which nobody else can write.
        location: of the same database.

    Raises:
        StorageError: the database or its disk failed; everything is as it was.
    """
    copies: list[Path] = []
    try:
        with transaction() as connection:
            found = _version(connection)
            if found == SCHEMA_VERSION:  # another process was faster
                return
            if location.path is not None:  # a server has backups of its own
                copies.append(_copy_beside(location.path, found, location))
            _add_missing(connection)
            connection.execute(insert(schema).values(version=SCHEMA_VERSION))
    except BaseException:
        for copy in copies:  # attempts that fail must not fill the disk
            copy.unlink()
        raise
    kept = f"; as it was before, it is kept in {Location.parse(copies[0])}" if copies else ""
    notice(
        f"{location} was made by an older mnist_tune: upgraded from schema {found} to "
        f"{SCHEMA_VERSION}{kept}"
    )


def _version(connection: Connection) -> int | None:
    return stored_version(
        lambda statement, /, **values: statements.rows(connection, statement, values)
    )


def _copy_beside(path: Path, version: int | None, location: Location) -> Path:
    target = free_name(path.with_name(f"{path.name}.schema-{version}.backup"))
    try:
        copy_database(path, target)
    except OSError as error:
        raise explain(error, location) from error
    return target


def _add_missing(connection: Connection) -> None:
    metadata.create_all(connection)
    for table in metadata.sorted_tables:
        there = {column["name"] for column in inspect(connection).get_columns(table.name)}
        for column in table.columns:
            if column.name not in there:  # new ones may be NULL: old rows have none
                kind = column.type.compile(connection.dialect)
                connection.exec_driver_sql(
                    f"ALTER TABLE {table.name} ADD COLUMN {column.name} {kind}"
                )

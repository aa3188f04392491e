"""Tables of mnist_tune beside Optuna's, and whose tables a database holds.

No foreign key points at Optuna's tables, so that Optuna's own commands keep working.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    func,
    inspect,
    select,
    text,
)

from mnist_tune.errors import StorageError
from mnist_tune.storage.location import Location
from mnist_tune.storage.records import (
    AnalysisRow,
    ConfirmationRow,
    EpochRow,
    PictureRow,
    PredictionRow,
    ReferenceRow,
    RunRow,
    StudyRow,
    TimingRow,
    TrialRow,
    columns_of,
)

SCHEMA_VERSION = 3

_TYPES = {str: Text, int: Integer, float: Float, bool: Boolean, bytes: LargeBinary}

metadata = MetaData()
VERSIONS = Table(
    "mnist_tune_schema",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
)


def _table(name: str, kind: type, keys: int) -> Table:
    """Make the table of a kind of row, whose first columns are the primary key."""
    columns: list[Column[Any]] = [
        Column(
            column.name,
            _TYPES[column.kind],
            primary_key=at < keys,
            autoincrement=False,
            nullable=column.nullable,
            unique=(kind, column.name) == (StudyRow, "name") or None,
        )
        for at, column in enumerate(columns_of(kind))
    ]
    return Table(f"mnist_tune_{name}", metadata, *columns)


TABLES: Mapping[type, Table] = {
    StudyRow: _table("studies", StudyRow, 1),
    TrialRow: _table("trials", TrialRow, 2),
    RunRow: _table("runs", RunRow, 4),
    EpochRow: _table("epochs", EpochRow, 5),
    ConfirmationRow: _table("confirmations", ConfirmationRow, 2),
    PredictionRow: _table("predictions", PredictionRow, 4),
    ReferenceRow: _table("references", ReferenceRow, 3),
    AnalysisRow: _table("analyses", AnalysisRow, 1),
    PictureRow: _table("pictures", PictureRow, 2),
    TimingRow: _table("timings", TimingRow, 4),
}


def is_ours(connection: Connection, location: Location) -> bool:
    """Tell whether the database holds our tables; False if it is as good as new.

    Raises:
        StorageError: it belongs to another tool, or to another version of mnist_tune.
    """
    tables = frozenset(inspect(connection).get_table_names())
    if VERSIONS.name not in tables:
        _refuse_foreign(connection, tables, location)
        return False
    version = connection.execute(select(func.max(VERSIONS.c.version))).scalar()
    if version not in (None, SCHEMA_VERSION):
        age, advice = (
            ("a newer", "type `pip install -U mnist-tune`, or give")
            if version > SCHEMA_VERSION
            else ("an older", "give")
        )
        raise StorageError(
            f"{location} was written by {age} mnist_tune (schema {version}, this one knows "
            f"{SCHEMA_VERSION}): {advice} another --storage"
        )
    return version is not None


def _refuse_foreign(connection: Connection, tables: frozenset[str], location: Location) -> None:
    if "version_info" in tables and "studies" in tables:
        found = connection.execute(text("SELECT study_name FROM studies ORDER BY study_id"))
        names = list(found.scalars())
        owner = "an Optuna database of another tool (study {!r})"
    else:
        # On a server others may live beside us.
        names = sorted(tables - {"alembic_version"}) if location.is_sqlite else []
        owner = "a database of another program (table {!r})"
    if names:
        raise StorageError(
            f"{location} is {owner.format(names[0])}: "
            "give another --storage, such as --storage storage/mnist_tune.db"
        )

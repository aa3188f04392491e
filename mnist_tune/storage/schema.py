"""Tables of mnist_tune beside Optuna's, made from `records`, and whose tables a database holds.

No foreign key points at Optuna's tables, so that Optuna's own commands keep working.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

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
    json_value,
    python_value,
)

SCHEMA_VERSION = 3

_Row = TypeVar("_Row")

_TYPES = {str: Text, int: Integer, float: Float, bool: Boolean, bytes: LargeBinary}
_ALLOWED: Mapping[type, Any] = {float: (float, int), bool: (bool, int)}
_JSON: Mapping[Any, type] = {Mapping: dict, tuple: list}  # what the text of a column holds

metadata = MetaData()
VERSIONS = Table(
    "mnist_tune_schema",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
)


def _table(name: str, kind: type, keys: int) -> Table:
    """Make the table of a kind of row, whose first columns are the primary key."""
    hints = get_type_hints(kind)
    columns: list[Column[Any]] = []
    for at, field in enumerate(fields(kind)):
        hint = hints[field.name]
        json_type = _JSON.get(get_origin(hint))
        kinds = (str,) if json_type else get_args(hint) or (hint,)
        columns.append(
            Column(
                field.name,
                _TYPES[kinds[0]],
                primary_key=at < keys,
                autoincrement=False,
                nullable=type(None) in kinds,
                unique=(kind, field.name) == (StudyRow, "name") or None,
                info={"json": json_type},
            )
        )
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


def to_columns(row: Any) -> dict[str, Any]:
    """Turn a row into the values of its columns."""
    return {c.name: _stored(getattr(row, c.name), c) for c in TABLES[type(row)].columns}


def from_columns(kind: type[_Row], values: Mapping[Any, Any]) -> _Row:
    """Make the row that `to_columns` took apart.

    Raises:
        ValueError: a column holds what cannot have been stored there.
    """
    return kind(**{c.name: _read(values[c.name], c) for c in TABLES[kind].columns})


def value_text(value: object) -> str:
    """A value of a column as messages show it: on one line, and not too long."""
    text = value if isinstance(value, str) and value.isprintable() else ascii(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _stored(value: Any, column: Column[Any]) -> Any:
    if column.info["json"] is not None:
        return json.dumps(json_value(value), ensure_ascii=False, allow_nan=False)
    value = python_value(value)
    return None if isinstance(value, float) and math.isnan(value) else value


def _read(value: Any, column: Column[Any]) -> Any:
    kind, json_type = column.type.python_type, column.info["json"]
    if not (isinstance(value, _ALLOWED.get(kind, kind)) or (column.nullable and value is None)):
        raise ValueError(f"{column.name} holds {value_text(value)}")
    if json_type is None:
        return value
    try:
        parsed = json.loads(str(value))
    except ValueError as error:
        raise ValueError(f"{column.name} holds {value_text(value)}, which is no JSON") from error
    if not isinstance(parsed, json_type):
        raise ValueError(f"{column.name} holds {value_text(value)}")
    return tuple(parsed) if json_type is list else parsed


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

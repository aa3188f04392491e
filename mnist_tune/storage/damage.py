"""Finds damage in a database: missing tables and columns, values of a wrong type.

All of it is read, which takes seconds where there is much: for `doctor`, and for a command that
stumbled over what it read. A page that cannot be read is SQLite's business, see `health`.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    DateTime,
    Enum,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    inspect,
    text,
)
from sqlalchemy.exc import SQLAlchemyError

from mnist_tune.data import sources
from mnist_tune.definitions.definition import Overrides
from mnist_tune.definitions.fingerprint import fingerprint
from mnist_tune.errors import InputError
from mnist_tune.networks import network_from_json
from mnist_tune.recipes import recipe_from_json
from mnist_tune.storage.location import Location
from mnist_tune.storage.optuna_adapter import check_parameters, optuna_tables
from mnist_tune.storage.overview import reading_ours
from mnist_tune.storage.records import (
    ConfirmationRow,
    RunRow,
    StudyRow,
    TimingRow,
    TrialRow,
)
from mnist_tune.storage.schema import TABLES, from_columns, metadata, value_text

_Row = Mapping[str, Any]
_Content = Mapping[str, list[_Row]]  # table → its rows

_KINDS = {table.name: kind for kind, table in TABLES.items()}
_TRIALS, _RUNS, _STUDIES = (TABLES[kind].name for kind in (TrialRow, RunRow, StudyRow))
# Optuna allows NULL nearly everywhere, and stores it in these columns alone: an infinite value has
# only a type, a trial that waits or runs has no times.
_NULL = {"datetime_start", "datetime_complete", "intermediate_value", "value"}
# One row each says which version of Optuna made its tables.
_VERSIONS = (
    Table("alembic_version", MetaData(), Column("version_num", String(32), nullable=False)),
    Table(
        "version_info",
        MetaData(),
        Column("schema_version", Integer, nullable=False),
        Column("library_version", String(256), nullable=False),
    ),
)


class _NoText(bytes):
    """Bytes that should be text and are no UTF-8."""


def damages(location: Location) -> Iterator[str]:
    """Say what is damaged, each in a few words; nothing is changed.

    Raises:
        StorageError: nothing can be read, or it is not ours.
    """
    with reading_ours(location) as connection:
        if connection is None:
            return
        if location.is_sqlite:
            raw: Any = connection.connection.driver_connection
            raw.text_factory = _text
        expected = tuple(metadata.sorted_tables)
        if inspect(connection).has_table("studies"):  # Optuna's come after ours
            expected += (*optuna_tables(), *_VERSIONS)
        content: dict[str, list[_Row]] = {}
        for table in expected:
            try:
                content[table.name] = _read(connection, table)
            except SQLAlchemyError as error:
                yield f"table {table.name}: {getattr(error, 'orig', None) or error}"
                return  # the rest could only be guessed
    names = _Names(content)
    wrong = [
        f"table {table.name}, {names.place(table, row)}: {found}"
        for table in expected
        for row in content[table.name]
        if (found := _wrong(table, row, typed=location.is_sqlite))
    ]
    yield from wrong or _torn_apart(content)


def _wrong(table: Table, row: _Row, *, typed: bool) -> str | None:
    of_optuna = table.name not in _KINDS
    return (_wrong_type(table, row) if typed and of_optuna else None) or _wrong_meaning(table, row)


def _text(stored: bytes) -> str | _NoText:
    try:
        return stored.decode()
    except UnicodeDecodeError:
        return _NoText(stored)


def _read(connection: Connection, table: Table) -> list[_Row]:
    # Quoted with its table: a missing column is else a text.
    names = ", ".join(f'{table.name}."{column.name}"' for column in table.columns)
    found = connection.execute(text(f"SELECT {names} FROM {table.name}"))
    return [dict(zip(table.columns.keys(), row, strict=True)) for row in found]


class _Names:
    """Which study a row belongs to."""

    def __init__(self, content: _Content) -> None:
        self._names: dict[tuple[str, Any], Any] = {}
        for row in content[_STUDIES]:
            self._names["study_uid", row["uid"]] = row["name"]
        for row in content.get("studies", ()):
            self._names["study_id", row["study_id"]] = row["study_name"]
        for row in content.get("trials", ()):
            self._names["trial_id", row["trial_id"]] = self._names.get(
                ("study_id", row["study_id"])
            )

    def place(self, table: Table, row: _Row) -> str:
        """Such as `study l2_factor, trial_number 3, seed 1`."""
        own = row.get("name", row.get("study_name")) if "studies" in table.name else None
        owner = own or next((n for c in row if (n := self._names.get((c, row[c])))), None)
        keys = [
            f"{column.name} {value_text(row[column.name])}"
            for column in table.primary_key
            if column.name not in ("study_uid", "uid")
        ]
        return ", ".join(([f"study {value_text(owner)}"] if owner else []) + keys)


def _wrong_type(table: Table, row: _Row) -> str | None:
    """A value of Optuna's that SQLite holds and the column does not allow; see `from_columns` for ours."""
    for column in table.columns:
        value = row[column.name]
        if value is None:
            if not column.nullable or column.name not in _NULL:
                return f"{column.name} is missing"
        elif not _fits(column, value):
            return f"{column.name} holds {value_text(value)}"
    return None


def _fits(column: Column[Any], value: Any) -> bool:
    kind = column.type
    if isinstance(kind, Enum):
        return value in kind.enums
    if isinstance(kind, DateTime):
        return isinstance(value, str) and _is(value, datetime.fromisoformat)
    if isinstance(kind, Integer):
        return isinstance(value, int)
    if isinstance(kind, Float):
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, str)


def _is(value: str, read: Callable[[str], object]) -> bool:
    try:
        read(value)
    except ValueError:
        return False
    return True


def _wrong_meaning(table: Table, row: _Row) -> str | None:
    """A value of the right type that cannot be what was stored."""
    try:
        if (kind := _KINDS.get(table.name)) is not None:
            _check_record(from_columns(kind, row))
        if "value_json" in row:
            json.loads(row["value_json"])
        if "distribution_json" in row:
            check_parameters([(row["distribution_json"], row["param_value"])])
    except (ValueError, TypeError, KeyError, InputError) as error:
        return " ".join(str(error).split()) or type(error).__name__
    return None


def _check_record(record: Any) -> None:
    if isinstance(record, StudyRow):
        if fingerprint(record.definition) != record.fingerprint:
            raise ValueError("the definition is not the one whose fingerprint is stored")
        sources.Source.from_json(record.data)
        Overrides.from_json(dict(record.overrides))
    elif isinstance(record, TrialRow):
        if record.network or record.state != "pruned":  # by `suggest`, which made no network
            network_from_json(dict(record.network))
            recipe_from_json(dict(record.recipe))
        unlike = {"complete": record.objective is None, "failed": record.objective is not None}
        if unlike.get(record.state):
            raise ValueError(f"a {record.state} trial with objective {record.objective}")
    elif isinstance(record, TimingRow):
        for time in (record.started_at, record.finished_at):
            datetime.fromisoformat(time)


def _torn_apart(content: _Content) -> Iterator[str]:
    """What lacks its other half."""
    yield from _without_runs(content)
    if "studies" not in content:
        return
    for name in ("alembic_version", "version_info"):
        if len(content[name]) != 1:
            yield f"table {name} holds {len(content[name])} rows instead of one"
    directions = Counter(row["study_id"] for row in content["study_directions"])
    for study in content["studies"]:
        if directions[study["study_id"]] != 1:
            yield f"table study_directions: study {value_text(study['study_name'])} lacks its direction"
    yield from _unlike(content)
    values = {row["trial_id"] for row in content["trial_values"]}
    for trial in content["trials"]:
        for name in _lacking(trial, values):
            yield f"table trials, trial_id {trial['trial_id']}: {name} is missing"


def _without_runs(content: _Content) -> Iterator[str]:
    """Trials and confirmations that were written together with their runs."""
    runs = Counter(
        (row["study_uid"], row["confirmation"], row["trial_number"]) for row in content[_RUNS]
    )
    names = {row["uid"]: (row["name"], row["seeds"]) for row in content[_STUDIES]}
    wanted = [
        ((row["study_uid"], 0, row["trial_number"]), names.get(row["study_uid"], ("", 0))[1])
        for row in content[_TRIALS]
        if row["state"] == "complete"
    ] + [
        ((row["study_uid"], row["confirmation"], row["trial_number"]), row["seeds"].count(",") + 1)
        for row in content[TABLES[ConfirmationRow].name]
        if row["state"] == "complete"
    ]
    for key, count in wanted:
        uid, confirmation, trial_number = key
        if runs[key] < count:
            yield (
                f"table {_RUNS}, study {value_text(names.get(uid, (uid, 0))[0])}, confirmation "
                f"{confirmation}, trial_number {trial_number}: {runs[key]} of {count} runs are there"
            )


def _unlike(content: _Content) -> Iterator[str]:
    """Parameters with a range that they do not have in other trials of the study."""
    studies = {row["trial_id"]: row["study_id"] for row in content["trials"]}
    asked: dict[Any, list[tuple[str, float]]] = defaultdict(list)
    for row in content["trial_params"]:
        value = (row["distribution_json"], row["param_value"])
        asked[studies.get(row["trial_id"]), row["param_name"]].append(value)
    for (_study, name), values in asked.items():
        try:
            check_parameters(values)
        except (ValueError, TypeError, KeyError) as error:
            yield f"table trial_params, param_name {value_text(name)}: {error}"


def _lacking(trial: _Row, values: set[Any]) -> Iterator[str]:
    if trial["state"] != "WAITING" and trial["datetime_start"] is None:
        yield "datetime_start"
    if trial["state"] in ("COMPLETE", "PRUNED", "FAIL") and trial["datetime_complete"] is None:
        yield "datetime_complete"
    if trial["state"] == "COMPLETE" and trial["trial_id"] not in values:
        yield "its value"

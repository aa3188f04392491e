"""SQL on our tables, one statement a function, within a transaction of the caller's."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Table, delete, insert, select, text

from mnist_tune.storage import tables
from mnist_tune.storage.records import ConfirmationRow, Keyed, from_columns, to_columns

Row = TypeVar("Row")
Key = tuple[str, int, int]
"""Study uid, confirmation, trial number."""


def rows(
    connection: Connection, statement: str, values: Mapping[str, object]
) -> list[tuple[Any, ...]]:
    """Return the rows of any SELECT, in which values stand for their names, as in `:name`."""
    return [tuple(row) for row in connection.execute(text(statement), values)]


def find(
    connection: Connection,
    kind: type[Row],
    table: Table,
    where: ColumnElement[bool] | None = None,
    order: Sequence[str] = (),
) -> tuple[Row, ...]:
    """Return the records of a table, by primary key unless `order` names other columns."""
    names = order or [column.name for column in table.primary_key]
    statement = select(table).order_by(*(table.c[name] for name in names))
    if where is not None:
        statement = statement.where(where)
    return tuple(from_columns(kind, row) for row in connection.execute(statement).mappings())


def add(connection: Connection, table: Table, rows: Sequence[Any]) -> None:
    """Insert records; none is fine."""
    if rows:
        connection.execute(insert(table), [to_columns(row) for row in rows])


def delete_trial(connection: Connection, key: Key) -> None:
    """Delete a trial of the search with all that belongs to it."""
    uid, confirmation, trial_number = key
    for table in (tables.runs, tables.epochs, tables.timings):
        connection.execute(delete(table).where(*_of(table, uid, confirmation, trial_number)))
    own = (tables.trials.c.study_uid == uid) & (tables.trials.c.trial_number == trial_number)
    connection.execute(delete(tables.trials).where(own))


def delete_seeds(connection: Connection, key: Key, seeds: Iterable[int]) -> None:
    """Delete some seeds of a confirmation with all that belongs to them."""
    chosen = list(seeds)
    for table in (tables.runs, tables.epochs, tables.predictions, tables.timings):
        seed = table.c["first_seed" if table is tables.timings else "seed"]
        connection.execute(delete(table).where(*_of(table, *key), seed.in_(chosen)))


def delete_all(connection: Connection, study_uid: str) -> None:
    """Delete all rows of a study."""
    for table in tables.metadata.sorted_tables:
        if "study_uid" in table.c:
            connection.execute(delete(table).where(table.c.study_uid == study_uid))
    connection.execute(delete(tables.studies).where(tables.studies.c.uid == study_uid))


def delete_analysis(connection: Connection, name: str) -> None:
    """Delete an analysis with its pictures."""
    for table, column in ((tables.analyses, "name"), (tables.pictures, "analysis")):
        connection.execute(delete(table).where(table.c[column] == name))


def confirmations(connection: Connection, study_uid: str) -> tuple[ConfirmationRow, ...]:
    """Return the confirmations of a study, the first first."""
    table = tables.confirmations
    return find(connection, ConfirmationRow, table, table.c.study_uid == study_uid)


def running_confirmation(
    connection: Connection, study_uid: str, confirmation: int
) -> ConfirmationRow:
    """Return a confirmation that is running; ValueError if it is not."""
    for row in confirmations(connection, study_uid):
        if row.confirmation == confirmation and row.state == "running":
            return row
    raise ValueError(f"confirmation {confirmation} of {study_uid} is not running")


def stored_seeds(connection: Connection, study_uid: str, confirmation: int) -> frozenset[int]:
    """Return the seeds of a confirmation whose runs are stored."""
    runs = tables.runs
    key = (runs.c.study_uid == study_uid) & (runs.c.confirmation == confirmation)
    return frozenset(connection.execute(select(runs.c.seed).where(key)).scalars())


def study_state(connection: Connection, study_uid: str) -> str:
    """Return a digest of what ended in a study, and of what it is compared with: equal, equal results."""
    study, trial, confirmation = tables.studies.c, tables.trials.c, tables.confirmations.c
    asked = (
        select(study.baseline, study.planned_trials).where(study.uid == study_uid),
        select(trial.trial_number, trial.state, trial.reason)
        .where(trial.study_uid == study_uid)
        .order_by(trial.trial_number),
        select(confirmation.confirmation, confirmation.state)
        .where(confirmation.study_uid == study_uid)
        .order_by(confirmation.confirmation),
    )
    rows = [[tuple(row) for row in connection.execute(statement)] for statement in asked]
    return hashlib.sha256(repr(rows).encode()).hexdigest()[:16]


def key_of(row: Keyed) -> Key:
    """Return what a row belongs to."""
    return row.study_uid, row.confirmation, row.trial_number


def require_key(key: Key, rows: Iterable[Keyed]) -> None:
    """Raise ValueError unless all rows belong to the same trial or confirmation."""
    for row in rows:
        if key_of(row) != key:
            raise ValueError(f"{row} does not belong to {key}")


def _of(
    table: Table, study_uid: str, confirmation: int, trial_number: int
) -> tuple[ColumnElement[bool], ...]:
    return (
        table.c.study_uid == study_uid,
        table.c.confirmation == confirmation,
        table.c.trial_number == trial_number,
    )

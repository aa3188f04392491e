"""All rows of one study, read from one database to be written into another."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, insert, select

from mnist_tune.storage import tables
from mnist_tune.storage.optuna_adapter import optuna_tables, with_trial_ids
from mnist_tune.storage.participants import takes_part

Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Content:
    """All rows of a study in one database.

    Attributes:
        ours: name of a table of ours → its rows.
        optuna: name of a table of Optuna's → its rows.
    """

    ours: Mapping[str, Rows]
    optuna: Mapping[str, Rows]


def read_content(connection: Connection, uid: str, name: str) -> Content:
    """Read all rows of a study, and of the analyses that it took part in."""
    analyses = [
        row
        for row in _rows(connection, tables.analyses)
        if takes_part(json.loads(row["inputs"]), uid, name)
    ]
    named = {row["name"] for row in analyses}
    ours = {
        table.name: _rows(connection, table, table.c[column] == uid)
        for table in tables.metadata.sorted_tables
        for column in ("study_uid", "uid")
        if column in table.c
    }
    pictures = [row for row in _rows(connection, tables.pictures) if row["analysis"] in named]
    ours |= {tables.analyses.name: analyses, tables.pictures.name: pictures}
    optuna: dict[str, Rows] = {}
    for table in optuna_tables():
        if "trial_id" in table.c and table.name != "trials":
            trials = [row["trial_id"] for row in optuna["trials"]]
            optuna[table.name] = _of_trials(connection, table, trials)
        elif table.name == "studies":
            optuna[table.name] = _rows(connection, table, table.c.study_name == name)
        else:
            (study,) = optuna["studies"] or [{"study_id": None}]
            optuna[table.name] = _rows(connection, table, table.c.study_id == study["study_id"])
    return Content(ours, optuna)


def _rows(connection: Connection, table: Table, where: ColumnElement[bool] | None = None) -> Rows:
    statement = select(table).order_by(*table.primary_key)
    if where is not None:
        statement = statement.where(where)
    return [dict(row) for row in connection.execute(statement).mappings()]


def _of_trials(connection: Connection, table: Table, trials: list[int]) -> Rows:
    """Rows of trials, a thousand at a time, since a statement has a limit of its own."""
    found: Rows = []
    for start in range(0, len(trials), 1_000):
        found += _rows(connection, table, table.c.trial_id.in_(trials[start : start + 1_000]))
    return sorted(found, key=lambda row: [row[column.name] for column in table.primary_key])


def write_content(connection: Connection, content: Content) -> None:
    """Write a study into a database that has none of its name, which gives ids of its own.

    Analyses that are there already stay as they are: another study may have brought them.
    """
    for table in tables.metadata.sorted_tables:
        rows = content.ours.get(table.name, [])
        if table in (tables.analyses, tables.pictures):
            rows = _new(connection, table, rows)
        if rows:
            connection.execute(insert(table), rows)
    ids: dict[str, dict[int, int]] = {"study_id": {}, "trial_id": {}}
    # Those with ids that others use come first; attributes of a study may name its trials.
    for table in sorted(optuna_tables(), key=lambda table: table.name not in ("studies", "trials")):
        (own,) = (column.name for column in table.primary_key)
        renumbered = [
            {
                column: ids[column].get(value, value) if column in ids else value
                for column, value in row.items()
                if column != own
            }
            for row in content.optuna[table.name]
        ]
        if own in ids:
            for row, changed in zip(content.optuna[table.name], renumbered, strict=True):
                made = connection.execute(insert(table), changed).inserted_primary_key
                assert made is not None
                ids[own][row[own]] = made[0]
        elif renumbered:
            if table.name == "study_system_attributes":
                for row in renumbered:
                    row["key"] = with_trial_ids(row["key"], ids["trial_id"])
            connection.execute(insert(table), renumbered)


def _new(connection: Connection, table: Table, rows: Rows) -> Rows:
    """Those rows of analyses that the target has not."""
    column = "name" if table is tables.analyses else "analysis"
    known = set(connection.execute(select(table.c[column])).scalars())
    return [row for row in rows if row[column] not in known]


def canonical(content: Content) -> dict[str, list[str]]:
    """Table → its rows, the same whatever ids a database has given; without analyses."""
    numbers = {row["trial_id"]: row["number"] for row in content.optuna["trials"]}
    told: dict[str, list[str]] = {
        name: [_line(row) for row in rows]
        for name, rows in content.ours.items()
        if name not in (tables.analyses.name, tables.pictures.name)
    }
    for table in optuna_tables():
        (own,) = (column.name for column in table.primary_key)
        lines = []
        for row in content.optuna[table.name]:
            kept = {c: v for c, v in row.items() if c not in (own, "study_id")}
            if "trial_id" in kept:
                kept["trial_id"] = numbers[kept["trial_id"]]
            if "key" in kept:
                kept["key"] = with_trial_ids(kept["key"], numbers)
            lines.append(_line(kept))
        told[table.name] = lines
    return {name: sorted(lines) for name, lines in told.items()}


def _line(row: Mapping[str, Any]) -> str:
    return repr(sorted(row.items()))

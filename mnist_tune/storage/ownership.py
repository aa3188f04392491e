"""Whose an Optuna study is: ours, or somebody else's in the same database."""

from __future__ import annotations

from typing import Literal

import sqlalchemy

from mnist_tune.storage.database import Database

_OF = {
    "studies": sqlalchemy.text(
        "SELECT s.name FROM studies o LEFT JOIN mnist_tune_studies s ON o.study_name = s.name "
        "WHERE o.study_id = :number"
    ),
    "trials": sqlalchemy.text(
        "SELECT s.name FROM trials t JOIN studies o ON t.study_id = o.study_id "
        "LEFT JOIN mnist_tune_studies s ON o.study_name = s.name WHERE t.trial_id = :number"
    ),
}
_LARGEST = 2**31 - 1  # of Optuna's ids in PostgreSQL


def our_study(database: Database, kind: Literal["studies", "trials"], number: int) -> str | None:
    """Return the name of our study to which an Optuna study or trial belongs.

    Args:
        database: that holds both.
        kind: what the number counts.
        number: Optuna's id.

    Returns:
        None if it is not ours.

    Raises:
        LookupError: it is not there.
    """
    if number > _LARGEST:
        raise LookupError(number)
    with database.reading() as connection:
        row = connection.execute(_OF[kind], {"number": number}).one_or_none()
    if row is None:
        raise LookupError(number)
    name: str | None = row[0]
    return name


def optuna_id(database: Database, name: str) -> int | None:
    """Return Optuna's id of a study; None while it is being made."""
    if "studies" not in database.tables():
        return None
    statement = sqlalchemy.text("SELECT study_id FROM studies WHERE study_name = :name")
    with database.reading() as connection:
        return connection.execute(statement, {"name": name}).scalar()

"""Whose database is this: ours, empty, somebody else's, or that of a newer mnist_tune.

Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from mnist_tune.errors import StorageError
from mnist_tune.storage.location import Location

SCHEMA_VERSION = 2
SCHEMA_TABLE = "mnist_tune_schema"


class Rows(Protocol):
    """Runs a SELECT and returns its rows; values stand for their names, as in `:name`."""

    def __call__(self, statement: str, /, **values: object) -> Sequence[tuple[Any, ...]]:
        """Ask the database."""


def is_ours(tables: frozenset[str], rows: Rows, location: Location) -> bool:
    """Tell whether the database holds our tables; False if it is as good as new.

    Raises:
        StorageError: it belongs to another tool, or to a newer mnist_tune.
    """
    if SCHEMA_TABLE not in tables:
        _refuse_foreign(tables, rows, location)
        return False
    version = stored_version(rows)
    if version is not None and version > SCHEMA_VERSION:
        raise StorageError(
            f"{location} was written by a newer mnist_tune (schema {version}, this one knows "
            f"{SCHEMA_VERSION}): type `pip install -U mnist-tune`, or give another --storage"
        )
    return version is not None


def stored_version(rows: Rows) -> int | None:
    """The schema that a database of ours has; None while its tables are being made."""
    version: int | None = rows(f"SELECT MAX(version) FROM {SCHEMA_TABLE}")[0][0]
    return version


def nothing_stored(location: Location) -> StorageError:
    """The error for a database that is not there yet."""
    return StorageError(
        f"nothing is stored at {location} yet: type `mnist-tune run l2_factor`, "
        "or give the right --storage"
    )


def unknown_study(name: str, known: Iterable[str], location: Location) -> StorageError:
    """The error for a study that is not there; it says which are."""
    return StorageError(
        f"no study {name!r} in {location}, which holds {', '.join(known) or 'no study yet'}: "
        "type `mnist-tune list`"
    )


def _refuse_foreign(tables: frozenset[str], rows: Rows, location: Location) -> None:
    if "version_info" in tables and "studies" in tables:
        names = [name for (name,) in rows("SELECT study_name FROM studies ORDER BY study_id")]
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

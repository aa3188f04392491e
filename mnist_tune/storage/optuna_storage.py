"""Opens Optuna's own storage on our database."""

from __future__ import annotations

from typing import Any

import optuna
from optuna.storages import BaseStorage, RDBStorage, get_storage
from sqlalchemy import text

from mnist_tune.errors import StorageError
from mnist_tune.storage.database import Database, creation_lock, server_options
from mnist_tune.storage.errors import translated


def open_optuna(database: Database) -> RDBStorage:
    """Open Optuna's storage on the same database with the same pragmas, and log warnings only.

    It is closed together with the database.

    Raises:
        StorageError: Optuna's tables cannot be made, or are those of another version of Optuna.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with translated(database.location):
        if _is_complete(database):
            storage = _rdb_storage(database, skip_table_creation=True)
        else:
            with creation_lock(database.location):
                storage = _rdb_storage(database, skip_table_creation=False)
    database.close_with(storage.engine.dispose)
    return storage


def open_cached(database: Database) -> BaseStorage:
    """The same with Optuna's cache before it, which reads a trial no more once it is finished.

    Raises:
        StorageError: as `open_optuna`.
    """
    return get_storage(open_optuna(database))


def _is_complete(database: Database) -> bool:
    """Whether Optuna has made its tables: their version is stored last."""
    if "alembic_version" not in database.tables():
        return False
    with database.reading() as connection:
        return (
            connection.execute(text("SELECT version_num FROM alembic_version")).first() is not None
        )


def _rdb_storage(database: Database, *, skip_table_creation: bool) -> RDBStorage:
    location = database.location
    if location.is_sqlite:
        # A creator, since the very first connections must have the pragmas too. sqlite3 begins
        # transactions before the first write (IMMEDIATE), as Optuna reads before it writes.
        kwargs: dict[str, Any] = {"creator": database.sqlite_connector("IMMEDIATE")}
    else:
        kwargs = server_options(location, read_only=database.read_only)
    # Optuna takes the URL for a template of str.format; rendered, it has no brace: %7B instead.
    url = location.url.render_as_string(hide_password=False)
    try:
        return RDBStorage(url, engine_kwargs=kwargs, skip_table_creation=skip_table_creation)
    except RuntimeError as error:
        if "table schema" not in str(error):
            raise
        raise StorageError(
            f"{location} was written by another version of Optuna: make a copy of it, then type "
            f"`optuna storage upgrade --storage '{location.url}'`"
        ) from error

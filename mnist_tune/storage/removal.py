"""Deleting a study with all that belongs to it; what is interrupted, the same command finishes.

The row of the study goes last but for the lock files, since it holds the uid by which everything
else is found. Files go first: rows without files are a study that can be deleted again, files
without rows would be nobody's.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mnist_tune.errors import StorageError
from mnist_tune.storage import files
from mnist_tune.storage.database import Database, open_database
from mnist_tune.storage.identity import nothing_stored
from mnist_tune.storage.lease import Lease
from mnist_tune.storage.location import Location
from mnist_tune.storage.optuna_adapter import delete_study
from mnist_tune.storage.records import StudyRow
from mnist_tune.storage.store import Store


@dataclass(frozen=True, slots=True)
class Doomed:
    """What a deletion takes away.

    Attributes:
        study: the study.
        trials: how many have ended.
        confirmations: how many were begun.
        files: artifacts and checkpoints.
        analyses: names of those that the study took part in.
    """

    study: StudyRow
    trials: int
    confirmations: int
    files: int
    analyses: tuple[str, ...]


def remove_study(location: Location, name: str, agree: Callable[[Doomed], None]) -> Doomed | None:
    """Delete a study while nobody works on it.

    Args:
        location: of the database.
        name: of the study.
        agree: is told what will be deleted, and raises to prevent it.

    Returns:
        What was deleted; None if an interrupted deletion had left nothing but lock files.

    Raises:
        StorageError: there is no such study, somebody works on it, or the disk fails.
    """
    if location.is_sqlite and not files.exists(location):
        raise nothing_stored(location)
    lease = Lease(location, name)
    left_over = lease.has_files()
    with lease, open_database(location, create=False) as database:
        store = Store(database)
        study = store.find_study(name)
        if study is None:
            lease.discard()
            if left_over:
                return None
            store.study(name)  # raises, and says which studies there are
            raise AssertionError("the study has come into being under our lease")
        doomed = _doomed(store, study, location)
        agree(doomed)
        _carry_out(database, store, study)
        lease.discard()
    return doomed


def _doomed(store: Store, study: StudyRow, location: Location) -> Doomed:
    return Doomed(
        study,
        len(store.trials(study.uid)),
        len(store.confirmations(study.uid)),
        sum(p.is_file() for folder in _folders(location, study) for p in folder.rglob("*")),
        tuple(analysis.name for analysis in store.analyses_of(study)),
    )


def _carry_out(database: Database, store: Store, study: StudyRow) -> None:
    for folder in _folders(database.location, study):
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StorageError(
                f"{folder} cannot be removed ({error.strerror or error}): see to it and type the "
                f"same command again; study {study.name} is still in {database.location}"
            ) from error
    delete_study(database, study.name, study.uid)
    store.delete_study(study)


def _folders(location: Location, study: StudyRow) -> tuple[Path, ...]:
    return location.checkpoints / study.uid, location.artifacts / study.uid

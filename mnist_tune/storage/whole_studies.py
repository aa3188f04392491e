"""Copies, backs up, renames and deletes whole studies with their rows and files.

A copy reads all rows of the study as one state of the source, running or not, and writes them in one
transaction with the ids that the target gives; they are read back and compared before they are
committed. Files are copied after the rows are read and before they are written: an artifact is there
before the rows that speak of it, and is not changed afterwards. A backup is a copy into a file that
gets its name last. The study keeps its uid, by which artifacts are found, so two copies of a study
must not share a folder. Checkpoints are not copied: an unfinished trial restarts in the copy, with
the same result.

What is interrupted, the same command finishes.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, insert, select

from mnist_tune.errors import StorageError
from mnist_tune.files import PARTIAL, partial_of, sync
from mnist_tune.storage import sqlite_files
from mnist_tune.storage.artifacts import KEPT, with_trial_ids
from mnist_tune.storage.database import Database, open_database
from mnist_tune.storage.errors import explain, nothing_stored
from mnist_tune.storage.lease import Lease
from mnist_tune.storage.location import Location
from mnist_tune.storage.optuna_adapter import (
    delete_study,
    open_optuna,
    optuna_tables,
    rename_in_optuna,
)
from mnist_tune.storage.overview import StudyOverview, study_overview
from mnist_tune.storage.records import (
    AnalysisRow,
    ConfirmationRow,
    PictureRow,
    StudyRow,
)
from mnist_tune.storage.schema import TABLES
from mnist_tune.storage.store import Store, add_rows, change_row, delete_rows, read_rows

Content = dict[str, list[tuple[Any, ...]]]
"""Name of a table, ours or Optuna's → the rows of one study, as values of its columns in order."""

_ANALYSES = {AnalysisRow: "name", PictureRow: "analysis"}


@dataclass(frozen=True, slots=True)
class Copied:
    """What was copied.

    Attributes:
        overview: of the study, just before.
        artifacts: how many files.
    """

    overview: StudyOverview
    artifacts: int


@dataclass(frozen=True, slots=True)
class Deletion:
    """What is deleted with a study.

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


def copy_study(source: Location, name: str, target: Location) -> Copied:
    """Copy a study, running or not, between databases of any kind.

    Args:
        source: where it is.
        name: of the study.
        target: where a copy is to be; made if it is not there.

    Raises:
        StorageError: there is no such study, or one of its name is in the target already, or the
            copy cannot be made; nothing of it is left then.
    """
    if source == target:
        raise StorageError(f"{source} is both --from and --to: give another --to")
    overview = study_overview(source, name)
    with open_database(target, create=True) as copy, Lease(target, name):
        if Store(copy).find_study(name):
            raise StorageError(
                f"{target} holds a study {name} already: delete it there by `mnist-tune delete "
                f"{shlex.quote(name)} --storage {shlex.quote(str(target))}`, or give another --to"
            )
        content = _read(source, overview.study)
        with _artifacts(source, target, overview.study) as artifacts:
            _write(copy, content, overview.study)
    return Copied(overview, artifacts)


def back_up(source: Location, name: str, target: Location) -> Copied:
    """Copy one study, running or not, into a new file.

    Args:
        source: where it is.
        name: of the study.
        target: where the copy is to be; nothing of it may be there.

    Raises:
        StorageError: there is no such study, or the copy cannot be made; none is left then.
    """
    if target.path is None:
        raise StorageError(
            f"{target} is a server: a backup is a file; `mnist-tune copy {shlex.quote(name)} --to` "
            "copies to a server"
        )
    overview = study_overview(source, name)
    if os.path.lexists(target.path):
        raise StorageError(f"{target} exists: a backup overwrites nothing, give another FILE")
    if target.folder == source.folder:
        raise StorageError(
            f"{target} would share its artifacts with {source}: give a file in a folder of its own, "
            f"such as backup/{target.path.name}"
        )
    content = _read(source, overview.study)
    try:
        with _only_backup(target, name), _artifacts(source, target, overview.study) as artifacts:
            _write_file(target.path, target, content, overview.study)
    except StorageError as error:
        raise StorageError(str(error).replace("--storage", "FILE")) from error
    return Copied(overview, artifacts)


def remove_study(
    location: Location, name: str, agree: Callable[[Deletion], None]
) -> Deletion | None:
    """Delete a study while nobody works on it.

    Files go first and the row of the study last, since it holds the uid by which everything else is
    found: what is interrupted is a study that can be deleted again.

    Args:
        location: of the database.
        name: of the study.
        agree: is given what will be deleted, and raises to prevent it.

    Returns:
        What was deleted; None if an interrupted deletion had left nothing but lock files.

    Raises:
        StorageError: there is no such study, somebody works on it, or the disk fails.
    """
    if location.is_sqlite and not sqlite_files.exists(location):
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
        folders = (location.checkpoints / study.uid, location.artifacts / study.uid)
        deletion = Deletion(
            study,
            len(store.trials(study.uid)),
            len(store.rows(ConfirmationRow, study_uid=study.uid)),
            sum(p.is_file() for folder in folders for p in folder.rglob("*")),
            tuple(analysis.name for analysis in store.analyses_of(study)),
        )
        agree(deletion)
        for folder in folders:
            _remove(folder, study, location)
        delete_study(database, study.name, study.uid)
        store.delete_study(study)
        lease.discard()
    return deletion


def rename_study(location: Location, old: str, new: str) -> bool:
    """Give a study another name, here and in Optuna's table; all else is found by its uid.

    Returns:
        Whether it has an Optuna half, and with it a note; False if its creation was cut short.

    Raises:
        StorageError: there is no such study, somebody works on it, or the name is taken.
    """
    with open_database(location, create=False) as database:
        store = Store(database)
        store.study(old)  # refuses an unknown one before a lock is made
        taken = StorageError(f"{location} holds a study {new} already: give another NAME")
        if store.find_study(new) is not None:
            raise taken
        with Lease(location, old) as lease, Lease(location, new):
            study, has_optuna = store.study(old), "studies" in database.tables()
            with database.transaction() as connection:
                if has_optuna and not rename_in_optuna(connection, study.uid, new):
                    raise taken
                change_row(connection, study.uid, name=new)
                for analysis in read_rows(connection, AnalysisRow):
                    if analysis.uses(study):
                        delete_rows(connection, AnalysisRow, name=analysis.name)
                        add_rows(connection, [analysis.renamed(old, new)])
            lease.discard()
    return has_optuna


def read_content(connection: Connection, study: StudyRow) -> Content:
    """Read all rows of a study, and of the analyses that it took part in."""
    content: Content = {}
    for kind, table in TABLES.items():
        if kind not in _ANALYSES:
            own = table.c["uid" if kind is StudyRow else "study_uid"] == study.uid
            content[table.name] = _rows(connection, table, own)
    analyses, pictures = TABLES[AnalysisRow], TABLES[PictureRow]
    names = [row.name for row in read_rows(connection, AnalysisRow) if row.uses(study)]
    content[analyses.name] = _rows(connection, analyses, analyses.c.name.in_(names))
    content[pictures.name] = _rows(connection, pictures, pictures.c.analysis.in_(names))
    theirs = {table.name: table for table in optuna_tables()}
    owner, trial = theirs["studies"].c, theirs["trials"].c
    studies = select(owner.study_id).where(owner.study_name == study.name).correlate(None)
    trials = select(trial.trial_id).where(trial.study_id.in_(studies)).correlate(None)
    for name, table in theirs.items():
        is_study = name == "trials" or "trial_id" not in table.c
        where = table.c.study_id.in_(studies) if is_study else table.c.trial_id.in_(trials)
        content[name] = _rows(connection, table, where)
    return content


def canonical(content: Content) -> dict[str, Counter[tuple[Any, ...]]]:
    """Table → its rows, the same whatever ids a database has given; without analyses."""
    rows = {
        table.name: Counter(content[table.name])
        for kind, table in TABLES.items()
        if kind not in _ANALYSES
    }
    trials = next(table for table in optuna_tables() if table.name == "trials")
    numbers = zip(*(_column(content, trials, name) for name in ("trial_id", "number")), strict=True)
    ids = {"trial_id": dict(numbers)}
    for table in optuna_tables():
        (own,) = (column.name for column in table.primary_key)
        found = _renumbered(table, content[table.name], ids, without=(own, "study_id"))
        rows[table.name] = Counter(tuple(row.values()) for row in found)
    return rows


def _read(source: Location, study: StudyRow) -> Content:
    # A read-only connection may overlook a writer who begins in the middle.
    places = [] if source.path is None else [source.path, source.folder]
    read_only = not all(os.access(place, os.W_OK) for place in places)
    with (
        open_database(source, create=False, read_only=read_only) as database,
        database.reading() as connection,
    ):
        return read_content(connection, study)


def _rows(
    connection: Connection, table: Table, where: ColumnElement[bool]
) -> list[tuple[Any, ...]]:
    found = connection.execute(select(table).where(where).order_by(*table.primary_key))
    return [tuple(row) for row in found]


def _column(content: Content, table: Table, name: str) -> list[Any]:
    place = table.columns.keys().index(name)
    return [row[place] for row in content[table.name]]


def _write(copy: Database, content: Content, study: StudyRow) -> None:
    open_optuna(copy)  # makes its tables
    with copy.transaction() as connection:
        write_content(connection, content)
        if canonical(read_content(connection, study)) != canonical(content):
            raise StorageError(
                f"{copy.location} gave back other rows than it was given; nothing was copied: "
                f"type `mnist-tune doctor --storage {shlex.quote(str(copy.location))}`"
            )


def _write_file(path: Path, target: Location, content: Content, study: StudyRow) -> None:
    """Write a database that gets its name when all is in it."""
    part = Location(path=partial_of(path), shown=str(target))
    try:
        sqlite_files.discard(partial_of(path))  # of a backup that was killed
        with open_database(part, create=True) as copy:
            _write(copy, content, study)
        sqlite_files.give_name(partial_of(path), path)
    except FileExistsError as error:
        raise StorageError(f"{target} has come into being meanwhile: give another FILE") from error
    finally:
        sqlite_files.discard(partial_of(path))


def write_content(connection: Connection, content: Content) -> None:
    """Write a study into a database that has none of its name, which gives ids of its own.

    Analyses that are there already stay as they are: another study may have brought them.
    """
    for kind, table in TABLES.items():
        rows = [dict(zip(table.columns.keys(), row, strict=True)) for row in content[table.name]]
        if (name := _ANALYSES.get(kind)) is not None:
            known = set(connection.execute(select(table.c[name])).scalars())
            rows = [row for row in rows if row[name] not in known]
        if rows:
            connection.execute(insert(table), rows)
    ids: dict[str, dict[int, int]] = {"study_id": {}, "trial_id": {}}
    # Those with ids that others use come first; attributes of a study may name its trials.
    for table in sorted(optuna_tables(), key=lambda table: table.name not in ("studies", "trials")):
        (own,) = (column.name for column in table.primary_key)
        rows = list(_renumbered(table, content[table.name], ids, without=(own,)))
        if own in ids:
            for old, row in zip(_column(content, table, own), rows, strict=True):
                made = connection.execute(insert(table), row).inserted_primary_key
                assert made is not None
                ids[own][old] = made[0]
        elif rows:
            connection.execute(insert(table), rows)


def _renumbered(
    table: Table,
    rows: Iterable[tuple[Any, ...]],
    ids: Mapping[str, Mapping[int, int]],
    *,
    without: tuple[str, ...],
) -> Iterator[dict[str, Any]]:
    """Rows of Optuna's with other ids, also of the trials that an attribute of a study names."""
    names = table.columns.keys()
    named = "study_id" in names and "key" in names
    renumbered = [name for name in names if name in ids and name not in without]
    for values in rows:
        row = dict(zip(names, values, strict=True))
        for name in without:
            row.pop(name, None)
        for name in renumbered:
            row[name] = ids[name].get(row[name], row[name])
        if named:
            row["key"] = with_trial_ids(row["key"], ids["trial_id"])
        yield row


@contextmanager
def _only_backup(target: Location, name: str) -> Iterator[None]:
    """Refuse two backups at once into one file, which would write the same unfinished one."""
    made = not target.locks.exists()
    lease = Lease(target, name)
    sqlite_files.make_folder(target)
    lease.acquire()
    try:
        yield
    finally:
        lease.discard()
        if made:
            with suppress(OSError):  # there are other locks
                (target.locks / "creation.lock").unlink(missing_ok=True)
                target.locks.rmdir()


@contextmanager
def _artifacts(source: Location, target: Location, study: StudyRow) -> Iterator[int]:
    """Copy the artifacts, and remove the copy if what follows fails.

    Yields:
        How many files there are.
    """
    original, copy = source.artifacts / study.uid, target.artifacts / study.uid
    mark = partial_of(copy)  # is there until all is copied
    if copy.exists() and not mark.exists():
        raise StorageError(
            f"{target.folder} holds another copy of {study.name}, with artifacts in {copy}: give a "
            "file in a folder of its own"
        )
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
        shutil.rmtree(copy, ignore_errors=True)  # of a copy that was killed
        if original.is_dir():
            # What the dashboard keeps it draws again, and it may go while the rest is copied.
            shutil.copytree(original, copy, ignore=shutil.ignore_patterns(f"*{PARTIAL}", KEPT))
        files = [path for path in copy.rglob("*") if path.is_file()]
        for path in (*files, *copy.rglob("*/"), copy.parent):
            sync(path)
        yield len(files)
    except BaseException as error:
        shutil.rmtree(copy, ignore_errors=True)
        _unmark(copy, mark)
        if isinstance(error, OSError):
            raise explain(error, target) from error
        raise
    _unmark(copy, mark)


def _unmark(copy: Path, mark: Path) -> None:
    mark.unlink(missing_ok=True)
    with suppress(OSError):  # there are artifacts
        copy.parent.rmdir()


def _remove(folder: Path, study: StudyRow, location: Location) -> None:
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be removed ({error.strerror or error}): see to it and type the "
            f"same command again; study {study.name} is still in {location}"
        ) from error

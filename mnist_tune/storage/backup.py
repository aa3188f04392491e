"""A backup: one study as a database of its own, with its artifacts in the folder beside it.

The backup is an ordinary storage, for every command. The study keeps its uid, by which artifacts
and checkpoints are found, so two copies of a study must not share a folder. Checkpoints are not
taken along: a trial that is unfinished in the backup starts anew there, with the same result.

The database gets its name last, when all else is there. A backup that was killed has left
`FILE.partial`, and the same command makes it anew. Standard library only, but for the lease.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mnist_tune.errors import StorageError
from mnist_tune.files import PARTIAL, sync
from mnist_tune.storage import files
from mnist_tune.storage.copies import copy_database
from mnist_tune.storage.faults import explain
from mnist_tune.storage.lease import Lease
from mnist_tune.storage.location import Location
from mnist_tune.storage.overview import StudyOverview, study_overview
from mnist_tune.storage.participants import takes_part
from mnist_tune.storage.shown import KEPT


@dataclass(frozen=True, slots=True)
class Backup:
    """What was copied.

    Attributes:
        study: as it was just before.
        artifacts: how many files.
    """

    study: StudyOverview
    artifacts: int


@dataclass(frozen=True, slots=True)
class _Work:
    """One backup under way.

    Attributes:
        study: what is copied.
        source: the database.
        artifacts: of the study.
        file: the new database.
        kept: folder for its artifacts.
    """

    study: StudyOverview
    source: Path
    artifacts: Path
    file: Path
    kept: Path

    @property
    def mark(self) -> Path:
        """Says that the artifacts belong to this very backup, which is not finished."""
        return self.kept / (self.file.name + PARTIAL)


def back_up(location: Location, name: str, target: Location) -> Backup:
    """Copy one study into a new database, also while it runs.

    Args:
        location: where it is.
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
    if location.path is None:
        return _of_server(location, name, target)
    study = study_overview(location, name)
    work = _Work(
        study,
        location.path,
        location.artifacts / study.uid,
        target.path,
        target.artifacts / study.uid,
    )
    _refuse_taken(work, location, target)
    lease = Lease(target, name)  # two backups at once would write the same unfinished file
    try:
        files.make_folder(target)
        lease.acquire()
    except StorageError as error:
        raise _about_copy(error) from error
    try:
        with _explained(location, target):
            return Backup(study, _carry_out(work))
    finally:
        lease.discard()
        with suppress(OSError):  # there are other locks
            target.locks.rmdir()


def _of_server(location: Location, name: str, target: Location) -> Backup:
    """Bring a study from a server into a new file."""
    from mnist_tune.storage.transfer import transfer

    assert target.path is not None
    if os.path.lexists(target.path):
        raise StorageError(f"{target} exists: a backup overwrites nothing, give another FILE")
    study = study_overview(location, name)
    return Backup(study, transfer(location, name, target).artifacts)


def _refuse_taken(work: _Work, location: Location, target: Location) -> None:
    if os.path.lexists(work.file):
        raise StorageError(f"{target} exists: a backup overwrites nothing, give another FILE")
    advice = f"give a file in a folder of its own, such as backup/{work.file.name}"
    if target.folder == location.folder:
        raise StorageError(f"{target} would share its artifacts with {location}: {advice}")
    taken = work.kept.exists() and any(work.kept.iterdir())
    if taken and not work.mark.exists():
        raise StorageError(f"{target.folder} holds another copy of {work.study.name}: {advice}")


def _carry_out(work: _Work) -> int:
    """Copy artifacts and database; return how many artifacts there are.

    The snapshot comes first. An artifact is there before the rows that speak of it, and is not
    changed afterwards, so that none is missing from what is copied next.
    """
    copied = 0

    def finish(copy: sqlite3.Connection) -> None:
        nonlocal copied
        _keep_only(copy, work.study)
        copied = _copy_artifacts(work)

    try:
        copy_database(work.source, work.file, finish)
    except BaseException:
        if work.mark.exists():
            shutil.rmtree(work.kept, ignore_errors=True)
        raise
    work.mark.unlink(missing_ok=True)
    return copied


@contextmanager
def _explained(location: Location, target: Location) -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise StorageError(f"{target} has come into being meanwhile: give another FILE") from error
    except sqlite3.Error as error:
        if "full" in str(error) or "I/O" in str(error):
            raise _about_copy(explain(error, target)) from error
        raise explain(error, location) from error
    except OSError as error:
        raise _about_copy(explain(error, target)) from error


def _about_copy(error: StorageError) -> StorageError:
    """Say FILE where an error says --storage."""
    return StorageError(str(error).replace("--storage", "FILE"))


def _keep_only(copy: sqlite3.Connection, study: StudyOverview) -> None:
    """Delete all other studies from a copy, and the analyses that they alone took part in."""
    copy.execute("BEGIN")
    optuna = "(SELECT study_id FROM studies WHERE study_name = :name)"
    trials = f"(SELECT trial_id FROM trials WHERE study_id IN {optuna})"
    kept = {"study_uid": "(:uid)", "trial_id": trials, "study_id": optuna}
    values = {"uid": study.uid, "name": study.name}
    tables = _columns(copy)
    for column, own in kept.items():  # trials last but one, studies last
        for table in sorted(tables, key=lambda table: table in ("trials", "studies")):
            if column in tables[table] and (column, table) != ("trial_id", "trials"):
                copy.execute(f"DELETE FROM {table} WHERE {column} NOT IN {own}", values)
    copy.execute("DELETE FROM mnist_tune_studies WHERE uid != :uid", values)
    if "mnist_tune_analyses" in tables:  # which schema 1 has not
        for name, inputs in copy.execute("SELECT name, inputs FROM mnist_tune_analyses").fetchall():
            if not takes_part(json.loads(inputs), study.uid, study.name):
                copy.execute("DELETE FROM mnist_tune_pictures WHERE analysis = ?", (name,))
                copy.execute("DELETE FROM mnist_tune_analyses WHERE name = ?", (name,))
    copy.execute("COMMIT")


def _columns(copy: sqlite3.Connection) -> dict[str, frozenset[str]]:
    """Table name → names of its columns."""
    statement = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    names = [name for (name,) in copy.execute(statement)]
    return {
        name: frozenset(row[1] for row in copy.execute(f"PRAGMA table_info({name})"))
        for name in names
    }


def _copy_artifacts(work: _Work) -> int:
    """Copy the finished files of a folder; return how many."""
    found = [
        path
        for path in sorted(work.artifacts.rglob("*"))
        # What the dashboard keeps it draws again, and it may go while the rest is copied.
        if path.is_file() and path.suffix != PARTIAL and path.parent.name != KEPT
    ]
    if not found:
        return 0
    work.kept.mkdir(parents=True, exist_ok=True)
    work.mark.touch()
    for file in found:
        copy = work.kept / file.relative_to(work.artifacts)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
        sync(copy)
    for folder in (work.kept.parent, work.kept, *work.kept.rglob("*/")):
        sync(folder)
    return len(found)

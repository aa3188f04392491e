"""Checks of a storage for faults, and the safe repairs of `doctor --repair`.

Safe is what loses no result: indexes are rebuilt from the rows that they point to, after a copy
of the file; checkpoints are removed whose trial's result is committed. The rest is only reported: damaged
pages, and folders of studies that are not here, which another database beside this one may need.

What SQLite cannot know, such as text where a number should stand, is for `damage` to find. A server
looks after its own pages; of it only that is examined.
"""

from __future__ import annotations

import re
import sqlite3
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from mnist_tune.errors import StorageError
from mnist_tune.storage import sqlite_files
from mnist_tune.storage.errors import explain
from mnist_tune.storage.lease import Lease, holder
from mnist_tune.storage.location import Location
from mnist_tune.storage.overview import reading_ours
from mnist_tune.storage.records import ConfirmationRow, StudyRow, TrialRow
from mnist_tune.storage.store import read_rows

_MOST_LINES = 20  # of what is damaged; one is enough to know
_RESTORE = "restore it from a backup, or give another --storage"
# What `PRAGMA integrity_check` says of an index that does not fit its table.
_INDEX = re.compile(r"(row \d+ missing from|wrong # of entries in|non-unique entry in) index")
_CHECKPOINT = re.compile(r"(confirmation-(\d+)-)?trial-(\d+)-seed-\d+\.ckpt(\.partial)?")


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is not as it should be.

    Attributes:
        what: in a few words.
        to_do: what to do about it.
        repairable: whether `repair` repairs it.
    """

    what: str
    to_do: str
    repairable: bool = False


@dataclass(frozen=True, slots=True)
class _Study:
    """A study's name, and what of it is finished: (confirmation, trial); search is 0."""

    name: str
    finished: frozenset[tuple[int, int]]


def faults(location: Location) -> tuple[Fault, ...]:
    """Look for faults; nothing is changed."""
    if location.is_sqlite and not sqlite_files.exists(location):
        return ()
    damaged = tuple(_damaged(location))
    if damaged or not location.is_sqlite:
        return damaged
    return tuple(_leftovers(location, _studies(location)))


def blame(error: Exception, location: Location) -> None:
    """Raise StorageError from an error that nobody foresaw if the database is damaged.

    If it is sound, the error is a fault of this program.
    """
    if location.is_sqlite and not sqlite_files.exists(location):
        return
    for fault in _damaged(location):
        raise StorageError(f"{location}: {fault.what}: {fault.to_do}") from error


def repair(location: Location) -> tuple[str, ...]:
    """Do what is safe; return what was done, a line each. StorageError if somebody works on a study."""
    if not location.is_sqlite or not sqlite_files.exists(location):
        return ()
    try:
        damages = tuple(_damages(location))
        studies = _studies(location)
        for study in studies.values():
            if (who := holder(location, study.name)) is not None:
                raise StorageError(
                    f"{study.name} in {location} is being worked on by {who}: wait for it, or stop it, "
                    "and type `mnist-tune doctor --repair` again"
                )
        done = [_reindexed(location)] if damages and all(d.repairable for d in damages) else []
        return (*done, *_removed(location, studies))
    except (sqlite3.Error, OSError) as error:
        raise explain(error, location) from error


def stale_checkpoints(folder: Path, finished: Collection[tuple[int, int]]) -> list[Path]:
    """Return checkpoints of a study from which nothing is ever resumed, since their trial has ended.

    `finished` are the (confirmation, trial) that have ended; the search is confirmation 0.
    """
    return [
        path
        for path in _entries(folder)
        if (named := _CHECKPOINT.fullmatch(path.name)) is not None
        and (int(named[2] or 0), int(named[3])) in finished
    ]


def _damaged(location: Location) -> Iterator[Fault]:
    """What is damaged in the pages, or else in the values."""
    from mnist_tune.storage.damage import damages  # brings SQLAlchemy and Optuna

    try:
        if location.is_sqlite:
            found = tuple(_damages(location))
            yield from found
            if found:
                return
        for what in islice(damages(location), _MOST_LINES):
            yield Fault(f"the database is damaged ({what})", _RESTORE)
    except (sqlite3.Error, UnicodeError) as error:
        yield Fault(f"the database is damaged ({' '.join(str(error).split())})", _RESTORE)


def _damages(location: Location) -> Iterator[Fault]:
    """What SQLite finds in its own pages."""
    with closing(sqlite_files.connect_read_only(sqlite_files.path_of(location))) as connection:
        found = [row[0] for row in connection.execute(f"PRAGMA integrity_check({_MOST_LINES})")]
    wrong = [line for line in found if line != "ok"]
    if not wrong:
        return
    first = " ".join(wrong[0].split())
    if all(_INDEX.match(line) for line in wrong):
        yield Fault(
            f"an index does not fit its table ({first})", "`mnist-tune doctor --repair`", True
        )
    else:
        yield Fault(f"the database is damaged ({first})", _RESTORE)


def _studies(location: Location) -> dict[str, _Study]:
    """Uid → study."""
    with reading_ours(location) as connection:
        if connection is None:
            return {}
        # A failed trial may be tried again (`--retry-failed`), and resumes from its checkpoints.
        ended: dict[str, set[tuple[int, int]]] = defaultdict(set)
        for trial in read_rows(connection, TrialRow):
            if trial.state != "failed":
                ended[trial.study_uid].add((0, trial.trial_number))
        for row in read_rows(connection, ConfirmationRow, state="complete"):
            ended[row.study_uid].add((row.confirmation, row.trial_number))
        studies = read_rows(connection, StudyRow)
    return {study.uid: _Study(study.name, frozenset(ended[study.uid])) for study in studies}


def _leftovers(location: Location, studies: dict[str, _Study]) -> Iterator[Fault]:
    for folder in _ownerless(location, studies):
        yield Fault(
            f"{folder} belongs to no study of this database",
            "delete it, unless another database in the same folder needs it",
        )
    stale = _stale(location, studies)
    if stale:
        what = f"{len(stale)} checkpoints of finished trials, such as {stale[0]}"
        yield Fault(what, "`mnist-tune doctor --repair`", True)


def _removed(location: Location, studies: dict[str, _Study]) -> Iterator[str]:
    for uid, study in studies.items():
        with Lease(location, study.name):  # nobody begins meanwhile
            for path in _stale(location, {uid: study}):
                path.unlink(missing_ok=True)
                yield f"removed {path}, whose trial has ended"


def _ownerless(location: Location, studies: dict[str, _Study]) -> list[Path]:
    """Folders in ours that are named as a study's, and whose study is gone."""
    return [
        folder
        for parent in (location.checkpoints, location.artifacts)
        for folder in _entries(parent)
        if folder.is_dir() and re.fullmatch(r"[0-9a-f]{32}", folder.name)
        if folder.name not in studies
    ]


def _stale(location: Location, studies: dict[str, _Study]) -> list[Path]:
    return [
        path
        for uid, study in studies.items()
        for path in stale_checkpoints(location.checkpoints / uid, study.finished)
    ]


def _entries(folder: Path) -> Sequence[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else ()


def _reindexed(location: Location) -> str:
    """Rebuild all indexes; the file as it was stays beside it."""
    path = sqlite_files.path_of(location)
    with closing(sqlite_files.connect(path)) as connection:
        copy = sqlite_files.copy_database(connection, path.with_name(f"{path.name}.before-repair"))
        connection.execute("REINDEX")
    return f"rebuilt the indexes of {path}; as it was, it is in {copy}"

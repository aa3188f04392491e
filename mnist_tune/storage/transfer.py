"""Copying a study from one database to another, of whatever kinds: file to server, and back.

All rows of the study are read as one state of the source, written in one transaction with the ids
that the target gives, read back and compared before they are committed. Files are copied before
that, so that no row speaks of a file that is not there. The study keeps its uid. Checkpoints are
not taken along: a trial that is unfinished starts anew in the copy, with the same result.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mnist_tune.errors import StorageError
from mnist_tune.files import PARTIAL, sync
from mnist_tune.storage.content import canonical, read_content, write_content
from mnist_tune.storage.database import open_database
from mnist_tune.storage.faults import explain
from mnist_tune.storage.lease import Lease
from mnist_tune.storage.location import Location
from mnist_tune.storage.optuna_adapter import open_optuna
from mnist_tune.storage.overview import studies_overview, study_overview
from mnist_tune.storage.shown import KEPT


@dataclass(frozen=True, slots=True)
class Transferred:
    """What was copied.

    Attributes:
        name: of the study.
        trials: how many have ended.
        unfinished: how many have not, and start anew in the copy.
        artifacts: how many files.
    """

    name: str
    trials: int
    unfinished: int
    artifacts: int


def transfer(source: Location, name: str, target: Location) -> Transferred:
    """Copy a study, running or not.

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
    study = study_overview(source, name)
    with (
        open_database(source, create=False, read_only=True) as original,
        open_database(target, create=True) as copy,
        Lease(target, name),
    ):
        open_optuna(copy)  # makes its tables
        if name in (taken := {other.name for other in studies_overview(target)}):
            raise StorageError(
                f"{target} holds a study {name} already: `mnist-tune delete {shlex.quote(name)}` there, "
                "or give another --to"
            )
        assert study.uid not in taken
        with original.reading() as connection:
            content = read_content(connection, study.uid, name)
        with _files(source, target, study.uid) as artifacts, copy.transaction() as connection:
            write_content(connection, content)
            if canonical(read_content(connection, study.uid, name)) != canonical(content):
                raise StorageError(
                    f"{target} gave back other rows than it was given; nothing was copied: "
                    "type `mnist-tune doctor --storage` with it"
                )
    finished = study.counts.finished
    return Transferred(name, finished, study.counts.total - finished, artifacts)


@contextmanager
def _files(source: Location, target: Location, uid: str) -> Iterator[int]:
    """Copy the artifacts, and remove the copy if what follows fails.

    Yields:
        How many files there are.
    """
    original, copy = source.artifacts / uid, target.artifacts / uid
    mark = copy.with_name(copy.name + PARTIAL)
    if copy.exists() and not mark.exists():
        raise StorageError(
            f"{target.folder} holds another copy of this study's artifacts ({copy}): give a --to in "
            "a folder of its own"
        )
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
        shutil.rmtree(copy, ignore_errors=True)  # of a copy that was killed
        if original.is_dir():
            shutil.copytree(original, copy, ignore=shutil.ignore_patterns("*.partial", KEPT))
        files = [path for path in copy.rglob("*") if path.is_file()]
        for path in (*files, *copy.parent.glob("*/")):
            sync(path)
        yield len(files)
    except BaseException as error:
        shutil.rmtree(copy, ignore_errors=True)
        mark.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise explain(error, target) from error
        raise
    mark.unlink(missing_ok=True)

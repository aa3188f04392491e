"""Consistent copies of an SQLite database, also while somebody writes to it.

SQLite's backup API reads one state of the database and holds up no writer. A copy is made under
another name, flushed and renamed: under its own name it is there whole or not at all. Nothing is
ever overwritten. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from mnist_tune.files import partial_of, sync
from mnist_tune.storage import files

Edit = Callable[[sqlite3.Connection], object]
"""Changes a copy before anybody sees it."""


def copy_database(source: Path, target: Path, edit: Edit | None = None) -> None:
    """Copy a database to a name that is free.

    Args:
        source: the database.
        target: the copy; its folder must be there.
        edit: what is changed in the copy.

    Raises:
        FileExistsError: something has that name.
        OSError, sqlite3.Error: the disk is full, the source is damaged, and so on. No copy is there.
    """
    with closing(_source(source)) as original:
        copy_connection(original, target, edit)


def copy_connection(source: sqlite3.Connection, target: Path, edit: Edit | None = None) -> None:
    """Copy what a connection sees, as `copy_database` does, also if its file has no name any more."""
    part = partial_of(target)
    discard(part)
    try:
        _snapshot(source, part, edit)
        publish(part, target)
    except BaseException:
        discard(part)
        raise


def discard(part: Path) -> None:
    """Remove an unfinished copy, if there is one, with what SQLite had beside it."""
    for suffix in ("-wal", "-shm", "-journal", ""):
        with contextlib.suppress(FileNotFoundError):
            part.with_name(part.name + suffix).unlink()


def publish(part: Path, target: Path) -> None:
    """Give a finished file its name, which must be free, and let that survive a power cut.

    Raises:
        FileExistsError: something has that name.
    """
    sync(part)
    try:
        os.link(part, target)  # unlike a rename, it fails where something has come into being
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(target):
            raise FileExistsError(17, "exists", str(target)) from None
        part.rename(target)
    else:
        part.unlink()
    sync(target.parent)


def free_name(wanted: Path) -> Path:
    """The wanted name, or with `-2`, `-3`, … behind it where files have it already."""
    number, name = 1, wanted
    while os.path.lexists(name):
        number += 1
        name = wanted.with_name(f"{wanted.name}-{number}")
    return name


def _snapshot(source: sqlite3.Connection, part: Path, edit: Edit | None) -> None:
    with closing(sqlite3.connect(part)) as copy:
        source.backup(copy)  # in one step: one state, however long it takes
        copy.isolation_level = None
        copy.execute("PRAGMA synchronous=FULL")
        copy.execute("PRAGMA journal_mode=DELETE").fetchone()  # all that follows is in one file
        if edit is not None:
            edit(copy)
            copy.execute("VACUUM")
        files.turn_on_wal(copy)


def _source(path: Path) -> sqlite3.Connection:
    """Connect so that a writer who begins in the middle is noticed, where the disk allows it."""
    if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK):
        return files.connect(path)
    return files.connect_read_only(path)

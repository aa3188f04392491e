"""A coordinator works for hours in a file that people can delete, move or damage meanwhile.

SQLite would go on in a file that has no name any more, and everything would end with the last
connection. The guard keeps a connection, looks whether the names still mean the files that it has
open, and writes all of them to a new file if not. Standard library only.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from mnist_tune.errors import StorageError
from mnist_tune.storage import files
from mnist_tune.storage.copies import copy_connection, free_name
from mnist_tune.storage.faults import explain
from mnist_tune.storage.location import Location

_Identity = tuple[int, int] | None


class Guard:
    """Keeps an eye on the files of a database that is in use; a server needs none.

    Args:
        location: of a database that is there.

    Raises:
        StorageError: the file is damaged.
    """

    def __init__(self, location: Location) -> None:
        self._location = location
        self._identities: dict[Path, _Identity] = {}
        self._connection: sqlite3.Connection | None = None
        if location.path is None:
            return
        try:
            self._connection = files.connect(location.path)
            (found,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise sqlite3.DatabaseError("database disk image is malformed")
        except sqlite3.Error as error:
            self.close()
            raise explain(error, location) from error
        watched = (location.path, files.log_of(location.path))
        self._identities = {path: _identity(path) for path in watched}

    def check(self) -> None:
        """Look whether the database is still where it was.

        Raises:
            StorageError: it was deleted, moved or replaced; the message says where all of it is now.
        """
        if self._connection is None or all(
            _identity(path) == known for path, known in self._identities.items()
        ):
            return
        rescued = self._rescue(self._connection)
        self.close()
        raise StorageError(
            f"{self._location} was deleted, moved or replaced under way; all that was stored is in "
            f"{rescued}: give it the old name, without a -wal beside it, and type the same command again"
        )

    def close(self) -> None:
        """Let the files go."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _rescue(self, connection: sqlite3.Connection) -> Path:
        assert self._location.path is not None
        path = self._location.path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            rescued = free_name(path.with_name(f"{path.name}.rescued"))
            copy_connection(connection, rescued)
        except (OSError, sqlite3.Error) as error:
            raise explain(error, self._location) from error
        return rescued


def _identity(path: Path) -> _Identity:
    """Which file has this name, if one has."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino

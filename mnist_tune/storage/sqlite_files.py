"""SQLite files: is there one, is it whole, how to connect to it, how to copy it.

The pragmas are set here and nowhere else:

- WAL: readers (dashboard, `list`) never block the writer, nor the writer them.
- synchronous=FULL: each commit waits for the disk, so that a power cut takes back nothing that was
  announced as stored. It costs 3 ms a trial on an SSD, and a trial takes seconds.
- foreign_keys: Optuna's tables have foreign keys; SQLite ignores them unless asked.

A copy is made under another name, flushed and renamed: under its own name it is there whole or not
at all. Nothing is ever overwritten.
"""

from __future__ import annotations

import errno
import os
import shlex
import sqlite3
import stat
from contextlib import closing, suppress
from pathlib import Path
from typing import Literal

from mnist_tune.errors import StorageError
from mnist_tune.files import partial_of, sync
from mnist_tune.storage.errors import damaged, explain, not_a_database
from mnist_tune.storage.location import DEFAULT, Location

BUSY_SECONDS = 30.0

_MAGIC = b"SQLite format 3\x00"


def exists(location: Location) -> bool:
    """Tell whether the file holds anything; a missing or empty one does not.

    Raises:
        StorageError: what is there cannot be a whole SQLite database.
    """
    path = path_of(location)
    try:
        _refuse_special(path, location)
        header = _header(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise StorageError(
            f"{location} cannot be read ({error.strerror}): give another --storage"
        ) from error
    if header and not header.startswith(_MAGIC[: len(header)]):
        raise not_a_database(location)
    if _is_truncated(path, header):
        raise damaged(location)
    return bool(header)


def refuse_read_only(location: Location) -> None:
    """Raise StorageError unless the file and its folder can be written."""
    path = path_of(location)
    for place, what in ((path, "file"), (path.parent, "folder")):
        if place.exists() and not os.access(place, os.W_OK):
            raise StorageError(
                f"{location} cannot be written: its {what} is read-only; "
                "make it writable, or give another --storage"
            )


def require_folder(location: Location) -> None:
    """Refuse a folder that is not there, which may be a slip; the default one is made when needed."""
    folder = location.folder
    if location.is_sqlite and folder != Path(DEFAULT).parent.resolve() and not folder.exists():
        raise StorageError(
            f"{location}: there is no folder {folder}; type `mkdir -p {shlex.quote(str(folder))}`, "
            "or give another --storage"
        )


def make_folder(location: Location) -> None:
    """Make the folders of the database; StorageError if something is in the way."""
    try:
        location.folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise StorageError(
            f"{location}: {location.folder} is not a folder; give another --storage"
        ) from error
    except OSError as error:
        raise StorageError(
            f"{location}: the folder {location.folder} cannot be made ({error.strerror}); "
            "give another --storage"
        ) from error


def connect(
    path: Path,
    *,
    busy_seconds: float = BUSY_SECONDS,
    transactions: Literal["IMMEDIATE"] | None = None,
) -> sqlite3.Connection:
    """Connect for writing to a file that exists.

    Args:
        path: of the database.
        busy_seconds: how long to wait for another writer.
        transactions: IMMEDIATE lets sqlite3 begin them before a write; None leaves that to SQL.
    """
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode=rw",  # never makes an empty file where a database has vanished
        uri=True,
        timeout=busy_seconds,
        isolation_level=transactions,
        check_same_thread=False,  # pools hand connections from thread to thread, one at a time
    )
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    return connection


def connect_read_only(path: Path, *, following: bool = False) -> sqlite3.Connection:
    """Connect for reading, also on a read-only disk; makes no file and waits for no lock.

    A WAL database that nobody has open lies still: it is read as immutable, since a plain
    read-only connection would leave two files beside it, or fail where it cannot make them.

    Args:
        path: of the database.
        following: see what others will write, too, and leave a log beside the file if possible.
    """
    still = not following and _is_wal(path) and not _has_log(path)
    option = "immutable=1" if still else "mode=ro"
    connection = sqlite3.connect(
        f"{path.as_uri()}?{option}", uri=True, timeout=BUSY_SECONDS, check_same_thread=False
    )
    if following:
        try:
            connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
        except sqlite3.OperationalError:  # cannot make the log: nobody writes on a read-only disk
            connection.close()
            return connect_read_only(path)
    connection.execute("PRAGMA query_only=ON")
    return connection


def log_of(path: Path) -> Path:
    """The write-ahead log beside a database; it is there while somebody has that open."""
    return path.with_name(f"{path.name}-wal")


def turn_on_wal(connection: sqlite3.Connection) -> None:
    """Turn on the write-ahead log, for good; a file system without it keeps its old journal."""
    connection.execute("PRAGMA journal_mode=WAL").fetchone()


def copy_database(source: sqlite3.Connection, wanted: Path) -> Path:
    """Copy what a connection sees, also if its file has no name any more or somebody writes to it.

    SQLite's backup API reads one state of the database and holds up no writer.

    Args:
        source: a connection to the database.
        wanted: name of the copy, or with `-2`, `-3`, … behind it where files have it already.

    Returns:
        The name of the copy.

    Raises:
        OSError, sqlite3.Error: the disk is full, the source is damaged, and so on. No copy is there.
    """
    number, target = 1, wanted
    while os.path.lexists(target):
        number += 1
        target = wanted.with_name(f"{wanted.name}-{number}")
    part = partial_of(target)
    discard(part)
    try:
        with closing(sqlite3.connect(part)) as copy:
            source.backup(copy)  # in one step: one state, however long it takes
            copy.execute("PRAGMA synchronous=FULL")
            copy.execute("PRAGMA journal_mode=DELETE").fetchone()  # all is in one file
            turn_on_wal(copy)
        give_name(part, target)
    except BaseException:
        discard(part)
        raise
    return target


def discard(part: Path) -> None:
    """Remove an unfinished database, if there is one, with what SQLite had beside it."""
    for suffix in ("-wal", "-shm", "-journal", ""):
        with suppress(FileNotFoundError):
            part.with_name(part.name + suffix).unlink()


def give_name(part: Path, target: Path) -> None:
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
            raise FileExistsError(errno.EEXIST, "exists", str(target)) from None
        part.rename(target)
    else:
        part.unlink()
    sync(target.parent)


class FileGuard:
    """Notices that the files of a database in use were deleted, moved or replaced, and rescues it.

    SQLite would go on in a file that has no name any more, and everything would end with the last
    connection. The guard keeps a connection, looks whether the names still mean the files that it
    has open, and writes all of them to a new file if not. A server needs none.

    Args:
        location: of a database that is there.

    Raises:
        StorageError: the file is damaged.
    """

    def __init__(self, location: Location) -> None:
        self._location = location
        self._identities: dict[Path, tuple[int, int] | None] = {}
        self._connection: sqlite3.Connection | None = None
        if location.path is None:
            return
        try:
            self._connection = connect(location.path)
            (found,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.Error as error:
            self.close()
            raise explain(error, location) from error
        if found != "ok":
            self.close()
            raise damaged(location)
        watched = (location.path, log_of(location.path))
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
        path = path_of(self._location)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            rescued = copy_database(self._connection, path.with_name(f"{path.name}.rescued"))
        except (OSError, sqlite3.Error) as error:
            raise explain(error, self._location) from error
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


def path_of(location: Location) -> Path:
    """The file of a database that is one."""
    assert location.path is not None, "a server has no file"
    return location.path


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file has this name, if one has."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_wal(path: Path) -> bool:
    return _header(path)[18:19] == b"\x02"  # the format's version of whoever may read it


def _header(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(100)


def _refuse_special(path: Path, location: Location) -> None:
    mode = path.stat().st_mode  # before opening: a pipe would block
    if stat.S_ISDIR(mode):
        raise StorageError(f"{location} is a folder: give a file, such as {location}/mnist_tune.db")
    if not stat.S_ISREG(mode):
        raise StorageError(f"{location} is not a regular file: give another --storage")


def _is_truncated(path: Path, header: bytes) -> bool:
    """Compare the size with what the header says, unless the write-ahead log may hold the rest."""
    if len(header) < 100:
        return bool(header) or _has_log(path)
    if header[24:28] != header[92:96]:
        return False  # written by an SQLite that did not keep the number of pages
    page_size = int.from_bytes(header[16:18], "big")
    expected = int.from_bytes(header[28:32], "big") * (65_536 if page_size == 1 else page_size)
    # Asked twice: a checkpoint may finish, and take the log away, between two looks.
    return _size(path) < expected and not _has_log(path) and _size(path) < expected


def _has_log(path: Path) -> bool:
    try:
        return _size(log_of(path)) > 0
    except FileNotFoundError:
        return False


def _size(path: Path) -> int:
    return path.stat().st_size

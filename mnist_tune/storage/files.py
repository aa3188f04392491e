"""SQLite files: is there one, is it whole, and how to connect to it.

Standard library only. The pragmas are set here and nowhere else:

- WAL: readers (dashboard, `list`) never block the writer, nor the writer them.
- synchronous=FULL: each commit waits for the disk. NORMAL would be as safe against crashes of
  programs, but a power cut could take back the last commits of a WAL database, and with them
  results that were announced as stored. Measured on an SSD,
  FULL costs 3 ms a trial (40 instead of 37 ms for its 16 commits), and a trial takes seconds.
- foreign_keys: Optuna's tables have foreign keys; SQLite ignores them unless asked.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path
from typing import Literal

from mnist_tune.errors import StorageError
from mnist_tune.storage.faults import explain
from mnist_tune.storage.location import Location

BUSY_SECONDS = 30.0

_MAGIC = b"SQLite format 3\x00"
_WAL_FORMAT = 2


def exists(location: Location) -> bool:
    """Tell whether the file holds anything; a missing or empty one does not.

    Raises:
        StorageError: what is there cannot be a whole SQLite database.
    """
    path = _path(location)
    try:
        _refuse_special(path, location)
        header = _header(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise StorageError(
            f"{location} cannot be read ({error.strerror}): give another --storage"
        ) from error
    _refuse_unusable(path, header, location)
    return bool(header)


def refuse_read_only(location: Location) -> None:
    """Raise StorageError unless the file and its folder can be written."""
    path = _path(location)
    for place, what in ((path, "file"), (path.parent, "folder")):
        if place.exists() and not os.access(place, os.W_OK):
            raise StorageError(
                f"{location} cannot be written: its {what} is read-only; "
                "make it writable, or give another --storage"
            )


def make_folder(location: Location) -> None:
    """Make the folders of the database.

    Raises:
        StorageError: something is in the way.
    """
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


def connect_read_only(path: Path) -> sqlite3.Connection:
    """Connect for reading, also on a read-only disk; makes no file and waits for no lock.

    A WAL database that nobody has open lies still: it is read as immutable, since a plain
    read-only connection would leave two files beside it, or fail where it cannot make them.
    """
    still = _header(path)[18:19] == bytes([_WAL_FORMAT]) and not _has_log(path)
    option = "immutable=1" if still else "mode=ro"
    connection = sqlite3.connect(f"{path.as_uri()}?{option}", uri=True, check_same_thread=False)
    connection.execute("PRAGMA query_only=ON")
    return connection


def connect_following(path: Path) -> sqlite3.Connection:
    """Connect for reading what is there and what others will write; leaves a log beside the file.

    On a read-only disk nobody writes, and what is there is read as it is.
    """
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS, check_same_thread=False
    )
    try:
        connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:  # cannot make the log
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


def _path(location: Location) -> Path:
    assert location.path is not None, "a server has no file"
    return location.path


def _header(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(100)


def _refuse_special(path: Path, location: Location) -> None:
    mode = path.stat().st_mode  # before opening: a pipe would block
    if stat.S_ISDIR(mode):
        raise StorageError(f"{location} is a folder: give a file, such as {location}/mnist_tune.db")
    if not stat.S_ISREG(mode):
        raise StorageError(f"{location} is not a regular file: give another --storage")


def _refuse_unusable(path: Path, header: bytes, location: Location) -> None:
    if header and not header.startswith(_MAGIC[: len(header)]):
        raise explain(sqlite3.DatabaseError("file is not a database"), location)
    if _is_truncated(path, header):
        raise explain(sqlite3.DatabaseError("database disk image is malformed"), location)


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

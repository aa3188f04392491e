"""Database errors in plain words: one line that says what, where and what to do.

Standard library only. sqlite3, SQLAlchemy, a server's driver and Optuna wrap one another's
errors; the innermost one says what happened.
"""

from __future__ import annotations

import sqlite3

from mnist_tune.errors import StorageError
from mnist_tune.storage.location import Location

# Part of the innermost message, in lower case, and what it means.
_MEANINGS: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("disk is full", "no space left", "disk quota exceeded"),
        (
            "{where}: the disk is full; free some space and type the same command again, "
            "what was stored before is safe"
        ),
    ),
    (
        ("database is locked", "database table is locked", "database schema is locked"),
        (
            "{where}: another program keeps the database locked; close it (a database browser, a copy, "
            "a sync tool) and type the same command again"
        ),
    ),
    (
        ("readonly", "read-only", "permission denied"),
        (
            "{where} cannot be written: make the file and its folder writable, "
            "or give another --storage"
        ),
    ),
    (
        ("file is not a database", "file is encrypted"),
        "{where} is not an SQLite database: give another --storage",
    ),
    (
        ("malformed", "corrupt", "database disk image"),
        "{where} is damaged: put a backup in its place, or give another --storage",
    ),
    (
        ("unable to open database file",),
        (
            "{where} cannot be opened: its folder is gone, closed to you, or holds a half-copied "
            "database; copy all of {where}* to a writable folder, or give another --storage"
        ),
    ),
    (
        ("disk i/o error", "input/output error", "file too large"),
        (
            "{where}: the disk could not be read or written (full, failing, or over a size limit); "
            "see to the disk and type the same command again"
        ),
    ),
    (
        ('database "', "unknown database"),
        "{where}: the server has no database of this name; make it or correct the URL in --storage",
    ),
    (
        ("no such table", 'relation "'),
        (
            "{where} lacks what mnist_tune stores there: was the file replaced under way? "
            "put it back, or give another --storage"
        ),
    ),
    (
        ("authentication failed", "no password supplied", "access denied"),
        "{where}: the server refuses this user or password; correct the URL in --storage",
    ),
    (
        ("connection", "could not connect", "could not translate", "timeout", "timed out", "host"),
        "{where}: the database server cannot be reached; start it or correct the URL in --storage",
    ),
)

# What a database may do to a correct program. Others (IntegrityError, a wrong statement) are bugs.
_KINDS = frozenset({"DatabaseError", "OperationalError", "InterfaceError", "InternalError"})
_BUGS = ("syntax error", "no such column", "has no column", "no such function")


def explain(error: BaseException, location: Location) -> StorageError:
    """Say in one line what went wrong with a database and what to do."""
    cause = innermost(error)
    message = str(cause)
    if isinstance(cause, ImportError) or type(cause).__name__ == "NoSuchModuleError":
        return StorageError(_missing_driver(message, location))
    words = message.lower()
    for signs, meaning in _MEANINGS:
        if any(sign in words for sign in signs):
            return StorageError(meaning.format(where=location))
    line = " ".join(message.split())
    return StorageError(f"{location}: the database refused: {line}; type `mnist-tune doctor`")


def is_database_error(error: BaseException) -> bool:
    """Whether the database, its disk or its server failed, rather than this program."""
    cause = innermost(error)
    bug = any(sign in str(cause).lower() for sign in _BUGS)
    return type(cause).__name__ in _KINDS and not bug


def innermost(error: BaseException) -> BaseException:
    """Unwrap SQLAlchemy's `orig` and Optuna's `raise … from`."""
    if isinstance(error, sqlite3.Error):
        return error
    cause = getattr(error, "orig", None) or error.__cause__
    return innermost(cause) if isinstance(cause, BaseException) else error


def _missing_driver(message: str, location: Location) -> str:
    advice = "pip install 'psycopg[binary]' for postgresql://, or give the path of a file"
    return f"{location}: no driver for this kind of database is installed ({message}); {advice}"

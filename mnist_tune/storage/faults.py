"""Database errors in plain words: one line that says what, where and what to do.

Standard library only. sqlite3, SQLAlchemy, a server's driver and Optuna wrap one another's
errors; the innermost one says what happened.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from mnist_tune.errors import MnistTuneError, ServerLost, StorageError
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
        (
            "database is locked",
            "database table is locked",
            "database schema is locked",
            "lock timeout",
        ),
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
        ("malformed", "corrupt", "database disk image", "could not decode to utf-8"),
        (
            "{where} is damaged: restore it from a backup, or give another --storage; "
            "`mnist-tune doctor` names the damage"
        ),
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
        ("authentication failed", "no password supplied", "access denied", "pg_hba.conf", 'role "'),
        "{where}: the server refuses this user or password; correct the URL in --storage",
    ),
)

# Of a server.
_REFUSED = ("permission denied", "read-only transaction")
_LOST = (
    "connection",
    "connect",
    "could not translate",
    "timeout",
    "timed out",
    "host",
    "terminating",
    "starting up",
    "shutting down",
    "recovery mode",
    "consuming input",
)

# What a database may do to a correct program. Others (IntegrityError, a wrong statement) are bugs.
_KINDS = frozenset({"DatabaseError", "OperationalError", "InterfaceError", "InternalError"})
# Of PostgreSQL's driver, which has a class for each code: what we may not, and what is gone.
_CODES = frozenset({"InsufficientPrivilege", "UndefinedTable"})
_BUGS = ("syntax error", "no such column", "has no column", "no such function")


def explain(error: BaseException, location: Location) -> StorageError:
    """Say in one line what went wrong with a database and what to do."""
    cause = innermost(error)
    message = str(cause)
    if isinstance(cause, ImportError) or type(cause).__name__ == "NoSuchModuleError":
        return StorageError(_missing_driver(message, location))
    words = message.lower()
    if not location.is_sqlite and any(sign in words for sign in _REFUSED):
        return StorageError(
            f"{location}: the server lets this user read only ({_line(message)}); give it the right to "
            "write and to make tables, or give another --storage"
        )
    for signs, meaning in _MEANINGS:
        if any(sign in words for sign in signs):
            return StorageError(meaning.format(where=location))
    if not location.is_sqlite and any(sign in words for sign in _LOST):
        return ServerLost(
            f"{location}: the database server cannot be reached; start it or correct the URL in --storage"
        )
    return StorageError(
        f"{location}: the database refused: {_line(message)}; type `mnist-tune doctor`"
    )


def is_database_error(error: BaseException) -> bool:
    """Whether the database, its disk or its server failed, rather than this program."""
    cause = innermost(error)
    bug = any(sign in str(cause).lower() for sign in _BUGS)
    return _is_ones_fault(type(cause)) and not bug


def _is_ones_fault(kind: type[BaseException]) -> bool:
    """Whether such an error may happen to a correct program.

    A driver may have classes of its own below those of Python's database interface.
    """
    names = {base.__name__ for base in kind.__mro__}
    special = names & {"OperationalError", "InterfaceError", "InternalError"}
    return kind.__name__ in _KINDS | _CODES or bool(special)


@contextmanager
def translated(location: Location) -> Iterator[None]:
    """Turn errors of the database, its disk or its server into StorageError."""
    try:
        yield
    except MnistTuneError:
        raise
    except Exception as error:
        if not is_database_error(error):
            raise
        raise explain(error, location) from error


def innermost(error: BaseException) -> BaseException:
    """Unwrap SQLAlchemy's `orig` and Optuna's `raise … from`."""
    if isinstance(error, sqlite3.Error):
        return error
    cause = getattr(error, "orig", None) or error.__cause__
    return innermost(cause) if isinstance(cause, BaseException) else error


def _line(message: str) -> str:
    return " ".join(message.split())


def _missing_driver(message: str, location: Location) -> str:
    advice = "pip install 'psycopg[binary]' for postgresql://, or give the path of a file"
    return f"{location}: no driver for this kind of database is installed ({message}); {advice}"

"""Errors of databases, disks and servers as one line: what, where, and what to do.

sqlite3, SQLAlchemy, a server's driver and Optuna wrap one another's errors. The innermost one
carries SQLite's name of the error, the server's SQLSTATE, or the system's errno.
"""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from mnist_tune.errors import MnistTuneError, ServerLost, StorageError
from mnist_tune.storage.location import Location

_LOST = ("08", "57P")
# What an error means, by the beginning of SQLite's name of it, a server's SQLSTATE, or the name of
# an errno.
_MEANINGS = {
    ("SQLITE_FULL", "53100", "ENOSPC", "EDQUOT"): (
        "{where}: the disk is full; free some space and type the same command again, "
        "what was stored before is safe"
    ),
    ("SQLITE_BUSY", "SQLITE_LOCKED", "55P03"): (
        "{where}: another program keeps the database locked; close it (a database browser, a copy, "
        "a sync tool) and type the same command again"
    ),
    ("SQLITE_READONLY", "SQLITE_PERM", "EACCES", "EPERM", "EROFS"): (
        "{where} cannot be written: make the file and its folder writable, or give another --storage"
    ),
    ("SQLITE_NOTADB",): "{where} is not an SQLite database: give another --storage",
    ("SQLITE_CORRUPT", "XX00"): (
        "{where} is damaged: restore it from a backup, or give another --storage; "
        "`mnist-tune doctor` names the damage"
    ),
    ("SQLITE_CANTOPEN",): (
        "{where} cannot be opened: its folder is gone, closed to you, or holds a half-copied "
        "database; copy all of {where}* to a writable folder, or give another --storage"
    ),
    ("SQLITE_IOERR", "58030", "EIO", "EFBIG"): (
        "{where}: the disk could not be read or written (full, failing, or over a size limit); "
        "see to the disk and type the same command again"
    ),
    ("SQLITE_ERROR", "42703", "42P01"): (
        "{where} lacks what mnist_tune stores there ({message}): was the file replaced under way? "
        "Put it back, or give another --storage; `mnist-tune doctor` says what is missing"
    ),
    ("3D000",): (
        "{where}: the server has no database of this name; make it or correct the URL in --storage"
    ),
    ("28",): "{where}: the server refuses this user or password; correct the URL in --storage",
    ("25006", "42501"): (
        "{where}: the server lets this user read only ({message}); give it the right to write and "
        "to make tables, or give another --storage"
    ),
    _LOST: (
        "{where}: the database server cannot be reached ({message}); start it or correct the URL "
        "in --storage"
    ),
}
_REFUSED = "{where}: the database refused: {message}; type `mnist-tune doctor`"
_NO_DRIVER = (
    "{where}: the driver for this server is not installed ({message}); type "
    "`pip install 'psycopg[binary]'`, or give the path of a file"
)
# What has no code: text that is no UTF-8, and a server that cannot be reached.
_UNREADABLE, _UNREACHABLE = "SQLITE_CORRUPT", "08001"
# What a database may do to a correct program; others (IntegrityError, a wrong statement) are bugs.
_DATABASE_ERRORS = {"OperationalError", "InterfaceError", "InternalError"}


def explain(error: BaseException, location: Location) -> StorageError:
    """Say in one line what went wrong with a database and what to do."""
    cause = _innermost(error)
    message = " ".join(str(cause).split())
    if isinstance(cause, ImportError) or type(cause).__name__ == "NoSuchModuleError":
        return StorageError(_NO_DRIVER.format(where=location, message=message))
    nameless = _UNREADABLE if isinstance(cause, sqlite3.Error) else _UNREACHABLE
    code = _code(cause) or ("" if isinstance(cause, OSError) else nameless)
    return _told(code, message, location)


def not_a_database(location: Location) -> StorageError:
    """The error for a file of something else."""
    return _told("SQLITE_NOTADB", "", location)


def damaged(location: Location) -> StorageError:
    """The error for a file that is damaged."""
    return _told("SQLITE_CORRUPT", "", location)


def nothing_stored(location: Location) -> StorageError:
    """The error for a database that is not there yet."""
    return StorageError(
        f"nothing is stored at {location} yet: type `mnist-tune run l2_factor`, "
        "or give the right --storage"
    )


def unknown_study(name: str, known: Iterable[str], location: Location) -> StorageError:
    """The error for a study that is not there; it says which are."""
    return StorageError(
        f"no study {name!r} in {location}, which holds {', '.join(known) or 'no study yet'}: "
        "type `mnist-tune list`"
    )


def is_database_error(error: BaseException) -> bool:
    """Whether the database, its disk or its server failed, rather than this program."""
    cause = _innermost(error)
    names = {base.__name__ for base in type(cause).__mro__}
    return (
        type(cause).__name__ == "DatabaseError"
        or bool(names & _DATABASE_ERRORS)
        or ("DatabaseError" in names and _meaning(_code(cause)) is not None)
    )


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


def _told(code: str, message: str, location: Location) -> StorageError:
    kind = ServerLost if code.startswith(_LOST) else StorageError
    return kind((_meaning(code) or _REFUSED).format(where=location, message=message))


def _meaning(code: str) -> str | None:
    return next((text for codes, text in _MEANINGS.items() if code.startswith(codes)), None)


def _code(cause: BaseException) -> str:
    """SQLite's name of an error, a server's SQLSTATE, or the name of an errno; empty if it has none."""
    if isinstance(cause, OSError):
        return errno.errorcode.get(cause.errno or 0, "")
    names = ("sqlite_errorname", "sqlstate", "pgcode")
    return next((code for name in names if (code := getattr(cause, name, None))), "")


def _innermost(error: BaseException) -> BaseException:
    """Unwrap SQLAlchemy's `orig` and Optuna's `raise … from`."""
    if isinstance(error, sqlite3.Error):
        return error
    cause = getattr(error, "orig", None) or error.__cause__
    return _innermost(cause) if isinstance(cause, BaseException) else error

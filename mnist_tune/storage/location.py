"""Where a database lives: a file, or a server named by an SQLAlchemy URL.

Standard library only, so that the command line starts fast; SQLAlchemy is imported by `url`.
Nothing here touches a disk beyond resolving links.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from mnist_tune.errors import StorageError

if TYPE_CHECKING:  # 0.4 s at run time
    from sqlalchemy import URL

DEFAULT = "storage/mnist_tune.db"
VARIABLE = "MNIST_TUNE_STORAGE"

_SCHEME = re.compile(r"([A-Za-z]\w*)(\+\w+)?://")
_IN_MEMORY = "keeps nothing when the process ends: give a file, such as storage/mnist_tune.db"


@dataclass(frozen=True, slots=True)
class Location:
    """One database. Two locations are equal when they name the same database.

    Attributes:
        path: absolute path of the SQLite file, links resolved; None for a server.
        server: SQLAlchemy URL of a server, with its password; None for SQLite.
        shown: what people see, without a password and on one line.
    """

    path: Path | None
    server: str | None = field(default=None, repr=False)
    shown: str = field(default="", compare=False)

    @classmethod
    def parse(cls, text: str | os.PathLike[str]) -> Location:
        """Read a plain path (relative, absolute, `~`) or an SQLAlchemy URL.

        Raises:
            StorageError: nothing that could hold a database is named.
        """
        given = os.fspath(text)
        scheme = _SCHEME.match(given)
        if scheme is None:
            return _file(given)
        if scheme[1].lower() == "sqlite":
            return _file(_path_of_url(given, given[scheme.end() :]))
        if scheme[1].lower() != "postgresql":
            raise StorageError(
                f"{_one_line(_without_password(given))}: studies are kept in an SQLite file or on a "
                "PostgreSQL server: give a path, such as storage/mnist_tune.db, or "
                "postgresql://user@host/database"
            )
        return cls(path=None, server=given, shown=_one_line(_without_password(given)))

    @classmethod
    def find(cls, option: str | None = None, environ: Mapping[str, str] | None = None) -> Location:
        """Take `--storage`, else MNIST_TUNE_STORAGE, else `./storage/mnist_tune.db`."""
        variable = (os.environ if environ is None else environ).get(VARIABLE)
        return cls.parse(option if option is not None else variable or DEFAULT)

    def __str__(self) -> str:
        return self.shown

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is a file."""
        return self.path is not None

    @property
    def url(self) -> URL:
        """The SQLAlchemy URL, made from parts: any character may stand in a path.

        Raises:
            StorageError: the URL of a server cannot be read.
        """
        import sqlalchemy

        if self.path is not None:
            return sqlalchemy.URL.create("sqlite", database=str(self.path))
        try:
            return sqlalchemy.make_url(self.server or "")
        except (sqlalchemy.exc.ArgumentError, ValueError) as error:
            raise StorageError(
                f"{self}: not a URL of a database; write postgresql://user@host/database"
            ) from error

    @property
    def folder(self) -> Path:
        """Folder of the database file; for a server one of its own in `./storage`."""
        if self.path is not None:
            return self.path.parent
        # Two databases must not share artifacts: what is deleted in one would be gone in the other.
        place = re.sub(r"^.*?://(.*@)?", "", self.shown).partition("?")[0]
        return Path("storage", "servers", re.sub(r"[^A-Za-z0-9._-]+", "-", place)).absolute()

    @property
    def artifacts(self) -> Path:
        """Folder of figures and other files that belong to trials."""
        return self.folder / "artifacts"

    @property
    def checkpoints(self) -> Path:
        """Folder of the states of running trials."""
        return self.folder / "checkpoints"

    @property
    def locks(self) -> Path:
        """Folder of the lock files."""
        return self.folder / "locks"


def _file(given: str) -> Location:
    shown = _one_line(given)
    if not given.strip():
        raise StorageError("--storage is empty: give a file, such as storage/mnist_tune.db")
    if given == ":memory:":
        raise StorageError(f"{shown} {_IN_MEMORY}")
    if given.endswith(("/", os.sep)):
        raise StorageError(f"{shown} is a folder: give a file, such as {shown}mnist_tune.db")
    try:
        path = Path(given).expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise StorageError(f"{shown} is not a path ({error}): give another --storage") from error
    return Location(path=path, shown=shown)


def _path_of_url(url: str, rest: str) -> str:
    """Return the path in `sqlite:///relative` or `sqlite:////absolute`."""
    database, _, options = rest.partition("?")
    path = unquote(database.removeprefix("/"))
    if path in ("", ":memory:") or "mode=memory" in options:
        raise StorageError(f"{_one_line(url)} {_IN_MEMORY}")
    if options or path.startswith("file:") or not database.startswith("/"):
        raise StorageError(f"{_one_line(url)} cannot be used here: give the plain path of the file")
    return path


def _without_password(url: str) -> str:
    # Greedy up to the last @: hides too much of a badly quoted password rather than too little.
    masked = re.sub(r"(://[^:/?@]*):.*@", r"\1:***@", url)
    return re.sub(r"(?i)([?&][^=&]*(?:passw|pwd|secret|token)[^=&]*=)[^&]*", r"\1***", masked)


def _one_line(text: str) -> str:
    return text if text.isprintable() else ascii(text)

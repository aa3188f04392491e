"""A real PostgreSQL server for tests, made and ended by `scripts/postgres`."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
from sqlalchemy import make_url

CHECKOUT = Path(__file__).parent.parent


class Server:
    """A server with any number of databases; a context manager."""

    def __enter__(self) -> Self:
        # In the open, since a server that root starts runs as somebody else.
        self._folder = Path(tempfile.mkdtemp(prefix="mnist-tune-postgresql-"))
        self._folder.chmod(0o755)
        self._numbers = count()
        self._url = make_url(self.start())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._script("crash")
        shutil.rmtree(self._folder)

    @property
    def password(self) -> str:
        """Of every URL."""
        return str(self._url.password)

    def start(self) -> str:
        """Start it, on the same port each time; its URL."""
        return self._script("start").strip()

    def crash(self) -> None:
        """End it as a power cut would: every connection is lost."""
        self._script("crash")

    def database(self) -> str:
        """Make an empty database; its URL."""
        name = f"trials_{next(self._numbers)}"
        with psycopg.connect(self._shown(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self._url.set(database=name).render_as_string(hide_password=False)

    def _shown(self) -> str:
        return self._url.render_as_string(hide_password=False)

    def _script(self, command: str) -> str:
        done = subprocess.run(
            [CHECKOUT / "scripts" / "postgres", command, self._folder / "server"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def rows(url: str, statement: str) -> list[tuple[Any, ...]]:
    """What a connection of its own sees."""
    with psycopg.connect(url) as connection:
        return connection.execute(statement.encode()).fetchall()

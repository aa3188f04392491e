"""optuna-dashboard on one of our storages: its trials, their pictures, and a gate before it."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mnist_tune.dashboard.artifacts import Artifacts
from mnist_tune.dashboard.gate import Gate
from mnist_tune.storage import files
from mnist_tune.storage.database import open_database
from mnist_tune.storage.location import Location
from mnist_tune.storage.optuna_adapter import open_cached, open_optuna, read_all
from mnist_tune.storage.ownership import optuna_id, our_study

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from optuna.storages import BaseStorage


def prepare(location: Location, *, read_only: bool) -> None:
    """Make the storage where there is none, so that there is something to look at.

    Raises:
        StorageError: it cannot be made or used.
    """
    if read_only and location.is_sqlite and files.exists(location):
        return
    with open_database(location, create=True) as database:
        open_optuna(database)


def page(location: Location, study: str | None) -> str:
    """Return the path of a study's page, or of the list of all."""
    if study is None:
        return "dashboard"
    with open_database(location, create=False, read_only=True) as database:
        number = optuna_id(database, study)
    return "dashboard" if number is None else f"dashboard/studies/{number}"


def application(location: Location, *, hosts: frozenset[str], read_only: bool) -> WSGIApplication:
    """Open a storage for optuna-dashboard; it stays open as long as the process.

    Args:
        location: of the storage, which is there.
        hosts: names under which the server may be called, besides `localhost` and addresses.
        read_only: refuse every change, here and in the database.

    Raises:
        StorageError: it cannot be used.
    """
    from optuna_dashboard import wsgi

    database = open_database(location, create=False, read_only=read_only, following=True)
    storage = open_cached(database)
    artifacts = Artifacts(database, keep=not read_only)
    return Gate(
        _warmed(wsgi(storage, artifact_store=artifacts), storage),
        hosts=hosts,
        read_only=read_only,
        owner=lambda kind, number: our_study(database, kind, number),
    )


def _warmed(dashboard: WSGIApplication, storage: BaseStorage) -> WSGIApplication:
    """Read all trials before anybody asks for them.

    Who asks meanwhile waits: two who read the same would take twice as long.
    """
    read = threading.Event()

    def warm() -> None:
        try:
            read_all(storage)
        finally:
            read.set()

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if str(environ.get("PATH_INFO", "")).startswith("/api/studies/"):
            read.wait()
        return dashboard(environ, start_response)

    threading.Thread(target=warm, daemon=True).start()
    return application

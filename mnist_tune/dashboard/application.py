"""The WSGI application: optuna-dashboard on one of our storages, with our artifacts, filter and script."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterable
from functools import cache
from importlib import resources
from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO

from mnist_tune.dashboard.request_filter import RequestFilter
from mnist_tune.storage import sqlite_files
from mnist_tune.storage.artifacts import ENDED, ArtifactFiles, study_of_artifact, trial_attributes
from mnist_tune.storage.database import Database, open_database
from mnist_tune.storage.location import Location
from mnist_tune.storage.optuna_adapter import open_cached, open_optuna, read_all
from mnist_tune.storage.overview import optuna_id, owner_of
from mnist_tune.storage.store import study_state

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from optuna.storages import BaseStorage

_PAGE = re.compile(r"/dashboard(/.*)?")
_PICTURE = re.compile(r"/artifacts/([0-9a-f]{32}-[0-9a-f]{16})")
_SCRIPT = "/static/mnist_tune.js"
_IN_PART = ("HTTP_IF_MODIFIED_SINCE", "HTTP_IF_NONE_MATCH", "HTTP_RANGE")


def prepare(location: Location, *, read_only: bool) -> None:
    """Make the storage where there is none, so that there is something to look at.

    Raises:
        StorageError: it cannot be made or used.
    """
    if read_only and location.is_sqlite and sqlite_files.exists(location):
        return
    with open_database(location, create=True) as database:
        open_optuna(database)


def page(location: Location, study: str | None) -> str:
    """Return the path of a study's note, or of the list of all studies."""
    if study is None:
        return "dashboard"
    with open_database(location, create=False, read_only=True) as database:
        number = optuna_id(database, study)
    return "dashboard" if number is None else f"dashboard/studies/{number}/note"


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
    storage = open_cached(database, trial_attributes)
    artifacts = ArtifactStore(database, keep=not read_only)
    return RequestFilter(
        _extended(_warmed(wsgi(storage, artifact_store=artifacts), storage), artifacts),
        hosts=hosts,
        read_only=read_only,
        owner=lambda kind, number: owner_of(database, kind, number),
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


def _extended(dashboard: WSGIApplication, artifacts: ArtifactStore) -> WSGIApplication:
    """Add a script to the page, and the pictures of notes, which name no study by Optuna's number."""
    script = (resources.files("mnist_tune.dashboard") / "page.js").read_bytes()

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = str(environ.get("PATH_INFO", ""))
        if path == _SCRIPT:
            return _answer(start_response, "text/javascript; charset=utf-8", script)
        if (found := _PICTURE.fullmatch(path)) and (picture := artifacts.found(found[1])):
            with picture:
                return _answer(start_response, "image/png", picture.read())
        if environ.get("REQUEST_METHOD") == "GET" and _PAGE.fullmatch(path):
            return _with_script(dashboard, environ, start_response)
        return dashboard(environ, start_response)

    return application


def _with_script(
    dashboard: WSGIApplication, environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    """The page as a whole, with our script in its head."""
    started: list[Any] = []
    whole = {key: value for key, value in environ.items() if key not in _IN_PART}

    def start(*answer: Any) -> Callable[[bytes], object]:
        started[:] = answer
        return lambda _content: None

    body = b"".join(dashboard(whole, start))
    body = body.replace(b"</head>", f'<script src="{_SCRIPT}"></script></head>'.encode(), 1)
    status, headers, *_ = started
    changed = ("content-length", "last-modified", "etag")
    kept = [(name, value) for name, value in headers if name.lower() not in changed]
    start_response(status, [*kept, ("Content-Length", str(len(body)))])
    return [body]


def _answer(start_response: StartResponse, kind: str, content: bytes) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", kind), ("Content-Length", str(len(content)))])
    return [content]


class ArtifactStore(ArtifactFiles):
    """Artifact store of the dashboard: draws the artifacts of our studies on demand, and keeps them.

    Args:
        database: that holds the studies.
        keep: whether what is drawn may be written into the folder of artifacts.
    """

    def __init__(self, database: Database, *, keep: bool) -> None:
        super().__init__(database.location)
        self._database = database
        self._keeps = keep
        self._drawing = threading.Lock()

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Open a picture or a file, or have the server answer that there is none."""
        found = self.found(artifact_id)
        if found is None:
            from bottle import HTTPError

            raise HTTPError(404, "There is nothing to show yet, or not any more.")
        return found

    def found(self, artifact_id: str) -> BinaryIO | None:
        """Open a picture or a file; None if there is none."""
        if study_of_artifact(artifact_id) is None:
            from optuna.artifacts.exceptions import ArtifactNotFound

            try:
                return super().open_reader(artifact_id)
            except ArtifactNotFound:
                return None
        found = self._kept(artifact_id)
        if found is None:
            with self._drawing:  # matplotlib is not made for threads
                found = self._kept(artifact_id) or self._drawn(artifact_id)
        return found

    def _kept(self, artifact_id: str) -> BinaryIO | None:
        found = self.open_kept(artifact_id, ENDED)
        if found is not None:
            return found
        with self._database.reading() as connection:
            state = study_state(connection, study_of_artifact(artifact_id) or "")
        return self.open_kept(artifact_id, state)

    def _drawn(self, artifact_id: str) -> BinaryIO | None:
        from mnist_tune.dashboard.artifacts import make  # brings scipy, and matplotlib to draw

        made = make(self._database, artifact_id)
        if made is None:
            return None
        if self._keeps and made.state is not None:
            try:
                self.keep(artifact_id, made.state, made.content)
            except OSError as error:
                _warn(f"warning: pictures are drawn each time that they are shown: {error}")
        return BytesIO(made.content)


@cache
def _warn(line: str) -> None:
    """Log a warning once."""
    logging.getLogger(__name__).warning("%s", line)

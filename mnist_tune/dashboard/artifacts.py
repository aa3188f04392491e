"""The artifact store of the dashboard: draws what is asked for, and keeps it."""

from __future__ import annotations

import threading
from io import BytesIO
from typing import BinaryIO

from mnist_tune.storage import statements
from mnist_tune.storage.database import Database
from mnist_tune.storage.notices import notice
from mnist_tune.storage.shown import ENDED, ShownFiles, study_of


class Artifacts(ShownFiles):
    """Pictures and tables of our studies, and files that were uploaded to others.

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
        found = self._found(artifact_id)
        if found is None:
            from bottle import HTTPError

            raise HTTPError(404, "There is nothing to show yet, or not any more.")
        return found

    def _found(self, artifact_id: str) -> BinaryIO | None:
        if study_of(artifact_id) is None:
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
            state = statements.study_state(connection, study_of(artifact_id) or "")
        return self.open_kept(artifact_id, state)

    def _drawn(self, artifact_id: str) -> BinaryIO | None:
        from mnist_tune.publishing.artifacts import make  # brings scipy, and matplotlib to draw

        made = make(self._database, artifact_id)
        if made is None:
            return None
        if self._keeps and made.state is not None:
            try:
                self.keep(artifact_id, made.state, made.content)
            except OSError as error:
                notice(f"warning: pictures are drawn each time that they are shown: {error}")
        return BytesIO(made.content)

"""Pictures and tables that the dashboard shows: by which ids, and where those are kept that were drawn.

The id of a picture follows from the study and from what it shows, so that a trial can announce its
pictures while it may still be changed, and the dashboard draws them when somebody looks. What it has
drawn lies in `artifacts/UID/dashboard/` as ID.STATE, so that it goes with its study and is not shown
any more once the study has changed. Standard library only, but for the error that optuna-dashboard
understands.
"""

from __future__ import annotations

import hashlib
import json
import mimetypes
import re
from dataclasses import asdict, dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from mnist_tune.files import write_atomically
from mnist_tune.storage.location import Location

ENDED = "ended"  # the state of every trial that has pictures: they never change
KEPT = "dashboard"  # folder of what was drawn, which can be drawn again

_ID = re.compile(r"([0-9a-f]{32})-[0-9a-f]{16}")
_UPLOADED = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
)  # of optuna-dashboard, by uuid4


@dataclass(frozen=True, slots=True)
class Shown:
    """A file that the dashboard shows.

    Attributes:
        uid: of the study.
        subject: what it is about, such as `trial 3`; the same subject and name are the same file.
        name: as people see it, such as `learning_curves.png`.
    """

    uid: str
    subject: str
    name: str

    @property
    def id(self) -> str:
        """Optuna's artifact id."""
        digest = hashlib.sha256(f"{self.subject}/{self.name}".encode()).hexdigest()
        return f"{self.uid}-{digest[:16]}"

    @property
    def entry(self) -> str:
        """What Optuna keeps of an artifact: JSON."""
        kind, encoding = mimetypes.guess_type(self.name)
        return json.dumps(
            asdict(_Meta(self.id, self.name, kind or "application/octet-stream", encoding))
        )


@dataclass(frozen=True, slots=True)
class _Meta:
    """Of an artifact, as in Optuna's `ArtifactMeta`."""

    artifact_id: str
    filename: str
    mimetype: str
    encoding: str | None


def of_trial(uid: str, trial_number: int, network: str) -> tuple[Shown, ...]:
    """What each trial that trained to its end shows: learning curves, and its network.

    Args:
        uid: of the study.
        trial_number: of the trial.
        network: its description as JSON; trials with the same network share its picture.
    """
    return (
        Shown(uid, f"trial {trial_number}", "learning_curves.png"),
        Shown(uid, f"network {network}", "network.png"),
    )


class ShownFiles:
    """The files of all studies in one storage; of studies that are not ours an artifact store of Optuna's.

    Args:
        location: of the storage.
    """

    def __init__(self, location: Location) -> None:
        self._folder = location.artifacts

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Open a file that somebody has uploaded.

        Raises:
            ArtifactNotFound: it is not there (yet).
        """
        from optuna.artifacts.exceptions import ArtifactNotFound

        path = self.path(artifact_id)
        try:
            if path is not None:
                return path.open("rb")
        except FileNotFoundError:
            pass
        raise ArtifactNotFound(f"{artifact_id} is not there")

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Write a file; a reader sees the old one or the new one.

        Raises:
            ValueError: the id is none.
            OSError: it cannot be written.
        """
        path = self.path(artifact_id)
        if path is None:
            raise ValueError(f"not an id: {artifact_id}")
        _write(path, content_body)

    def remove(self, artifact_id: str) -> None:
        """Remove a file.

        Raises:
            ArtifactNotFound: it is not there.
        """
        from optuna.artifacts.exceptions import ArtifactNotFound

        path = self.path(artifact_id)
        if path is None or not path.is_file():
            raise ArtifactNotFound(f"{artifact_id} is not there")
        path.unlink()

    def open_kept(self, artifact_id: str, state: str) -> BinaryIO | None:
        """Open what was drawn of a state of a study of ours; None if it is not kept, or cannot be read."""
        try:
            return self._place(artifact_id, state).open("rb")
        except OSError:
            return None

    def keep(self, artifact_id: str, state: str, content: bytes) -> None:
        """Keep what was drawn of a state, in the place of older ones.

        Raises:
            OSError: it cannot be written.
        """
        path = self._place(artifact_id, state)
        _write(path, BytesIO(content))
        for other in path.parent.glob(f"{artifact_id}*"):
            if other != path:
                other.unlink(missing_ok=True)

    def _place(self, artifact_id: str, state: str) -> Path:
        path = self.path(artifact_id)
        assert path is not None
        return path.with_name(f"{artifact_id}.{state}")

    def path(self, artifact_id: str) -> Path | None:
        """Where a file lies; None for what is no id, which leads nowhere."""
        uid = study_of(artifact_id)
        if uid is not None:
            return self._folder / uid / KEPT / artifact_id
        # Of Optuna studies that are not ours and share the database.
        return self._folder / "uploaded" / artifact_id if _UPLOADED.fullmatch(artifact_id) else None


def study_of(artifact_id: str) -> str | None:
    """Return the uid of the study of ours that an id belongs to; None of any other id."""
    found = _ID.fullmatch(artifact_id)
    return None if found is None else found[1]


def _write(path: Path, content: BinaryIO) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, iter(partial(content.read, 1 << 16), b""))

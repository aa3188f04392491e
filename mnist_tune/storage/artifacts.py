"""Dashboard artifacts and notes: how Optuna lists them, and the files of those that were drawn.

The id of an artifact follows from the study and from what it is about, so that the dashboard can list
those of a trial, which nobody stores, and draw them when somebody looks. What it has drawn lies in
`artifacts/UID/dashboard/` as ID.STATE, so that it goes with its study and is not shown any more once the
study has changed.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import mimetypes
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from mnist_tune.files import write_atomically
from mnist_tune.storage.location import Location
from mnist_tune.storage.optuna_adapter import UID_ATTRIBUTE, OptunaStudy

ENDED = "ended"  # the state of every trial that has pictures: they never change
KEPT = "dashboard"  # folder of what was drawn, which can be drawn again

_LISTED = "artifacts:"
_OF_A_TRIAL = re.compile(rf"(dashboard:(?:{_LISTED})?)(\d+)(?=:)")
_NONE = "null"  # the JSON of an artifact that is no longer listed
_PIECE = 2_045  # characters of a note; a value of an attribute holds 2,048
_ID = re.compile(r"([0-9a-f]{32})-[0-9a-f]{16}")
_UPLOADED = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
)  # of optuna-dashboard, by uuid4


@dataclass(frozen=True, slots=True)
class DashboardArtifact:
    """A picture or table that the dashboard lists.

    Attributes:
        uid: of the study.
        subject: what it is about, such as `trial 3`; the same subject and name are the same file.
        name: of the file, such as `learning_curves.png`.
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
    def path(self) -> str:
        """Where our dashboard serves it, whatever number Optuna has given to the study."""
        return f"/artifacts/{self.id}"

    @property
    def entry(self) -> str:
        """What Optuna keeps of an artifact: JSON, as of its `ArtifactMeta`."""
        kind, encoding = mimetypes.guess_type(self.name)
        return json.dumps(
            {
                "artifact_id": self.id,
                "filename": self.name,
                "mimetype": kind or "application/octet-stream",
                "encoding": encoding,
            }
        )


def artifacts_of_trial(uid: str, trial_number: int) -> tuple[DashboardArtifact, ...]:
    """Return what each trial that trained to its end, or was pruned, lists."""
    of_trial = partial(DashboardArtifact, uid, f"trial {trial_number}")
    return of_trial("learning_curves.png"), of_trial("network.png")


def trial_attributes(uid: str, trial_number: int) -> dict[str, str]:
    """System attributes by which the dashboard lists the artifacts of a trial; nobody stores them."""
    return {f"{_LISTED}{a.id}": a.entry for a in artifacts_of_trial(uid, trial_number)}


def list_artifacts(
    study: OptunaStudy, artifacts: Sequence[DashboardArtifact], trial_number: int | None = None
) -> None:
    """List artifacts with the study, or with one of its trials, which may be finished.

    They replace what was listed there in this way, but for files that people have added.
    """
    prefix = _LISTED
    if trial_number is not None:
        prefix = f"dashboard:{_LISTED}{study.trial_id(trial_number)}:"
    wanted = {f"{prefix}{artifact.id}": artifact.entry for artifact in artifacts}
    ours = f"{prefix}{study.study.user_attrs[UID_ATTRIBUTE]}-"
    gone = {key: _NONE for key in study.system_attributes() if key.startswith(ours)}
    study.set_system_attributes(gone | wanted)


def read_note(study: OptunaStudy) -> str:
    """Return the study's note; empty if there is none."""
    attributes = study.system_attributes()
    return "".join(attributes[key] for key in _pieces("", attributes))


def write_note(study: OptunaStudy, note: str, trial_number: int | None = None) -> None:
    """Replace the note of the study, or of one of its trials; the same text changes nothing."""
    of = "" if trial_number is None else f"{study.trial_id(trial_number)}:"
    before = study.system_attributes()
    old = _pieces(of, before)
    if "".join(before[key] for key in old) == note:
        return
    new = [note[at : at + _PIECE] for at in range(0, len(note), _PIECE)]
    new += [""] * (len(old) - len(new))
    version = f"dashboard:{of}note_ver"
    pieces = {f"dashboard:{of}note_str:{at}": piece for at, piece in enumerate(new)}
    study.set_system_attributes({version: before.get(version, 0) + 1} | pieces)


def with_trial_ids(key: str, ids: Mapping[int, int]) -> str:
    """Replace the ids of trials in a key such as `dashboard:7:note_str:0` or `dashboard:artifacts:7:…`."""
    found = _OF_A_TRIAL.match(key)
    if found is None or int(found[2]) not in ids:
        return key
    return f"{found[1]}{ids[int(found[2])]}{key[found.end() :]}"


class ArtifactFiles:
    """Files of artifacts of all studies in one storage, as an artifact store of Optuna's.

    Those of studies that are not ours are what people have uploaded.

    Args:
        location: of the storage.
    """

    def __init__(self, location: Location) -> None:
        self._folder = location.artifacts

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Open a file that somebody has uploaded; ArtifactNotFound if it is not there (yet)."""
        return self._there(artifact_id).open("rb")

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Write a file; a reader sees the old one or the new one."""
        path = self.path(artifact_id)
        if path is None:
            raise ValueError(f"not an id: {artifact_id}")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, iter(partial(content_body.read, 1 << 16), b""))

    def remove(self, artifact_id: str) -> None:
        """Remove a file; ArtifactNotFound if it is not there."""
        self._there(artifact_id).unlink()

    def open_kept(self, artifact_id: str, state: str) -> BinaryIO | None:
        """Open what was drawn of a state of a study of ours; None if it is not kept, or cannot be read."""
        try:
            return self._place(artifact_id, state).open("rb")
        except OSError:
            return None

    def keep(self, artifact_id: str, state: str, content: bytes) -> None:
        """Keep what was drawn of a state, in the place of older ones."""
        path = self._place(artifact_id, state)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
        for other in path.parent.glob(f"{artifact_id}*"):
            if other != path:
                other.unlink(missing_ok=True)

    def _place(self, artifact_id: str, state: str) -> Path:
        path = self.path(artifact_id)
        assert path is not None
        return path.with_name(f"{artifact_id}.{state}")

    def _there(self, artifact_id: str) -> Path:
        from optuna.artifacts.exceptions import ArtifactNotFound

        path = self.path(artifact_id)
        if path is None or not path.is_file():
            raise ArtifactNotFound(f"{artifact_id} is not there")
        return path

    def path(self, artifact_id: str) -> Path | None:
        """Where a file lies; None for what is no id, which leads nowhere."""
        uid = study_of_artifact(artifact_id)
        if uid is not None:
            return self._folder / uid / KEPT / artifact_id
        # Of Optuna studies that are not ours and share the database.
        return self._folder / "uploaded" / artifact_id if _UPLOADED.fullmatch(artifact_id) else None


def study_of_artifact(artifact_id: str) -> str | None:
    """Return the uid of the study of ours that an id belongs to; None of any other id."""
    found = _ID.fullmatch(artifact_id)
    return None if found is None else found[1]


def _pieces(of: str, attributes: Mapping[str, Any]) -> list[str]:
    """Keys of a note, in order."""
    keys = (f"dashboard:{of}note_str:{at}" for at in itertools.count())
    return list(itertools.takewhile(attributes.__contains__, keys))

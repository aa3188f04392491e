"""Files that the dashboard shows: ids, places, and that no id leads out of them."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import pytest
from optuna.artifacts.exceptions import ArtifactNotFound

from mnist_tune.storage.artifacts import ArtifactFiles, DashboardArtifact, artifacts_of_trial
from mnist_tune.storage.location import Location

UID = "0123456789abcdef" * 2


@pytest.fixture
def files(tmp_path: Path) -> ArtifactFiles:
    (tmp_path / "secret").write_text("secret")
    return ArtifactFiles(Location.parse(tmp_path / "mnist_tune.db"))


def test_the_same_subject_and_name_are_the_same_file() -> None:
    first, again = (DashboardArtifact(UID, "trial 3", "network.png") for _ in range(2))
    assert first.id == again.id
    others = {
        DashboardArtifact(UID, "trial 4", "network.png").id,
        DashboardArtifact(UID, "trial 3", "other.png").id,
    }
    assert len({first.id, *others}) == 3


def test_artifacts_of_a_trial_are_its_own() -> None:
    ids = [artifact.id for number in (0, 1) for artifact in artifacts_of_trial(UID, number)]
    assert len(set(ids)) == 4


def test_an_entry_says_what_a_browser_needs() -> None:
    shown = DashboardArtifact(UID, "study", "runs.csv")
    assert json.loads(shown.entry) == {
        "artifact_id": shown.id,
        "filename": "runs.csv",
        "mimetype": "text/csv",
        "encoding": None,
    }


def test_a_file_lies_with_its_study(files: ArtifactFiles, tmp_path: Path) -> None:
    shown = DashboardArtifact(UID, "study", "runs.csv")
    assert files.open_kept(shown.id, "0a") is None
    files.keep(shown.id, "0a", b"old")
    found = files.open_kept(shown.id, "0a")
    assert found is not None
    with found:
        assert found.read() == b"old"
    assert [p.name for p in (tmp_path / "artifacts" / UID / "dashboard").iterdir()] == [
        f"{shown.id}.0a"
    ]


def test_only_what_was_drawn_last_is_kept(files: ArtifactFiles, tmp_path: Path) -> None:
    shown, other = (
        DashboardArtifact(UID, "study", "runs.csv"),
        DashboardArtifact(UID, "study", "epochs.csv"),
    )
    files.write(shown.id, BytesIO(b"as older versions kept it"))
    files.keep(other.id, "0a", b"other")
    files.keep(shown.id, "0a", b"old")
    files.keep(shown.id, "0b", b"new")
    assert files.open_kept(shown.id, "0a") is None
    folder = tmp_path / "artifacts" / UID / "dashboard"
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {
        f"{shown.id}.0b": b"new",
        f"{other.id}.0a": b"other",
    }


def test_uploads_come_and_go(files: ArtifactFiles) -> None:
    uploaded = "12345678-1234-1234-1234-123456789abc"
    files.write(uploaded, BytesIO(b"old"))
    files.write(uploaded, BytesIO(b"new"))
    with files.open_reader(uploaded) as file:
        assert file.read() == b"new"
    files.remove(uploaded)
    with pytest.raises(ArtifactNotFound):
        files.open_reader(uploaded)
    with pytest.raises(ArtifactNotFound):
        files.remove(uploaded)


def test_what_is_cut_short_leaves_the_old_file(files: ArtifactFiles, tmp_path: Path) -> None:
    class Broken(BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError("no more")

    shown = DashboardArtifact(UID, "study", "runs.csv")
    files.write(shown.id, BytesIO(b"old"))
    with pytest.raises(OSError, match="no more"):
        files.write(shown.id, Broken())
    with files.open_reader(shown.id) as file:
        assert file.read() == b"old"
    assert len(list((tmp_path / "artifacts" / UID / "dashboard").iterdir())) == 1


def test_uploads_to_foreign_studies_have_a_place_of_their_own(
    files: ArtifactFiles, tmp_path: Path
) -> None:
    uploaded = "12345678-1234-1234-1234-123456789abc"
    files.write(uploaded, BytesIO(b"theirs"))
    assert (tmp_path / "artifacts" / "uploaded" / uploaded).read_bytes() == b"theirs"


@pytest.mark.parametrize(
    "evil",
    [
        *("../secret", "../../secret", "/etc/passwd", f"{UID}-../../../secret", "", ".", UID),
        *(f"{UID}-0123456789abcdef/../../../../secret", f"{UID.upper()}-0123456789abcdef"),
        f"{UID}-0123456789abcdef\n",
    ],
)
def test_no_id_leads_out_of_the_folder(files: ArtifactFiles, evil: str) -> None:
    assert files.path(evil) is None
    with pytest.raises(ArtifactNotFound):
        files.open_reader(evil)
    with pytest.raises(ArtifactNotFound):
        files.remove(evil)
    with pytest.raises(ValueError, match="not an id"):
        files.write(evil, BytesIO(b"x"))

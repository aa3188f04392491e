"""Studies copied between databases of all kinds: the same content, whole or not at all."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from mnist_tune.errors import StorageError
from mnist_tune.storage import whole_studies
from mnist_tune.storage.artifacts import read_note, write_note
from mnist_tune.storage.database import open_database
from mnist_tune.storage.lease import Lease
from mnist_tune.storage.location import Location
from mnist_tune.storage.optuna_adapter import load_study
from mnist_tune.storage.overview import studies_overview
from mnist_tune.storage.records import AnalysisRow
from mnist_tune.storage.store import Store
from mnist_tune.storage.whole_studies import Content, canonical, copy_study, read_content
from tests.postgresql import Server
from tests.storage.storage_samples import raw
from tests.storage.study_samples import make_study, uid_of


@pytest.fixture(params=["sqlite", "postgresql"])
def target(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Location:
    if request.param == "sqlite":
        return Location.parse(tmp_path / "elsewhere" / "trials.db")
    monkeypatch.chdir(tmp_path)
    server: Server = request.getfixturevalue("postgresql")
    return Location.parse(server.database())


@pytest.fixture
def source(location: Location) -> Location:
    """A database with two studies and an older one before them, so that ids differ."""
    with open_database(location, create=True) as database:
        for name in ("first", "a"):
            make_study(database, name)
        study = load_study(database, name="a", uid=uid_of("a"))
        write_note(study, "of the study " * 300)
        write_note(study, "of its trial", 1)
    folder = location.artifacts / uid_of("a") / "confirmation-1"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "seed-7.ckpt").write_bytes(b"weights")
    return location


def content(location: Location, name: str) -> dict[str, Counter[tuple[Any, ...]]]:
    with open_database(location, create=False) as database, database.reading() as connection:
        return canonical(read_content(connection, Store(database).study(name)))


def test_all_of_it_arrives_and_nothing_else(source: Location, target: Location) -> None:
    copied = copy_study(source, "a", target)
    counts = copied.overview.counts
    assert (counts.finished, counts.total) == (2, 3)
    assert content(target, "a") == content(source, "a")
    assert all(
        content(source, "a")[table] for table in ("trials", "trial_values", "mnist_tune_runs")
    )
    assert [study.name for study in studies_overview(target)] == ["a"]
    kept = target.artifacts / uid_of("a") / "confirmation-1" / "seed-7.ckpt"
    assert kept.read_bytes() == b"weights"
    assert copied.artifacts == sum(
        path.is_file() for path in (target.artifacts / uid_of("a")).rglob("*")
    )
    assert [path for path in target.artifacts.iterdir() if path.suffix] == []
    assert not kept.parent.with_name("dashboard").exists()  # pictures that are drawn again


def test_a_copy_is_a_study_that_goes_on(source: Location, target: Location) -> None:
    copy_study(source, "first", target)
    copy_study(source, "a", target)
    with open_database(target, create=False) as database:
        study = load_study(database, name="a", uid=uid_of("a"))
        assert read_note(study) == "of the study " * 300
        ((own,),) = raw(
            target,
            "SELECT trial_id FROM trials JOIN studies USING (study_id) WHERE number = 1 AND study_name = 'a'",
        )
        notes = "SELECT value_json FROM study_system_attributes WHERE key = "
        assert raw(target, f"{notes}'dashboard:{own}:note_str:0'") == [('"of its trial"',)]
        assert study.requeue_running() == [2]
        assert study.ask().number == 2


def test_there_and_back_again(source: Location, target: Location, tmp_path: Path) -> None:
    copy_study(source, "a", target)
    home = Location.parse(tmp_path / "home" / "trials.db")
    copy_study(target, "a", home)
    assert content(home, "a") == content(source, "a")
    with open_database(home, create=False) as database, open_database(source, create=False) as old:
        assert Store(database).study("a") == Store(old).study("a")
        assert Store(database).rows(AnalysisRow) == Store(old).analyses_of(Store(old).study("a"))


def test_what_is_there_is_not_overwritten(source: Location, target: Location) -> None:
    copy_study(source, "a", target)
    before = content(target, "a")
    with pytest.raises(StorageError, match="holds a study a already"):
        copy_study(source, "a", target)
    with pytest.raises(StorageError, match="both --from and --to"):
        copy_study(source, "a", source)
    with pytest.raises(StorageError, match="no study 'b'"):
        copy_study(source, "b", target)
    assert content(target, "a") == before
    assert (target.artifacts / uid_of("a") / "confirmation-1" / "seed-7.ckpt").is_file()


def test_one_that_is_worked_on_in_the_target_is_refused(source: Location, target: Location) -> None:
    open_database(target, create=True).close()
    with Lease(target, "a"), pytest.raises(StorageError, match="is being worked on"):
        copy_study(source, "a", target)


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt, sqlalchemy.exc.OperationalError("", {}, OSError())]
)
def test_what_fails_leaves_nothing(
    source: Location,
    target: Location,
    error: BaseException,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(whole_studies, "canonical", fail)
        with pytest.raises((KeyboardInterrupt, StorageError, sqlalchemy.exc.OperationalError)):
            copy_study(source, "a", target)
    assert studies_overview(target) == ()
    assert not target.artifacts.exists()
    copy_study(source, "a", target)


def test_rows_that_come_back_otherwise_are_not_believed(
    source: Location, target: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert = whole_studies.write_content

    def lossy(connection: sqlalchemy.Connection, content: Content) -> None:
        insert(connection, content)
        connection.exec_driver_sql("UPDATE trial_values SET value = 0.5")

    monkeypatch.setattr(whole_studies, "write_content", lossy)
    with pytest.raises(StorageError, match="gave back other rows"):
        copy_study(source, "a", target)
    assert studies_overview(target) == ()


def test_what_a_killed_copy_left_is_no_obstacle(source: Location, target: Location) -> None:
    left = target.artifacts / uid_of("a")
    left.mkdir(parents=True)
    (left / "half").touch()
    with pytest.raises(StorageError, match="another copy of a, with artifacts"):
        copy_study(source, "a", target)
    left.with_name(f"{left.name}.partial").touch()
    copy_study(source, "a", target)
    assert not (left / "half").exists()

"""Faults of a storage: found, told, and mended where that can do no harm."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mnist_tune.errors import StorageError
from mnist_tune.storage.database import Database
from mnist_tune.storage.health import faults, repair
from mnist_tune.storage.lease import Lease
from mnist_tune.storage.location import Location
from mnist_tune.storage.store import Store
from tests.storage.storage_samples import UID, run_row, sqlite_only, study_row, trial_row


@pytest.fixture
def kept(database: Database, location: Location) -> Location:
    """A study with trial 0 finished, trial 2 failed, and checkpoints of trials 0 to 2 and of a confirmation."""
    store = Store(database)
    store.add_study(study_row())
    store.write_trial(trial_row(), [run_row(seed=0), run_row(seed=1)], [], None)
    store.write_trial(trial_row(2, state="failed", reason="hung", objective=None), [], [], None)
    for name in (
        "trial-0-seed-0.ckpt",
        "trial-0-seed-1.ckpt.partial",
        "trial-1-seed-0.ckpt",
        "trial-2-seed-0.ckpt",
        "confirmation-1-trial-0-seed-0.ckpt",
        "notes.txt",
    ):
        file = location.checkpoints / UID / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    database.close()
    return location


def checkpoints(location: Location) -> list[str]:
    return sorted(path.name for path in (location.checkpoints / UID).iterdir())


def damage_an_index(path: Path) -> None:
    """Add a row that an index does not know, as a failing disk may leave it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE INDEX labels ON mnist_tune_trials (label)")
        connection.execute("PRAGMA writable_schema=ON")
        row = connection.execute("SELECT * FROM sqlite_master WHERE name = 'labels'").fetchone()
        connection.execute("DELETE FROM sqlite_master WHERE name = 'labels'")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE mnist_tune_trials SET label = 'another'")
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", row)


def test_a_sound_storage_has_no_faults(location: Location, store: Store) -> None:
    store.add_study(study_row())
    store.write_trial(trial_row(3, state="pruned"), [run_row(3)], [], None)
    unmade = trial_row(4, state="pruned", network={}, recipe={}, label="", objective=None)
    store.write_trial(unmade, [], [], None)
    assert faults(location) == ()
    assert repair(location) == ()


def test_nothing_stored_is_no_fault(tmp_path: Path) -> None:
    missing = Location.parse(tmp_path / "none" / "trials.db")
    assert (faults(missing), repair(missing)) == ((), ())
    assert not missing.folder.exists()


@sqlite_only
def test_checkpoints_of_finished_trials_are_told_and_removed(kept: Location) -> None:
    (fault,) = faults(kept)
    assert fault.what.startswith("2 checkpoints of finished trials")
    assert fault.repairable
    assert len(checkpoints(kept)) == 6  # looking changes nothing
    assert len(repair(kept)) == 2
    # What a study may still go on from stays, and what is not ours.
    assert checkpoints(kept) == [
        "confirmation-1-trial-0-seed-0.ckpt",
        "notes.txt",
        "trial-1-seed-0.ckpt",
        "trial-2-seed-0.ckpt",
    ]
    assert faults(kept) == ()


@sqlite_only
def test_nothing_is_removed_while_the_study_is_worked_on(kept: Location) -> None:
    with Lease(kept, "l2_factor"), pytest.raises(StorageError, match="is being worked on by"):
        repair(kept)
    assert len(checkpoints(kept)) == 6


@sqlite_only
def test_folders_of_unknown_studies_are_told_and_left(location: Location, store: Store) -> None:
    store.add_study(study_row())
    other = location.artifacts / ("f" * 32)
    other.mkdir(parents=True)
    (location.artifacts / "my figures").mkdir()  # named by a person
    (fault,) = faults(location)
    assert str(other) in fault.what
    assert not fault.repairable
    assert repair(location) == ()
    assert other.is_dir()


@sqlite_only
def test_an_index_is_made_anew_after_a_copy(kept: Location) -> None:
    assert kept.path is not None
    damage_an_index(kept.path)
    assert any("an index does not fit its table" in fault.what for fault in faults(kept))
    first, *_ = repair(kept)
    assert first.startswith("rebuilt the indexes of")
    assert faults(kept) == ()
    with closing(sqlite3.connect(f"{kept.path}.before-repair")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() != ("ok",)
        rows = connection.execute("SELECT label FROM mnist_tune_trials NOT INDEXED")
        assert rows.fetchall() == [("another",)] * 2


@sqlite_only
def test_damaged_pages_are_told_and_left_alone(kept: Location) -> None:
    assert kept.path is not None
    content = bytearray(kept.path.read_bytes())
    page = int.from_bytes(content[16:18], "big")
    # The second half of all pages but the first, where their cells are.
    for start in range(page, len(content), page):
        content[start + page // 2 : start + page] = bytes(page // 2)
    kept.path.write_bytes(content)
    try:
        told = [fault.what for fault in faults(kept)]
    except StorageError as error:  # so damaged that not even names can be read
        told = [str(error)]
    assert any("is damaged" in line for line in told)
    with pytest.raises(StorageError, match="damaged"):
        repair(kept)
    assert kept.path.read_bytes() == bytes(content)

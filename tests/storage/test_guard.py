"""Files that go, come back as others or are damaged while somebody works in them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mnist_tune.errors import StorageError
from mnist_tune.storage.database import Database, open_database
from mnist_tune.storage.location import Location
from mnist_tune.storage.sqlite_files import FileGuard
from mnist_tune.storage.store import Store
from tests.storage.storage_samples import study_row


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "storage" / "trials.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    with open_database(Location.parse(path), create=True) as database:
        yield database


@pytest.fixture
def guard(database: Database) -> Iterator[FileGuard]:
    guard = FileGuard(database.location)
    yield guard
    guard.close()


def log(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink()


def replace(path: Path) -> None:
    remove(path)
    with open_database(Location.parse(path), create=True):
        pass


def remove_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


def move(path: Path) -> None:
    path.rename(path.with_name("elsewhere.db"))


def remove_log(path: Path) -> None:
    log(path).unlink()


def test_all_is_well_however_much_is_written(database: Database, guard: FileGuard) -> None:
    store = Store(database)
    store.add_study(study_row())
    for count in range(1, 30):
        store.change_study(study_row().uid, planned_trials=count)
        guard.check()
    with database.reading() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    guard.check()


@pytest.mark.parametrize("mishap", [remove, replace, remove_folder, move, remove_log])
def test_everything_is_rescued(
    database: Database, guard: FileGuard, path: Path, mishap: object
) -> None:
    assert callable(mishap)
    store = Store(database)
    store.add_study(study_row())
    mishap(path)
    store.change_study(study_row().uid, planned_trials=77)  # SQLite says nothing

    with pytest.raises(StorageError) as caught:
        guard.check()
    rescued = path.with_name("trials.db.rescued")
    assert str(caught.value).startswith(f"{path} was deleted, moved or replaced under way; ")
    assert f"is in {rescued}: " in str(caught.value)
    with open_database(Location.parse(rescued), create=False, read_only=True) as again:
        assert Store(again).study("l2_factor").planned_trials == 77
    guard.check()  # it has nothing to guard any more


def test_an_earlier_rescue_stays(guard: FileGuard, path: Path) -> None:
    earlier = path.with_name("trials.db.rescued")
    earlier.write_text("mine", encoding="utf-8")
    remove(path)
    with pytest.raises(StorageError, match=r"trials\.db\.rescued-2: "):
        guard.check()
    assert earlier.read_text(encoding="utf-8") == "mine"


def test_where_nothing_can_be_rescued_the_disk_is_blamed(guard: FileGuard, path: Path) -> None:
    remove_folder(path)
    path.parent.write_text("in the way", encoding="utf-8")
    with pytest.raises(StorageError) as caught:
        guard.check()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_damaged_file_is_refused_before_anything_is_written(path: Path) -> None:
    with open_database(Location.parse(path), create=True) as database:
        Store(database).add_study(study_row())
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + b"\xaa" * 8192 + content[middle + 8192 :])
    with pytest.raises(StorageError, match="is damaged: restore it from a backup"):
        FileGuard(Location.parse(path))


def test_a_server_guards_itself() -> None:
    guard = FileGuard(Location.parse("postgresql://nobody@nowhere/x"))
    guard.check()
    guard.close()

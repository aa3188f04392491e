"""Databases of older versions, as those wrote them, under this one."""

from __future__ import annotations

import logging
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mnist_tune.errors import StorageError
from mnist_tune.storage import notices, upgrades
from mnist_tune.storage.copies import copy_database
from mnist_tune.storage.database import open_database
from mnist_tune.storage.identity import SCHEMA_VERSION
from mnist_tune.storage.location import Location
from mnist_tune.storage.store import Store
from tests.storage.storage_samples import raw, receive, send, start_python

DATABASES = Path(__file__).parent / "databases"
VERSIONS = "SELECT version FROM mnist_tune_schema"
KEPT = "mnist_tune.db.schema-1.backup"


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Location:
    """A database of schema 1, with a study that is finished and confirmed."""
    monkeypatch.setattr(notices, "_said", set())
    path = tmp_path / "mnist_tune.db"
    shutil.copyfile(DATABASES / "schema-1.db", path)
    return Location.parse(path)


def content(path: Path) -> list[str]:
    """All that a database holds, as SQL."""
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def backups(location: Location) -> set[str]:
    return {path.name for path in location.folder.iterdir() if "backup" in path.name}


@pytest.mark.parametrize("options", [{"create": True}, {"create": False}, {"read_only": True}])
def test_adds_what_is_missing_and_keeps_what_is_there(
    old: Location, options: dict[str, bool]
) -> None:
    for _ in range(2):
        with open_database(old, **{"create": False, **options}) as database:
            store = Store(database)
            study = store.study("l2_factor-quick")
            assert len(store.trials(study.uid)) == 5
            assert store.runs(study.uid)[-1].val_accuracy == 0.89875
            assert all(run.val_mse is None for run in store.runs(study.uid))
            assert len(store.epochs(study.uid)) == 30
            assert [row.state for row in store.confirmations(study.uid)] == ["complete"]
            assert len(store.predictions(study.uid, 1)) == 3
            assert store.analyses() == ()
    assert raw(old, VERSIONS) == [(1,), (SCHEMA_VERSION,)]
    assert backups(old) == {KEPT}


def test_a_copy_of_what_was_there_is_made_first(old: Location) -> None:
    before = content(DATABASES / "schema-1.db")
    open_database(old, create=False).close()
    assert content(old.folder / KEPT) == before


def test_an_earlier_copy_stays(old: Location) -> None:
    (old.folder / KEPT).write_text("an earlier one")
    open_database(old, create=False).close()
    assert (old.folder / KEPT).read_text() == "an earlier one"
    assert content(old.folder / f"{KEPT}-2") == content(DATABASES / "schema-1.db")


def test_says_so_in_one_line_once(old: Location, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "mnist_tune"):
        for _ in range(2):
            open_database(old, create=False, read_only=True).close()
    (record,) = caplog.records
    line = record.getMessage()
    assert line.isprintable()
    assert f"upgraded from schema 1 to {SCHEMA_VERSION}" in line
    assert line.endswith(str(old.folder / KEPT))


def test_an_upgrade_that_fails_leaves_all_as_it_was(old: Location) -> None:
    assert old.path is not None
    with closing(sqlite3.connect(old.path)) as connection:  # in the way
        connection.execute("CREATE VIEW mnist_tune_references AS SELECT 1 AS one")
    before = content(old.path)
    with pytest.raises(StorageError, match="Cannot add a column to a view"):
        open_database(old, create=False)
    assert content(old.path) == before
    assert backups(old) == set()


def test_no_copy_no_upgrade(old: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mnist_tune.storage.upgrades.copy_database", full)
    with pytest.raises(StorageError, match="the disk is full"):
        open_database(old, create=False)
    assert raw(old, VERSIONS) == [(1,)]


def test_a_read_only_file_says_so(old: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_location: Location) -> None:
        raise StorageError("read-only")

    monkeypatch.setattr("mnist_tune.storage.files.refuse_read_only", refuse)
    with pytest.raises(StorageError, match="read-only"):
        open_database(old, create=False, read_only=True)


def test_two_processes_at_once_make_one_copy(old: Location) -> None:
    code = """
import sys
from mnist_tune.storage.database import open_database
from mnist_tune.storage.location import Location
print("ready", flush=True)
sys.stdin.readline()
open_database(Location.parse(sys.argv[1]), create=False).close()
"""
    said = []
    with start_python(code, old.path) as one, start_python(code, old.path) as two:
        for process in (one, two):
            assert receive(process) == "ready"
        for process in (one, two):
            send(process)
        for process in (one, two):
            out, err = process.communicate(timeout=60)
            assert (process.returncode, out) == (0, "")
            said.append(err)
    assert backups(old) == {KEPT}
    assert raw(old, VERSIONS) == [(1,), (SCHEMA_VERSION,)]
    assert sorted(line.count("\n") for line in said) == [0, 1]


def test_no_writer_comes_between_copy_and_upgrade(
    old: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copy_and_write(source: Path, target: Path) -> None:
        copy_database(source, target)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            raw(source, "DELETE FROM mnist_tune_trials")

    monkeypatch.setattr(upgrades, "copy_database", copy_and_write)
    open_database(old, create=False).close()
    assert raw(old, VERSIONS) == [(1,), (SCHEMA_VERSION,)]

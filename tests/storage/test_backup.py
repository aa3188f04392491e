"""One study as a database of its own: complete, alone, and whole or not at all."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from sqlalchemy import Connection

from mnist_tune.errors import StorageError
from mnist_tune.storage import whole_studies
from mnist_tune.storage.database import open_database
from mnist_tune.storage.location import Location
from mnist_tune.storage.overview import studies_overview
from mnist_tune.storage.store import Store
from mnist_tune.storage.whole_studies import Content, back_up, canonical, read_content
from tests.storage.storage_samples import kill, raw, receive, start_python
from tests.storage.study_samples import (
    content,
    files_below,
    make_analysis,
    make_study,
    orphans,
    uid_of,
)

# Trials with two runs each, one after the other, as fast as they go.
COORDINATOR = """
import sys
from mnist_tune.storage.database import open_database
from mnist_tune.storage.lease import Lease
from mnist_tune.storage.location import Location
from mnist_tune.storage.optuna_adapter import load_study
from mnist_tune.storage.store import Store
from tests.storage.storage_samples import epoch_row, run_row, timing_row, trial_row
location, uid = Location.parse(sys.argv[1]), sys.argv[2]
with open_database(location, create=True) as database, Lease(location, "a"):
    study, store = load_study(database, name="a", uid=uid), Store(database)
    print("ready", flush=True)
    while True:
        trial = study.ask()
        trial.suggest_float("l2", 0, 1)
        own = {"study_uid": uid}
        store.write_trial(
            trial_row(trial.number, **own),
            [run_row(trial.number, seed, **own) for seed in (0, 1)],
            [epoch_row(trial.number, seed, **own) for seed in (0, 1)],
            timing_row(trial.number, **own),
        )
        study.tell(trial, 0.5)
"""

# A backup that waits where it is told to.
STOPPED = """
import sys, time
from mnist_tune.storage import sqlite_files, whole_studies
from mnist_tune.storage.location import Location
name = sys.argv[3]
module = sqlite_files if hasattr(sqlite_files, name) else whole_studies
original = getattr(module, name)
def stop(*arguments):
    if sys.argv[4] == "after":
        original(*arguments)
    print("stopped", flush=True)
    time.sleep(60)
setattr(module, name, stop)
whole_studies.back_up(Location.parse(sys.argv[1]), "a", Location.parse(sys.argv[2]))
"""


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Location]:
    """A storage with two studies, and a database that stays open as a coordinator's would."""
    location = Location.parse(tmp_path / "storage" / "mnist_tune.db")
    with open_database(location, create=True) as database:
        for name in "ab":
            make_study(database, name)
        make_analysis(database, "of a", "a")
        make_analysis(database, "of both", "b", "a")
        make_analysis(database, "of b", "b")
        yield location


@pytest.fixture
def target(tmp_path: Path) -> Location:
    return Location.parse(tmp_path / "kept" / "a.db")


def rows_of(location: Location) -> dict[str, Counter[tuple[Any, ...]]]:
    """All rows of study a, whatever ids the database has given."""
    with (
        open_database(location, create=False, read_only=True) as database,
        database.reading() as connection,
    ):
        return canonical(read_content(connection, Store(database).study("a")))


def assert_whole(source: Location, target: Location) -> None:
    """The copy holds all of study a, and nothing else."""
    expected, found = rows_of(source), content(target.path)
    assert all(expected[table] for table in ("mnist_tune_epochs", "trials", "trial_params"))
    assert rows_of(target) == expected
    assert {table: len(found.pop(table)) for table in expected} == {
        table: rows.total() for table, rows in expected.items()
    }
    others = content(source.path)
    for table in ("mnist_tune_analyses", "mnist_tune_pictures"):
        kept = [row for row in others[table] if row[0] in ("of a", "of both")]
        assert found.pop(table) == kept
    assert found == {table: others[table] for table in found}
    assert orphans(target.path) == []
    assert raw(target, "PRAGMA integrity_check") == [("ok",)]
    folder = target.folder
    assert {p.name for p in folder.iterdir()} == {"a.db", "artifacts"}
    assert files_below(target.artifacts) == {
        name: text
        for name, text in files_below(source.artifacts).items()
        if name.startswith(uid_of("a")) and not name.endswith((".partial", ".ended"))
    }


def test_all_of_one_study_and_nothing_else(source: Location, target: Location) -> None:
    before = content(source.path), files_below(source.artifacts)
    made = back_up(source, "a", target)
    assert (made.overview.name, made.overview.counts.finished, made.artifacts) == ("a", 2, 2)
    assert_whole(source, target)
    assert (content(source.path), files_below(source.artifacts)) == before


def test_is_a_storage_for_us_and_for_optuna(source: Location, target: Location) -> None:
    back_up(source, "a", target)
    with open_database(target, create=False) as database:
        assert [study.name for study in Store(database).studies()] == ["a"]
    study = optuna.load_study(study_name="a", storage=f"sqlite:///{target.path}")
    assert study.best_value == 0.9
    (overview,) = studies_overview(target)
    assert overview.confirmed == 1


def test_a_study_that_has_only_begun(source: Location, target: Location) -> None:
    shutil.rmtree(source.artifacts / uid_of("a"))
    assert back_up(source, "a", target).artifacts == 0
    assert {p.name for p in target.folder.iterdir()} == {"a.db"}


def _copied_meanwhile(
    coordinator: subprocess.Popen[str], source: Location, tmp_path: Path
) -> list[int]:
    """Copy a study until it has grown; the number of trials in each copy."""
    assert receive(coordinator) == "ready"
    trials: list[int] = []
    deadline = time.monotonic() + 60
    while len(trials) < 4 or trials[0] == trials[-1]:
        assert time.monotonic() < deadline, "nothing was written meanwhile"
        target = Location.parse(tmp_path / str(len(trials)) / "a.db")
        back_up(source, "a", target)
        rows = content(target.path)
        runs = [row[2] for row in rows["mnist_tune_runs"] if row[1] == 0 and row[2] > 1]
        assert len(runs) == 2 * len(set(runs))  # no trial without its second run
        complete = raw(target, "SELECT COUNT(*) FROM trials WHERE state = 'COMPLETE'")
        assert 0 <= len(rows["mnist_tune_trials"]) - complete[0][0] <= 1
        assert orphans(target.path) == []
        trials.append(len(rows["mnist_tune_trials"]))
    assert coordinator.poll() is None
    return trials


def test_one_state_of_a_study_that_is_running(source: Location, tmp_path: Path) -> None:
    coordinator = start_python(COORDINATOR, source.path, uid_of("a"))
    try:
        trials = _copied_meanwhile(coordinator, source, tmp_path)
    finally:
        kill(coordinator)
    assert sorted(trials) == trials


@pytest.mark.parametrize(
    ("function", "when"),
    [
        ("_artifacts", "before"),
        ("sync", "before"),
        ("_write_file", "before"),
        ("write_content", "before"),
        ("write_content", "after"),
        ("give_name", "before"),
    ],
)
def test_what_kill_9_leaves_the_same_command_finishes(
    source: Location, target: Location, function: str, when: str
) -> None:
    killed = start_python(STOPPED, source.path, target.path, function, when)
    assert receive(killed) == "stopped"
    kill(killed)
    assert target.path is not None
    assert not target.path.exists()
    back_up(source, "a", target)
    shutil.rmtree(target.locks, ignore_errors=True)
    assert_whole(source, target)


def test_killed_when_all_is_done(source: Location, target: Location) -> None:
    killed = start_python(STOPPED, source.path, target.path, "give_name", "after")
    assert receive(killed) == "stopped"
    kill(killed)
    with pytest.raises(StorageError, match="exists"):
        back_up(source, "a", target)
    (target.artifacts / f"{uid_of('a')}.partial").unlink()
    shutil.rmtree(target.locks)
    assert_whole(source, target)


@pytest.mark.parametrize(
    "function", ["shutil.copytree", "mnist_tune.storage.sqlite_files.give_name"]
)
def test_a_full_disk_leaves_nothing(
    source: Location, target: Location, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(function, full)
        with pytest.raises(StorageError, match=r"kept/a\.db: the disk is full"):
            back_up(source, "a", target)
    assert files_below(target.folder) == {}
    back_up(source, "a", target)
    assert_whole(source, target)


def test_a_file_that_exists_is_refused(source: Location, target: Location) -> None:
    assert target.path is not None
    target.folder.mkdir()
    target.path.write_text("mine")
    with pytest.raises(StorageError, match=r"a\.db exists"):
        back_up(source, "a", target)
    assert files_below(target.folder) == {"a.db": "mine"}


def test_two_copies_of_a_study_share_no_folder(source: Location, target: Location) -> None:
    back_up(source, "a", target)
    before = files_below(target.artifacts)
    with pytest.raises(
        StorageError, match=r"another copy of a, with artifacts in .*: give a file in a folder"
    ):
        back_up(source, "a", Location.parse(target.folder / "again.db"))
    with pytest.raises(StorageError, match="would share its artifacts"):
        back_up(source, "a", Location.parse(source.folder / "a.db"))
    assert files_below(target.artifacts) == before
    back_up(source, "b", Location.parse(target.folder / "b.db"))
    assert files_below(target.artifacts).items() > before.items()


def test_a_second_backup_to_the_same_file_at_the_same_time(
    source: Location, target: Location
) -> None:
    first = start_python(STOPPED, source.path, target.path, "write_content", "before")
    assert receive(first) == "stopped"
    with pytest.raises(StorageError, match=rf"being worked on by process {first.pid} "):
        back_up(source, "a", target)
    kill(first)


def test_a_file_that_comes_into_being_meanwhile(
    source: Location, target: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert target.path is not None
    path = target.path
    written = whole_studies.write_content

    def meanwhile(connection: Connection, rows: Content) -> None:
        written(connection, rows)
        path.write_text("mine")

    monkeypatch.setattr(whole_studies, "write_content", meanwhile)
    with pytest.raises(StorageError, match="come into being"):
        back_up(source, "a", target)
    assert files_below(target.folder) == {"a.db": "mine"}


def test_a_backup_is_a_file(source: Location) -> None:
    server = Location.parse("postgresql://me:s3cret@host/trials")
    with pytest.raises(StorageError, match="is a server: a backup is a file") as caught:
        back_up(source, "a", server)
    assert "s3cret" not in str(caught.value)


def test_a_damaged_source_is_named(tmp_path: Path, target: Location) -> None:
    location = Location.parse(tmp_path / "storage" / "mnist_tune.db")
    with open_database(location, create=True) as database:
        make_study(database, "a")
    assert location.path is not None
    whole = bytearray(location.path.read_bytes())
    for start in range(4096 * 8, len(whole) - 4096, 4096):
        whole[start : start + 4096] = b"\xaa" * 4096
    location.path.write_bytes(whole)
    with pytest.raises(StorageError, match=r"mnist_tune\.db is damaged"):
        back_up(location, "a", target)
    assert files_below(target.folder) == {}

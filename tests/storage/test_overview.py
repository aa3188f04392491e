from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy import Connection

from mnist_tune.errors import StorageError
from mnist_tune.metrics import Direction
from mnist_tune.storage.database import Database, open_database
from mnist_tune.storage.lease import Lease
from mnist_tune.storage.location import Location
from mnist_tune.storage.optuna_adapter import create_study
from mnist_tune.storage.overview import StudyOverview, studies_overview, trial_counts
from mnist_tune.storage.records import TrialCounts
from mnist_tune.storage.store import Store
from tests.storage.storage_samples import (
    UID,
    python,
    run_row,
    sqlite_only,
    start_python,
    study_row,
    timing_row,
    trial_row,
)


def fill(database: Database, direction: Direction = "maximize", **changes: Any) -> None:
    """Five trials in five states, the third of them the best but pruned."""
    store = Store(database)
    store.add_study(study_row(**changes))
    study = create_study(database, name="l2_factor", uid=UID, direction=direction)
    values = [
        (0.5, "complete"),
        (0.9, "complete"),
        (0.95, "pruned"),
        (None, "failed"),
        (0.9, "complete"),
    ]
    for number, (value, state) in enumerate(values):
        trial = study.ask()
        store.write_trial(
            trial_row(
                number,
                state=state,
                objective=value,
                reason="diverged" if state == "failed" else None,
                params={"l2": number},
            ),
            [],
            [],
            timing_row(number, finished_at=f"2026-11-23T10:00:0{number}.000000Z"),
        )
        if state == "complete":
            study.tell(trial, value)
        else:
            study.tell(trial, state=TrialState.FAIL if state == "failed" else TrialState.PRUNED)
    study.study.enqueue_trial({})
    study.study.enqueue_trial({})
    study.ask()


EXPECTED = StudyOverview(
    study=study_row(),
    counts=TrialCounts(complete=3, pruned=1, failed=1, running=1, waiting=1),
    failures={"diverged": 1},
    best=trial_row(1, objective=0.9, params={"l2": 1}),
    confirmed=0,
    finished_at="2026-11-23T10:00:04.000000Z",
    holder=None,
)


def listing(location: Location) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in location.folder.iterdir()}


def test_tells_everything(database: Database, location: Location) -> None:
    fill(database)
    assert studies_overview(location) == (EXPECTED,)


def test_best_of_a_minimized_study(database: Database, location: Location) -> None:
    fill(database, "minimize", metric="denoising_error")
    (overview,) = studies_overview(location)
    assert overview.best == trial_row(0, objective=0.5, params={"l2": 0})
    assert overview.study.metric == "denoising_error"


def test_confirmations_count_once_complete(database: Database, location: Location) -> None:
    fill(database)
    store = Store(database)
    store.start_confirmation(UID, trial_number=1, seeds=[7], train_size=1, test_size=1)
    assert studies_overview(location)[0].confirmed == 0
    store.write_confirmed_runs([run_row(1, 7, confirmation=1)], [], [], None)
    store.finish_confirmation(UID, 1)
    assert studies_overview(location)[0].confirmed == 1


def test_studies_do_not_mix(database: Database, location: Location) -> None:
    fill(database)
    Store(database).add_study(study_row(uid="v", name="later", created_at="2027"))
    first, second = studies_overview(location)
    assert first == EXPECTED
    assert (second.name, second.counts, second.best) == ("later", TrialCounts(), None)
    assert second.finished_at is None


def test_study_without_its_optuna_half(database: Database, location: Location) -> None:
    """What a crash leaves between our row and Optuna's."""
    Store(database).add_study(study_row())
    assert studies_overview(location)[0].counts == TrialCounts()


def test_tells_who_works_on_it(database: Database, location: Location) -> None:
    fill(database)
    with Lease(location, "l2_factor"):
        (overview,) = studies_overview(location)
    assert overview.holder is not None
    assert overview.holder.pid == os.getpid()


def test_sees_commits_but_waits_for_no_writer(database: Database, location: Location) -> None:
    fill(database)
    with database.transaction() as connection:
        connection.exec_driver_sql("UPDATE mnist_tune_studies SET planned_trials = 9")
        assert studies_overview(location) == (EXPECTED,)
    assert studies_overview(location) == (replace(EXPECTED, study=study_row(planned_trials=9)),)


def test_shows_one_moment(
    database: Database, location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(database)

    def commit_in_between(connection: Connection) -> dict[str, TrialCounts]:
        counts = trial_counts(connection)
        Store(database).change_study(UID, planned_trials=9)
        return counts

    monkeypatch.setattr("mnist_tune.storage.overview.trial_counts", commit_in_between)
    assert studies_overview(location) == (EXPECTED,)


@sqlite_only
def test_leaves_a_closed_database_as_it_is(location: Location) -> None:
    with open_database(location, create=True) as database:
        fill(database)
    before = listing(location)
    assert studies_overview(location) == (EXPECTED,)
    assert listing(location) == before
    assert "trials.db-wal" not in before


@sqlite_only
def test_reads_a_database_without_a_log(location: Location) -> None:
    """As `VACUUM INTO` and some backup programs write it."""
    with open_database(location, create=True) as database:
        fill(database)
    assert location.path is not None
    copy = location.path.with_name("copy.db")
    with closing(sqlite3.connect(location.path)) as connection:
        connection.execute("VACUUM INTO ?", (str(copy),))
    assert studies_overview(Location.parse(copy)) == (EXPECTED,)
    open_database(Location.parse(copy), create=True).close()


@sqlite_only
def test_sees_what_a_killed_writer_committed(location: Location) -> None:
    with open_database(location, create=True) as database:
        fill(database)
    code = """
import os, signal, sys
from mnist_tune.storage.database import open_database
from mnist_tune.storage.location import Location
database = open_database(Location.parse(sys.argv[1]), create=False)
with database.transaction() as connection:
    connection.exec_driver_sql("UPDATE mnist_tune_studies SET planned_trials = 9")
os.kill(os.getpid(), signal.SIGKILL)
"""
    with start_python(code, location.server or location.path) as writer:
        assert writer.wait(timeout=30) == -signal.SIGKILL
    assert listing(location)["trials.db-wal"]
    assert studies_overview(location) == (replace(EXPECTED, study=study_row(planned_trials=9)),)


@pytest.mark.parametrize("make", [lambda _: None, Path.touch], ids=["missing", "empty"])
def test_nothing_there_is_no_study(tmp_path: Path, make: object) -> None:
    path = tmp_path / "trials.db"
    make(path)  # type: ignore[operator]
    before = list(tmp_path.iterdir())
    assert studies_overview(Location.parse(path)) == ()
    assert list(tmp_path.iterdir()) == before


def test_foreign_and_broken_databases_are_refused(tmp_path: Path) -> None:
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/theirs.db")
    optuna.create_study(storage=storage)
    storage.engine.dispose()
    (tmp_path / "text.db").write_text("x" * 200)
    for name, words in (("theirs.db", "another tool"), ("text.db", "not an SQLite")):
        with pytest.raises(StorageError, match=words):
            studies_overview(Location.parse(tmp_path / name))


@sqlite_only
def test_damage_is_told(location: Location) -> None:
    with open_database(location, create=True) as database:
        fill(database)
    assert location.path is not None
    content = location.path.read_bytes()
    location.path.write_bytes(content[:4096] + b"\xaa" * (len(content) - 4096))
    with pytest.raises(StorageError, match=r"trials\.db is damaged"):
        studies_overview(location)


@sqlite_only
def test_needs_neither_optuna_nor_pandas(location: Location) -> None:
    with open_database(location, create=True) as database:
        fill(database)
    code = """
import sys
from mnist_tune.storage.location import Location
from mnist_tune.storage.overview import studies_overview
print(len(studies_overview(Location.parse(sys.argv[1]))))
slow = {"optuna", "numpy", "pandas", "filelock", "tensorflow", "alembic"}
print(slow & set(sys.modules))
"""
    assert python(code, location.server or location.path) == "1\nset()\n"


@sqlite_only
def test_copy_of_the_file_is_the_database(location: Location, tmp_path: Path) -> None:
    with open_database(location, create=True) as database:
        fill(database)
    assert location.path is not None
    shutil.copy(location.path, tmp_path / "copy.db")
    assert studies_overview(Location.parse(tmp_path / "copy.db")) == (EXPECTED,)

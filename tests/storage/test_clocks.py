"""Times in Optuna's tables that are not UTC are noticed, those that are raise no false alarm."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mnist_tune.storage import notices
from mnist_tune.storage.clocks import warning
from mnist_tune.storage.database import Database, open_database
from mnist_tune.storage.location import Location
from mnist_tune.storage.optuna_adapter import create_study, load_study, open_optuna
from mnist_tune.storage.records import utc_now
from mnist_tune.storage.store import Store
from tests.storage.storage_samples import UID, raw, sqlite_only, study_row, timing_row, trial_row


@pytest.fixture
def finished(database: Database) -> Database:
    """One finished trial, with Optuna's times and ours."""
    store = Store(database)
    store.add_study(study_row())
    study = create_study(database, name="l2_factor", uid=UID, direction="maximize")
    trial = study.ask()
    store.write_trial(trial_row(), [], [], timing_row(finished_at=utc_now()))
    study.tell(trial, 0.5)
    return database


def change(database: Database, statement: str) -> None:
    assert database.location.path is not None
    with closing(sqlite3.connect(database.location.path)) as connection, connection:
        connection.execute(statement)


def shift(database: Database, by: str) -> str | None:
    """What is said when Optuna's clock differs by so much."""
    change(
        database,
        f"UPDATE trials SET datetime_complete = strftime('%Y-%m-%d %H:%M:%f', datetime_complete, '{by}')",
    )
    return warning(database.rows, database.location)


def test_optuna_writes_utc_and_nothing_is_said(finished: Database) -> None:
    assert warning(finished.rows, finished.location) is None


@pytest.mark.parametrize(
    ("by", "words"),
    [("+2 hours", "+2 h"), ("-5 hours", "-5 h"), ("+345 minutes", "+5.75 h")],
)
@sqlite_only
def test_a_shift_by_a_time_zone(finished: Database, by: str, words: str) -> None:
    line = shift(finished, by)
    assert line is not None
    assert line.isprintable()
    assert f"are {words} from UTC" in line


@pytest.mark.parametrize("by", ["+20 seconds", "+7 minutes", "+20 minutes", "+3 days"])
@sqlite_only
def test_a_coordinator_that_slept_is_not_a_time_zone(finished: Database, by: str) -> None:
    assert shift(finished, by) is None


@sqlite_only
def test_a_database_that_optuna_4_made(finished: Database) -> None:
    change(finished, "UPDATE version_info SET library_version = '4.9.0'")
    line = warning(finished.rows, finished.location)
    assert line is not None
    assert line.isprintable()
    assert "Optuna 4.9.0" in line


@sqlite_only
def test_a_coordinator_is_told_in_one_line_once(
    finished: Database, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "_said", set())
    shift(finished, "+1 hour")
    with caplog.at_level(logging.WARNING, "mnist_tune"):
        for _ in range(2):
            load_study(finished, name="l2_factor", uid=UID)
    (record,) = caplog.records
    assert record.getMessage().startswith("WARNING: ")


def test_what_optuna_is_installed_here_writes_utc(tmp_path: Path) -> None:
    """The premise: tell a later Optuna that changes its mind."""
    location = Location.parse(tmp_path / "trials.db")
    with open_database(location, create=True) as database:
        open_optuna(database)
    ((version,),) = raw(location, "SELECT library_version FROM version_info")
    assert int(version.partition(".")[0]) >= 5

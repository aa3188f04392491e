from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Engine

from mnist_tune.errors import StorageError
from mnist_tune.storage.database import Database, open_database
from mnist_tune.storage.location import Location
from mnist_tune.storage.optuna_adapter import (
    OptunaStudy,
    create_study,
    delete_study,
    load_study,
    open_optuna,
    requeue_failed,
)
from mnist_tune.storage.records import EpochRow, RunRow, TimingRow, TrialCounts, TrialRow
from mnist_tune.storage.store import Store
from tests.storage.storage_samples import (
    UID,
    epoch_row,
    kill,
    raw,
    receive,
    run_row,
    sqlite_only,
    start_python,
    study_row,
    timing_row,
    trial_row,
)

POINTS = [{"l2": 1e-6}, {"l2": 5e-4}, {"l2": 1e-3}]


class AlwaysPrune(optuna.pruners.BasePruner):
    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        return True


@pytest.fixture
def study(database: Database) -> OptunaStudy:
    return create_study(database, name="l2", uid="u", direction="maximize")


def reload(study: OptunaStudy) -> OptunaStudy:
    return load_study(study.database, name="l2", uid="u")


def seen_by_optuna(location: Location) -> optuna.Study:
    """The study as Optuna's own tools see it, through a URL and connections of their own."""
    url = location.url.render_as_string(hide_password=False)
    return optuna.load_study(study_name="l2", storage=url)


class TestStudies:
    def test_is_an_ordinary_optuna_study(self, study: OptunaStudy, location: Location) -> None:
        trial = study.ask()
        trial.suggest_float("l2", 0, 1)
        study.tell(trial, 0.5)
        theirs = seen_by_optuna(location)
        assert theirs.best_value == 0.5
        assert theirs.direction.name == "MAXIMIZE"

    @pytest.mark.parametrize("name", ["a b.db", "{x}.db", "100%41.db", "a?b=c#d.db", "é☃.db"])
    def test_any_path_and_any_name_will_do(self, tmp_path: Path, name: str) -> None:
        title = "a/b {c} %s ☃"
        with open_database(Location.parse(tmp_path / name), create=True) as database:
            create_study(database, name=title, uid="u", direction="minimize").ask()
        assert raw(tmp_path / name, "SELECT study_name FROM studies") == [(title,)]
        assert {p.name for p in tmp_path.iterdir()} == {name, "locks"}

    @sqlite_only
    def test_same_pragmas_as_ours(self, database: Database) -> None:
        expected = {
            "journal_mode": "wal",
            "synchronous": 2,
            "foreign_keys": 1,
            "busy_timeout": 30_000,
        }
        engine: Engine = open_optuna(database).engine
        with engine.connect() as connection:
            found = {p: connection.exec_driver_sql(f"PRAGMA {p}").scalar() for p in expected}
        assert found == expected

    @sqlite_only
    def test_optunas_transactions_are_transactions(
        self, study: OptunaStudy, location: Location
    ) -> None:
        assert location.path is not None
        engine: Engine = open_optuna(study.database).engine
        insert = "INSERT INTO studies (study_name) VALUES ('half')"
        with engine.connect() as connection:
            connection.exec_driver_sql(insert)
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                raw(location, insert.replace("half", "other"))
            connection.rollback()
        assert raw(location, "SELECT study_name FROM studies") == [("l2",)]

    def test_creation_that_was_cut_short_is_finished(self, database: Database) -> None:
        storage = open_optuna(database)
        optuna.create_study(storage=storage, study_name="l2", direction="maximize")
        for _ in range(2):
            create_study(database, name="l2", uid="u", direction="maximize")
        with pytest.raises(StorageError):
            create_study(database, name="l2", uid="other", direction="maximize")

    def test_foreign_study_of_that_name_is_left_alone(self, database: Database) -> None:
        storage = open_optuna(database)
        theirs = optuna.create_study(storage=storage, study_name="l2", direction="maximize")
        theirs.ask()
        attempts: list[Callable[[], OptunaStudy]] = [
            lambda: create_study(database, name="l2", uid="u", direction="maximize"),
            lambda: load_study(database, name="l2", uid="u"),
        ]
        for attempt in attempts:
            with pytest.raises(StorageError, match="another Optuna study called l2"):
                attempt()
        assert theirs.user_attrs == {}

    def test_another_direction_is_refused(self, study: OptunaStudy) -> None:
        with pytest.raises(StorageError, match="another"):
            create_study(study.database, name="l2", uid="u", direction="minimize")

    def test_study_that_is_gone(self, database: Database) -> None:
        with pytest.raises(StorageError, match=r"no longer in .*trials"):
            load_study(database, name="l2", uid="u")

    def test_other_version_of_optuna(self, study: OptunaStudy) -> None:
        with study.database.transaction() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'v2.6.0.a'")
        with pytest.raises(StorageError, match="optuna storage upgrade") as caught:
            reload(study)
        assert str(caught.value).isprintable()

    def test_deleting_leaves_nothing_of_it(self, study: OptunaStudy, location: Location) -> None:
        create_study(study.database, name="other", uid="v", direction="maximize").ask()
        trial = study.ask()
        trial.suggest_float("l2", 0, 1)
        study.report(trial, 0.5, 1)
        study.set_attributes(trial, {"a": 1})
        study.tell(trial, 0.5)
        delete_study(study.database, "l2", "u")
        delete_study(study.database, "l2", "u")
        assert raw(location, "SELECT study_name FROM studies") == [("other",)]
        for table in (
            "trial_params",
            "trial_values",
            "trial_user_attributes",
            "trial_intermediate_values",
        ):
            assert raw(location, f"SELECT COUNT(*) FROM {table}") == [(0,)]

    @sqlite_only
    def test_closing_the_database_closes_optunas_connections(self, location: Location) -> None:
        assert location.path is not None
        with open_database(location, create=True) as database:
            create_study(database, name="l2", uid="u", direction="maximize").ask()
            assert location.path.with_name("trials.db-wal").exists()
        assert not location.path.with_name("trials.db-wal").exists()

    def test_reads_a_read_only_database(self, study: OptunaStudy, location: Location) -> None:
        study.ask()
        study.database.close()
        with open_database(location, create=False, read_only=True) as database:
            readable = load_study(database, name="l2", uid="u")
            assert readable.counts() == TrialCounts(running=1)
            with pytest.raises(StorageError, match=r"cannot be written|read only"):
                readable.set_system_attributes({"a": 1})


class TestPlan:
    def test_points_become_trials_in_order(self, study: OptunaStudy) -> None:
        assert study.enqueue_plan(POINTS) == 3
        trials = [study.ask() for _ in range(3)]
        assert [trial.number for trial in trials] == [0, 1, 2]
        assert [trial.suggest_float("l2", 0, 1) for trial in trials] == [p["l2"] for p in POINTS]

    def test_is_queued_once(self, study: OptunaStudy) -> None:
        study.enqueue_plan(POINTS)
        study.ask()
        assert reload(study).enqueue_plan(POINTS) == 0
        assert study.counts() == TrialCounts(running=1, waiting=2)

    def test_is_finished_after_a_crash(self, study: OptunaStudy) -> None:
        study.enqueue_plan(POINTS[:1])
        assert reload(study).enqueue_plan(POINTS) == 2
        values = [study.ask().suggest_float("l2", 0, 1) for _ in range(3)]
        assert values == [point["l2"] for point in POINTS]

    def test_takes_numpy_values(self, study: OptunaStudy) -> None:
        study.enqueue_plan([{"l2": np.linspace(1e-6, 1e-3, 5)[1]}])
        assert study.ask().suggest_float("l2", 0, 1) == np.linspace(1e-6, 1e-3, 5)[1]


class TestTrials:
    def test_requeued_trial_is_the_same_and_comes_first(self, study: OptunaStudy) -> None:
        trial = study.ask()
        value = trial.suggest_float("l2", 0, 1)
        study.report(trial, 0.5, 1)
        study.enqueue_plan([{}, {"l2": 0.25}])
        assert reload(study).requeue_running() == [0]
        again = reload(study).ask()
        assert (again.number, again.params) == (0, {"l2": value})

    def test_all_running_trials_go_back_and_no_other(self, study: OptunaStudy) -> None:
        trials = [study.ask() for _ in range(5)]
        study.tell(trials[1], 1.0)
        study.tell(trials[3], state=TrialState.FAIL)
        assert study.requeue_running() == [0, 2, 4]
        assert study.requeue_running() == []
        assert study.counts() == TrialCounts(complete=1, failed=1, waiting=3)
        assert [study.ask().number for _ in range(4)] == [0, 2, 4, 5]

    def test_failed_trials_go_back_under_their_numbers(
        self, study: OptunaStudy, location: Location
    ) -> None:
        store = Store(study.database)
        store.add_study(study_row())
        trials = [study.ask() for _ in range(4)]
        drawn = [trial.suggest_float("l2", 0, 1) for trial in trials]
        study.report(trials[1], 0.25, 1)
        study.set_attributes(
            trials[1], {"network": "64", "failure": "worker_lost", "failure_message": "x"}
        )
        for number, state in enumerate(("complete", "failed", "failed", "pruned")):
            failed = state == "failed"
            row = trial_row(
                number,
                state=state,
                objective=None if failed else 0.5,
                reason="hung" if failed else None,
            )
            store.write_trial(row, [run_row(number)], [epoch_row(number)], timing_row(number))
        study.tell(trials[0], 0.5)
        study.tell(trials[1], state=TrialState.FAIL)
        study.tell(trials[2], state=TrialState.FAIL)
        study.tell(trials[3], state=TrialState.PRUNED)
        other = create_study(study.database, name="other", uid="v", direction="maximize")
        other.tell(other.ask(), state=TrialState.FAIL)

        assert requeue_failed(study.database, name="l2", uid=UID) == (1, 2)
        assert requeue_failed(study.database, name="l2", uid=UID) == ()

        kinds: tuple[type[Any], ...] = (TrialRow, RunRow, EpochRow, TimingRow)
        for kind in kinds:
            left = store.rows(kind, study_uid=UID)
            assert [row.trial_number for row in left] == [0, 3]
        assert other.counts() == TrialCounts(failed=1)
        assert study.counts() == TrialCounts(complete=1, pruned=1, waiting=2)
        theirs = seen_by_optuna(location)
        assert [trial.state.name for trial in theirs.trials] == [
            "COMPLETE",
            "WAITING",
            "WAITING",
            "PRUNED",
        ]
        waiting = theirs.trials[1]
        assert (waiting.datetime_complete, waiting.value) == (None, None)
        assert (waiting.user_attrs, waiting.intermediate_values) == ({"network": "64"}, {1: 0.25})
        fresh = reload(study)
        again = fresh.ask()
        assert (again.number, again.suggest_float("l2", 0, 1)) == (1, drawn[1])
        fresh.tell(again, 0.75)
        assert seen_by_optuna(location).best_trial.number == 1
        assert seen_by_optuna(location).trials[1].datetime_complete is not None

    def test_nothing_has_failed_where_nothing_is(self, database: Database) -> None:
        assert requeue_failed(database, name="l2", uid=UID) == ()

    def test_kill_9_loses_no_trial(self, location: Location) -> None:
        code = """
import sys, time
from mnist_tune.storage.database import open_database
from mnist_tune.storage.location import Location
from mnist_tune.storage.optuna_adapter import create_study
database = open_database(Location.parse(sys.argv[1]), create=True)
study = create_study(database, name="l2", uid="u", direction="maximize")
study.enqueue_plan([{"l2": 0.25}, {"l2": 0.5}, {"l2": 0.75}])
done, cut = study.ask(), study.ask()
study.tell(done, 1.0)
cut.suggest_float("l2", 0, 1)
study.report(cut, 0.5, 1)
study.set_attributes(cut, {"a": 1})
print("reported", flush=True)
time.sleep(60)
"""
        child = start_python(code, location.server or location.path)
        assert receive(child) == "reported"
        kill(child)
        with open_database(location, create=False) as database:
            study = load_study(database, name="l2", uid="u")
            assert study.counts() == TrialCounts(complete=1, running=1, waiting=1)
            assert study.requeue_running() == [1]
            again = study.ask()
            assert (again.number, again.params, again.user_attrs) == (1, {"l2": 0.5}, {"a": 1})
            study.report(again, 0.5, 1)
            study.tell(again, 0.5)
            assert study.ask().number == 2
            assert study.counts() == TrialCounts(complete=2, running=1)

    def test_report_of_a_stored_step_is_skipped_in_silence(self, study: OptunaStudy) -> None:
        trial = study.ask()
        for value in (0.5, 0.9):
            study.report(trial, value, 1)
        study.requeue_running()
        again = reload(study).ask()
        study.report(again, 0.7, 1)
        study.report(again, float(np.float32(0.25)), 2)
        assert seen_by_optuna(study.database.location).trials[0].intermediate_values == {
            1: 0.5,
            2: 0.25,
        }

    def test_replayed_steps_are_not_pruned_before_the_last(self, study: OptunaStudy) -> None:
        study.study.pruner = AlwaysPrune()
        trial = study.ask()
        for step in (1, 2, 3):
            study.report(trial, 0.5, step)
        assert [study.should_prune(trial, step) for step in (1, 2, 3, 4)] == [
            False,
            False,
            True,
            True,
        ]

    def test_pruner_is_asked(self, study: OptunaStudy) -> None:
        study.study.pruner = optuna.pruners.NopPruner()
        trial = study.ask()
        study.report(trial, 0.5, 1)
        assert not study.should_prune(trial, 1)

    def test_attributes_become_json(self, study: OptunaStudy, location: Location) -> None:
        trial = study.ask()
        values = {"a": np.float32(0.5), "b": math.nan, "c": (1, np.int64(2)), "d": np.bool_(True)}
        study.set_attributes(trial, values)
        expected = {"a": 0.5, "b": None, "c": [1, 2], "d": True}
        theirs = seen_by_optuna(location)
        assert theirs.trials[0].user_attrs == expected

    def test_states_and_counts(self, study: OptunaStudy) -> None:
        create_study(study.database, name="other", uid="v", direction="maximize").ask()
        assert study.counts() == TrialCounts()
        complete, pruned, failed, _ = (study.ask() for _ in range(4))
        study.tell(complete, np.float64(0.5))
        study.report(pruned, 0.25, 1)
        study.tell(pruned, state=TrialState.PRUNED)
        study.tell(failed, state=TrialState.FAIL)
        study.study.enqueue_trial({})
        counts = study.counts()
        assert counts == TrialCounts(complete=1, pruned=1, failed=1, running=1, waiting=1)
        assert (counts.finished, counts.total) == (3, 5)


class TestFaults:
    @sqlite_only
    def test_locked_database(self, location: Location) -> None:
        assert location.path is not None
        with open_database(location, create=True, busy_seconds=0.1) as database:
            study = create_study(database, name="l2", uid="u", direction="maximize")
            trial = study.ask()
            with closing(sqlite3.connect(location.path, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                for attempt in (
                    lambda: study.tell(trial, 1.0),
                    lambda: study.report(trial, 1.0, 1),
                    lambda: study.set_attributes(trial, {"a": 1}),
                    study.requeue_running,
                ):
                    with pytest.raises(StorageError, match=r"trials\.db: .* locked"):
                        attempt()
            study.tell(trial, 1.0)
            assert study.counts() == TrialCounts(complete=1)

    def test_misuse_keeps_its_own_error(self, study: OptunaStudy) -> None:
        trial = study.ask()
        study.tell(trial, 1.0)
        with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
            study.requeue(0)
        with pytest.raises(ValueError, match="COMPLETE trial"):
            study.tell(trial, 1.0)

"""One class for every back end: what is written comes back, as a whole or not at all."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import sqlalchemy
from sqlalchemy import select

from mnist_tune.errors import StorageError
from mnist_tune.storage.database import Database
from mnist_tune.storage.location import Location
from mnist_tune.storage.records import (
    ConfirmationRow,
    EpochRow,
    PredictionRow,
    RunRow,
    TimingRow,
    json_value,
    new_uid,
    utc_now,
)
from mnist_tune.storage.schema import metadata, to_columns
from mnist_tune.storage.store import Store, study_state
from tests.storage.storage_samples import (
    NOW,
    UID,
    epoch_row,
    prediction_row,
    raw,
    run_row,
    study_row,
    timing_row,
    trial_row,
)

AWKWARD_FLOATS = [
    0.1 + 0.2,
    5e-324,
    1.7976931348623157e308,
    math.nextafter(1, 2),
    -1e-300,
    math.inf,
]


def row_counts(database: Database, uid: str = UID) -> dict[str, int]:
    keyed = [t for t in metadata.sorted_tables if "study_uid" in t.c]
    with database.reading() as connection:
        return {
            table.name.removeprefix("mnist_tune_"): len(
                connection.execute(select(table).where(table.c.study_uid == uid)).all()
            )
            for table in keyed
        }


def write_trial(
    store: Store, number: int = 0, seeds: int = 2, epochs: int = 2, uid: str = UID
) -> None:
    store.write_trial(
        trial_row(number, study_uid=uid),
        [run_row(number, seed, study_uid=uid) for seed in range(seeds)],
        [
            epoch_row(number, seed, epoch, study_uid=uid)
            for seed in range(seeds)
            for epoch in range(1, epochs + 1)
        ],
        timing_row(number, study_uid=uid),
    )


class TestStudies:
    def test_study_comes_back_as_it_was(self, store: Store) -> None:
        store.add_study(study_row())
        assert store.study("l2_factor") == study_row()
        assert store.studies() == (study_row(),)

    def test_name_may_hold_anything(self, store: Store) -> None:
        name = "a/b {c} %s 'd' \"e\" ☃"
        store.add_study(study_row(name=name))
        assert store.study(name).name == name

    def test_taken_name_is_refused(self, store: Store) -> None:
        store.add_study(study_row())
        with pytest.raises(StorageError, match="mnist-tune resume l2_factor"):
            store.add_study(study_row(uid=new_uid()))
        assert len(store.studies()) == 1

    def test_unknown_name_says_what_there_is(self, store: Store) -> None:
        with pytest.raises(StorageError, match="no study yet"):
            store.study("x")
        store.add_study(study_row())
        with pytest.raises(StorageError, match="holds l2_factor: type `mnist-tune list`"):
            store.study("x")
        assert store.find_study("x") is None

    def test_studies_come_by_age(self, store: Store) -> None:
        ages = [("young", "2026-12-01"), ("old", "2026-01-01"), ("middle", "2026-06-01")]
        for name, created in ages:
            store.add_study(study_row(uid=new_uid(), name=name, created_at=created))
        assert [study.name for study in store.studies()] == ["old", "middle", "young"]

    def test_only_planned_trials_change(self, store: Store) -> None:
        store.add_study(study_row())
        store.add_study(study_row(uid="other", name="other"))
        store.change_study(UID, planned_trials=30)
        assert store.study("l2_factor") == study_row(planned_trials=30)
        assert store.study("other").planned_trials == 5
        with pytest.raises(StorageError, match="no longer"):
            store.change_study("nobody", planned_trials=30)

    def test_deleting_leaves_nothing_of_it_and_all_of_others(
        self, store: Store, database: Database
    ) -> None:
        for uid, name in ((UID, "a"), ("other", "b")):
            store.add_study(study_row(uid=uid, name=name))
            write_trial(store, uid=uid)
            store.start_confirmation(uid, trial_number=0, seeds=[7], train_size=1, test_size=10)
        confirm(store, [7])
        others = row_counts(database, "other")
        store.delete_study(store.study("a"))
        assert not any(row_counts(database).values())
        assert row_counts(database, "other") == others
        assert [study.name for study in store.studies()] == ["b"]


class TestTrials:
    @pytest.fixture(autouse=True)
    def a_study(self, store: Store) -> None:
        store.add_study(study_row())

    def test_trial_comes_back_as_it_was(self, store: Store) -> None:
        runs = [run_row(3, seed, val_loss=0.1 * seed) for seed in (0, 1)]
        epochs = [epoch_row(3, 0, 1, train_loss=0.3), epoch_row(3, 1, 1)]
        store.write_trial(trial_row(3), runs, epochs, timing_row(3))
        assert store.trials(UID) == (trial_row(3),)
        assert store.rows(RunRow, study_uid=UID, confirmation=0) == tuple(runs)
        assert store.rows(EpochRow, study_uid=UID, confirmation=0) == tuple(epochs)
        assert store.rows(TimingRow, study_uid=UID, confirmation=0) == (timing_row(3),)

    def test_failed_trial_keeps_its_reason(self, store: Store) -> None:
        failed = trial_row(state="failed", reason="diverged", objective=None)
        store.write_trial(failed, [], [], None)
        assert store.trials(UID) == (failed,)

    def test_rows_come_by_number_seed_and_epoch(self, store: Store) -> None:
        for number in (10, 2, 0):
            seeds, epochs = (11, 2, 0), (3, 1, 2)
            store.write_trial(
                trial_row(number),
                [run_row(number, seed) for seed in seeds],
                [epoch_row(number, seed, epoch) for seed in seeds for epoch in epochs],
                None,
            )
        assert [t.trial_number for t in store.trials(UID)] == [0, 2, 10]
        runs = [(r.trial_number, r.seed) for r in store.rows(RunRow, study_uid=UID, confirmation=0)]
        epochs_read = [
            (e.trial_number, e.seed, e.epoch)
            for e in store.rows(EpochRow, study_uid=UID, confirmation=0)
        ]
        assert runs == sorted(runs)
        assert epochs_read == sorted(epochs_read)
        assert len(epochs_read) == 27

    def test_trial_computed_again_leaves_no_duplicate(
        self, store: Store, database: Database
    ) -> None:
        write_trial(store, 0, seeds=3, epochs=4)
        write_trial(store, 1)
        before = row_counts(database)
        write_trial(store, 0, seeds=3, epochs=4)
        assert row_counts(database) == before
        store.write_trial(replace(trial_row(0), objective=0.5), [run_row(0)], [], None)
        assert row_counts(database) == {
            **dict.fromkeys(before, 0), "trials": 2, "runs": 3, "epochs": 4, "timings": 1
        }  # fmt: skip
        assert store.trials(UID)[0].objective == 0.5

    def test_trial_is_stored_as_a_whole_or_not_at_all(
        self, store: Store, database: Database
    ) -> None:
        twice = [run_row(0, 0), run_row(0, 0)]
        with pytest.raises(sqlalchemy.exc.IntegrityError):
            store.write_trial(trial_row(), twice, [], None)
        assert not any(row_counts(database).values())
        write_trial(store)
        before = row_counts(database)
        with pytest.raises(sqlalchemy.exc.IntegrityError):
            store.write_trial(trial_row(), twice, [], None)
        assert row_counts(database) == before

    @pytest.mark.parametrize(
        "run", [run_row(1), run_row(0, study_uid="other"), run_row(0, confirmation=1)]
    )
    def test_rows_of_another_trial_are_refused(self, store: Store, run: RunRow) -> None:
        with pytest.raises(ValueError, match="does not belong"):
            store.write_trial(trial_row(), [run], [], None)
        assert store.trials(UID) == ()

    def test_trial_of_a_deleted_study_is_refused(self, store: Store) -> None:
        store.delete_study(store.study("l2_factor"))
        with pytest.raises(StorageError, match="was it deleted"):
            store.write_trial(trial_row(), [], [], None)

    def test_floats_come_back_bit_by_bit(self, store: Store) -> None:
        epochs = [epoch_row(epoch=i, val_loss=x) for i, x in enumerate(AWKWARD_FLOATS, start=1)]
        store.write_trial(trial_row(params={"l2": 0.1 + 0.2}), [], epochs, None)
        read = [epoch.val_loss for epoch in store.rows(EpochRow, study_uid=UID, confirmation=0)]
        assert [struct.pack("d", x) for x in read] == [struct.pack("d", x) for x in AWKWARD_FLOATS]
        assert store.trials(UID)[0].params == {"l2": 0.1 + 0.2}

    def test_nan_is_null(self, store: Store, location: Location) -> None:
        store.write_trial(
            trial_row(params={"x": math.nan}), [run_row(val_loss=np.float32("nan"))], [], None
        )
        assert store.rows(RunRow, study_uid=UID, confirmation=0)[0].val_loss is None
        assert store.trials(UID)[0].params == {"x": None}
        if location.path:
            kinds = "SELECT typeof(val_loss), typeof(val_accuracy) FROM mnist_tune_runs"
            assert raw(location, kinds) == [("null", "real")]

    def test_numpy_scalars_are_stored_as_numbers(self, store: Store) -> None:
        values: dict[str, Any] = {
            "trial_number": np.int64(0),
            "seed": np.int32(1),
            "epochs": np.uint8(2),
            "val_accuracy": np.float32(0.1),
            "val_loss": np.float64(0.1),
        }
        run = RunRow(study_uid=UID, state="complete", **values)
        params = {"a": np.float32(0.1), "b": (np.int64(3), np.bool_(True))}
        store.write_trial(trial_row(params=params), [run], [], None)
        (read,) = store.rows(RunRow, study_uid=UID, confirmation=0)
        assert (read.seed, read.epochs, read.val_loss) == (1, 2, 0.1)
        assert read.val_accuracy == float(np.float32(0.1))
        assert store.trials(UID)[0].params == {"a": float(np.float32(0.1)), "b": [3, True]}

    def test_commit_is_seen_by_a_second_connection(self, store: Store, location: Location) -> None:
        write_trial(store)
        if location.path:
            assert raw(location, "SELECT COUNT(*) FROM mnist_tune_epochs") == [(4,)]


def confirm(store: Store, seeds: list[int], confirmation: int = 1) -> None:
    store.write_confirmed_runs(
        [run_row(0, s, confirmation=confirmation, test_accuracy=0.98) for s in seeds],
        [epoch_row(0, s, 1, confirmation=confirmation) for s in seeds],
        [prediction_row(s, confirmation=confirmation) for s in seeds],
        timing_row(0, seeds[0], confirmation=confirmation),
    )


class TestConfirmations:
    @pytest.fixture(autouse=True)
    def a_running_confirmation(self, store: Store) -> None:
        store.add_study(study_row())
        write_trial(store)
        store.start_confirmation(UID, trial_number=0, seeds=[7, 8, 9], train_size=60, test_size=10)

    def test_comes_in_batches_and_ends_complete(self, store: Store) -> None:
        assert store.confirmed_seeds(UID, 1) == ()
        confirm(store, [8, 7])
        assert store.confirmed_seeds(UID, 1) == (7, 8)
        with pytest.raises(ValueError, match=r"\[7, 8\] only"):
            store.finish_confirmation(UID, 1)
        confirm(store, [9])
        store.finish_confirmation(UID, 1)
        (row,) = store.rows(ConfirmationRow, study_uid=UID)
        assert (row.state, row.seeds, row.train_size, row.test_size) == (
            "complete",
            (7, 8, 9),
            60,
            10,
        )
        assert [p.seed for p in store.rows(PredictionRow, study_uid=UID, confirmation=1)] == [
            7,
            8,
            9,
        ]
        assert store.rows(PredictionRow, study_uid=UID, confirmation=1)[0] == prediction_row(7)

    def test_batch_computed_again_leaves_no_duplicate(
        self, store: Store, database: Database
    ) -> None:
        confirm(store, [7, 8])
        confirm(store, [9])
        before = row_counts(database)
        confirm(store, [7, 8])
        assert row_counts(database) == before

    def test_search_and_confirmations_do_not_mix(self, store: Store) -> None:
        confirm(store, [7, 8, 9])
        store.finish_confirmation(UID, 1)
        again = store.start_confirmation(
            UID, trial_number=0, seeds=[10], train_size=60, test_size=10
        )
        confirm(store, [10], again.confirmation)
        assert again.confirmation == 2
        assert [run.seed for run in store.rows(RunRow, study_uid=UID, confirmation=0)] == [0, 1]
        assert [run.seed for run in store.rows(RunRow, study_uid=UID, confirmation=1)] == [7, 8, 9]
        assert [run.seed for run in store.rows(RunRow, study_uid=UID, confirmation=2)] == [10]
        write_trial(store)
        assert [run.seed for run in store.rows(RunRow, study_uid=UID, confirmation=1)] == [7, 8, 9]

    def test_one_at_a_time(self, store: Store) -> None:
        with pytest.raises(ValueError, match="running already"):
            store.start_confirmation(UID, trial_number=0, seeds=[1], train_size=1, test_size=1)

    def test_complete_one_is_frozen(self, store: Store) -> None:
        confirm(store, [7, 8, 9])
        store.finish_confirmation(UID, 1)
        with pytest.raises(ValueError, match="not running"):
            confirm(store, [7])
        with pytest.raises(ValueError, match="not running"):
            store.finish_confirmation(UID, 1)

    def test_foreign_rows_are_refused(self, store: Store, database: Database) -> None:
        before = row_counts(database)
        run = run_row(0, 7, confirmation=1)
        stray: list[EpochRow] = [epoch_row(0, 8, confirmation=1)]
        batches = [
            ([run_row(0, 99, confirmation=1)], [], []),  # a seed that was not fixed
            ([run_row(1, 7, confirmation=1)], [], []),  # another trial
            ([run_row(0, 7, confirmation=2)], [], []),  # another confirmation
            ([run_row(0, 7)], [], []),  # the search
            ([run], stray, []),
            ([run], [], [prediction_row(8)]),
            ([], [], []),
        ]
        for runs, epochs, predictions in batches:
            with pytest.raises(ValueError, match=r"."):
                store.write_confirmed_runs(runs, epochs, predictions, None)
        assert row_counts(database) == before

    def test_predictions_are_bytes(self, store: Store) -> None:
        classes = np.arange(10, dtype=np.uint8)
        store.write_confirmed_runs(
            [run_row(0, 7, confirmation=1)], [], [prediction_row(7, classes.tobytes())], None
        )
        (row,) = store.rows(PredictionRow, study_uid=UID, confirmation=1)
        assert np.array_equal(np.frombuffer(row.classes, np.uint8), classes)


def test_a_digest_changes_with_what_ended_in_a_study(store: Store, database: Database) -> None:
    def state() -> str:
        with database.reading() as connection:
            return study_state(connection, UID)

    store.add_study(study_row())
    steps: list[Callable[[], object]] = [
        lambda: store.write_trial(trial_row(0), [run_row(0)], [], timing_row(0)),
        lambda: store.write_trial(trial_row(1, state="failed", reason="hung"), [], [], None),
        lambda: store.write_trial(trial_row(1, state="failed", reason="error"), [], [], None),
        lambda: store.change_study(UID, planned_trials=30),
        lambda: store.change_study(UID, baseline="lenet-5"),
        lambda: store.start_confirmation(
            UID, trial_number=0, seeds=[7], train_size=60_000, test_size=10
        ),
        lambda: store.write_confirmed_runs([run_row(0, 7, confirmation=1)], [], [], None),
        lambda: store.finish_confirmation(UID, 1),
    ]
    found = [state()]
    for step in steps:
        step()
        found.append(state())
    assert found[7] == found[6]  # what is confirmed counts when all of it is there
    assert len(set(found)) == len(found) - 1
    assert state() == found[-1]


class TestRecords:
    def test_states_are_checked_when_made(self) -> None:
        for broken in (
            lambda: run_row(state="done"),
            lambda: trial_row(state="complete", reason="error"),
            lambda: trial_row(state="failed"),
            lambda: study_row(protocol="train"),
        ):
            with pytest.raises(ValueError, match=r"state|reason|protocol"):
                broken()

    def test_values_for_json(self) -> None:
        value = {"a": (1, np.float32(2)), "b": [math.inf, math.nan], "c": None, "d": {"e": "f"}}
        assert json_value(value) == {"a": [1, 2.0], "b": [None, None], "c": None, "d": {"e": "f"}}

    def test_nan_becomes_null_before_the_database_sees_it(self) -> None:
        row = run_row(val_loss=math.nan, val_accuracy=np.float32("nan"), test_loss=math.inf)
        columns = to_columns(row)
        values = [columns[name] for name in ("val_loss", "val_accuracy", "test_loss")]
        assert values == [None, None, math.inf]

    def test_uids_and_times(self) -> None:
        assert len({new_uid() for _ in range(100)}) == 100
        assert len(new_uid()) == 32
        assert len(utc_now()) == len(NOW)
        assert utc_now() <= utc_now()

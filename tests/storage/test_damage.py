"""Damaged values are named with table, study and row, by doctor and by a command that met them."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mnist_tune.errors import StorageError
from mnist_tune.storage.damage import damages
from mnist_tune.storage.health import blame, faults
from mnist_tune.storage.location import Location
from tests.damage import make_database


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_database(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def place(whole: Path, tmp_path: Path) -> Location:
    return Location.parse(shutil.copy(whole, tmp_path / "trials.db"))


def change(place: Location, statement: str) -> None:
    assert place.path is not None
    with closing(sqlite3.connect(place.path, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute(statement)


def test_a_sound_database_has_none(place: Location) -> None:
    assert list(damages(place)) == []
    assert faults(place) == ()


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (
            "UPDATE mnist_tune_trials SET params = '{' WHERE trial_number = 1 AND objective < 1",
            ("table mnist_tune_trials, study tiny, trial_number 1", "params holds {", "no JSON"),
        ),
        (
            "UPDATE mnist_tune_runs SET val_accuracy = 'text' WHERE trial_number = 5 AND seed = 1",
            ("table mnist_tune_runs, study searched", "seed 1", "val_accuracy holds text"),
        ),
        (
            "UPDATE mnist_tune_studies SET question = CAST(x'ff' AS TEXT) WHERE name = 'tiny'",
            ("table mnist_tune_studies, study tiny", r"question holds b'\xff'"),
        ),
        (
            "UPDATE mnist_tune_studies SET definition = '{}' WHERE name = 'tiny'",
            ("study tiny", "not the one whose fingerprint is stored"),
        ),
        (
            "ALTER TABLE mnist_tune_runs DROP COLUMN val_loss",
            ("table mnist_tune_runs: no such column", "val_loss"),
        ),
        ("DROP TABLE trial_params", ("table trial_params: no such table",)),
        (
            "DELETE FROM mnist_tune_runs WHERE confirmation = 1",
            ("study tiny, confirmation 1", "0 of 2 runs are there"),
        ),
        ("DELETE FROM study_directions", ("study tiny lacks its direction",)),
        (
            "UPDATE trials SET datetime_complete = NULL WHERE number = 2",
            ("table trials, trial_id", "datetime_complete is missing"),
        ),
        (
            "UPDATE trials SET state = 'NONE' WHERE number = 2",
            ("table trials, study searched", "state holds NONE"),
        ),
        (
            "UPDATE trial_params SET distribution_json = '[]' WHERE param_name = 'rate'",
            ("table trial_params, study searched",),
        ),
        (
            "UPDATE trial_params SET param_value = 7 WHERE param_name = 'activation'",
            ("table trial_params, study searched", "param_value holds 7"),
        ),
        ("DELETE FROM version_info", ("table version_info holds 0 rows",)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_damaged_is_named(place: Location, statement: str, words: tuple[str, ...]) -> None:
    change(place, statement)
    first = next(damages(place))
    assert all(word in first for word in words), first
    fault = faults(place)[0]
    assert first in fault.what
    assert fault.to_do == "restore it from a backup, or give another --storage"
    with pytest.raises(StorageError) as caught:
        blame(KeyError("x"), place)
    assert str(caught.value) == f"{place}: {fault.what}: {fault.to_do}"


def test_parameters_with_another_range_than_in_other_trials(place: Location) -> None:
    change(
        place,
        "UPDATE trial_params SET param_value = 1, distribution_json = "
        """'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 2}}' """
        "WHERE param_id = (SELECT MAX(param_id) FROM trial_params WHERE param_name = 'rate')",
    )
    assert next(damages(place)).startswith("table trial_params, param_name rate: ")


def test_an_error_over_a_sound_database_is_a_fault_of_the_program(place: Location) -> None:
    blame(KeyError("x"), place)
    blame(KeyError("x"), Location.parse(f"{place}-that-is-not-there"))

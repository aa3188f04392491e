"""The page on storage: its SQL runs, and the files that it names are those that are made."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mnist_tune.storage.database import open_database
from mnist_tune.storage.location import Location
from mnist_tune.storage.store import Store
from tests.storage.storage_samples import (
    UID,
    epoch_row,
    run_row,
    study_row,
    timing_row,
    trial_row,
)

CHECKOUT = Path(__file__).parents[2]
PAGE = (CHECKOUT / "docs" / "storage.md").read_text(encoding="utf-8")
STATEMENTS = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """A database with a study: l2_factor-quick, five trials, two seeds, three epochs."""
    path = tmp_path / "mnist_tune.db"
    with open_database(Location.parse(path), create=True) as database:
        store = Store(database)
        store.add_study(study_row(name="l2_factor-quick"))
        for number in range(5):
            mean = 0.80 + 0.02 * number
            store.write_trial(
                trial_row(number, objective=mean),
                [run_row(number, seed, val_accuracy=mean + 0.01 * seed - 0.005) for seed in (0, 1)],
                [
                    epoch_row(number, seed, epoch, train_loss=1 / epoch, val_accuracy=mean)
                    for seed in (0, 1)
                    for epoch in (1, 2, 3)
                ],
                timing_row(number),
            )
        store.start_confirmation(UID, trial_number=4, seeds=[7], train_size=10, test_size=10)
        store.write_confirmed_runs(
            [run_row(4, 7, confirmation=1)], [], [], timing_row(4, 7, confirmation=1)
        )
    return path


def rows(path: Path, statement: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(statement)]


def test_its_sql_says_what_it_promises(real: Path) -> None:
    studies, configurations, curve, timings = (rows(real, text) for text in STATEMENTS)
    assert studies == [
        {
            "name": "l2_factor-quick",
            "protocol": "holdout",
            "planned_trials": 5,
            "ended": 5,
            "complete": 5,
            "highest": pytest.approx(0.88),
        }
    ]
    assert configurations[0]["trial_number"] == 4
    assert {row["n"] for row in configurations} == {2}
    means = [row["mean"] for row in configurations]
    assert means == sorted(means, reverse=True)
    assert means[0] == pytest.approx(0.88)
    assert [row["epoch"] for row in curve] == [1, 2, 3]
    assert curve[0]["train_loss"] > curve[-1]["train_loss"]
    assert [row["confirmation"] for row in timings] == [0, 1]
    assert all(0 < row["seconds"] < 600 for row in timings)


def test_names_the_files_that_there_are(real: Path) -> None:
    location = Location.parse(real)
    with open_database(location, create=True):
        made = {path.name for path in location.folder.iterdir()}
    made |= {f"{folder.name}/" for folder in (location.artifacts, location.checkpoints)}
    assert "mnist_tune.db-wal" in made
    for name in made:
        assert re.search(rf"^\|.*`{re.escape(name.removesuffix('/'))}[`/]", PAGE, re.MULTILINE)

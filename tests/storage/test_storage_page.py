"""The page on storage: its SQL runs, and the files that it names are those that are made."""

from __future__ import annotations

import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mnist_tune.storage.database import open_database
from mnist_tune.storage.location import Location

CHECKOUT = Path(__file__).parents[2]
PAGE = (CHECKOUT / "docs" / "storage.md").read_text(encoding="utf-8")
STATEMENTS = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """A database with a real study: l2_factor-quick, five trials, two seeds, three epochs."""
    path = tmp_path / "mnist_tune.db"
    shutil.copyfile(Path(__file__).parent / "databases" / "schema-1.db", path)
    open_database(Location.parse(path), create=False).close()
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
            "highest": pytest.approx(0.89625),
        }
    ]
    assert configurations[0]["trial_number"] == 4
    assert {row["n"] for row in configurations} == {2}
    means = [row["mean"] for row in configurations]
    assert means == sorted(means, reverse=True)
    assert means[0] == pytest.approx(0.89625)
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

"""Whole studies in real databases, with all that may belong to one, and ways to look at them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from mnist_tune.storage.database import Database
from mnist_tune.storage.location import Location
from mnist_tune.storage.optuna_adapter import create_study
from mnist_tune.storage.records import AnalysisRow, PictureRow, PredictionRow, ReferenceRow
from mnist_tune.storage.store import Store
from tests.storage.storage_samples import (
    epoch_row,
    run_row,
    study_row,
    timing_row,
    trial_row,
)

# Who owns the rows of a table, by the column that says so.
_OWNERS = {
    "study_uid": "SELECT uid FROM mnist_tune_studies WHERE name = ?",
    "uid": "SELECT uid FROM mnist_tune_studies WHERE name = ?",
    "trial_id": "SELECT trial_id FROM trials JOIN studies USING (study_id) WHERE study_name = ?",
    "study_id": "SELECT study_id FROM studies WHERE study_name = ?",
}
Content = dict[str, list[tuple[Any, ...]]]


def uid_of(name: str) -> str:
    return (name * 32)[:32]


def make_study(database: Database, name: str) -> None:
    """A study with two trials, one of which is confirmed, a third one under way, and files."""
    uid, store = uid_of(name), Store(database)
    store.add_study(study_row(uid=uid, name=name))
    study = create_study(database, name=name, uid=uid, direction="maximize")
    study.enqueue_plan([{"l2": l2} for l2 in (1e-6, 1e-4, 1e-3)])
    for number in range(2):
        trial = study.ask()
        trial.suggest_float("l2", 0, 1)
        study.report(trial, 0.5, 1)
        study.set_attributes(trial, {"n_seeds": 1})
        store.write_trial(
            trial_row(number, study_uid=uid),
            [run_row(number, study_uid=uid)],
            [epoch_row(number, study_uid=uid)],
            timing_row(number, study_uid=uid),
        )
        study.tell(trial, 0.9)
    study.ask()
    store.write_references(
        [ReferenceRow(study_uid=uid, images="test", name="noisy", loss=1.0, mse=0.5, psnr=3.0)]
    )
    store.start_confirmation(uid, trial_number=0, seeds=[7], train_size=60_000, test_size=10)
    store.write_confirmed_runs(
        [run_row(0, 7, study_uid=uid, confirmation=1)],
        [],
        [
            PredictionRow(
                study_uid=uid, confirmation=1, trial_number=0, seed=7, classes=bytes(range(10))
            )
        ],
        timing_row(0, 7, study_uid=uid, confirmation=1),
    )
    store.finish_confirmation(uid, 1)
    make_files(database.location, name)


def make_files(location: Location, name: str) -> None:
    uid = uid_of(name)
    for file, text in {
        location.artifacts / uid / "confirmation-1" / "seed-7.ckpt": f"weights of {name}",
        location.artifacts / uid / "figures" / "deep" / "curve.png": f"figure of {name}",
        location.artifacts / uid / "confirmation-1" / "seed-8.ckpt.partial": "half",
        location.artifacts / uid / "dashboard" / "id.ended": "drawn again when it is asked for",
        location.checkpoints / uid / "trial-2-seed-0.ckpt": f"state of {name}",
    }.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def make_analysis(database: Database, name: str, *studies: str) -> None:
    """An analysis with a picture that was made with some studies."""
    inputs = {f"network {i}": {"study": s, "uid": uid_of(s)} for i, s in enumerate(studies)}
    Store(database).write_analysis(
        AnalysisRow(name=name, title=name, inputs=inputs, tables={}, text=("So it is.",)),
        [PictureRow(analysis=name, name="p", position=0, caption="c", png=b"png")],
    )


def content(path: Path | None) -> Content:
    """Table name → its rows, in order."""
    assert path is not None
    with closing(sqlite3.connect(path)) as connection:
        return {name: _rows(connection, f"SELECT * FROM {name}") for name in _tables(connection)}


def content_of(path: Path | None, study: str) -> Content:
    """The same for what belongs to one study; tables without an owner are left out."""
    assert path is not None
    with closing(sqlite3.connect(path)) as connection:
        return {
            name: _rows(connection, f"SELECT * FROM {name} WHERE {column} IN ({owned})", study)
            for name in _tables(connection)
            for column, owned in _OWNERS.items()
            if column == _owner(connection, name)
        }


def orphans(path: Path | None) -> list[tuple[Any, ...]]:
    """Rows that refer to rows that are not there."""
    assert path is not None
    with closing(sqlite3.connect(path)) as connection:
        found = _rows(connection, "PRAGMA foreign_key_check")
        for name in _tables(connection):
            if _owner(connection, name) == "study_uid":
                found += _rows(
                    connection,
                    f"SELECT '{name}', study_uid FROM {name} "
                    "WHERE study_uid NOT IN (SELECT uid FROM mnist_tune_studies)",
                )
        return found


def files_below(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def _owner(connection: sqlite3.Connection, table: str) -> str | None:
    columns = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
    return next((column for column in _OWNERS if column in columns), None)


def _rows(connection: sqlite3.Connection, statement: str, *values: str) -> list[tuple[Any, ...]]:
    return sorted(connection.execute(statement, values).fetchall(), key=repr)


def _tables(connection: sqlite3.Connection) -> list[str]:
    names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    return [name for (name,) in names if not name.startswith("sqlite_")]

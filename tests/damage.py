"""A database with two studies, made without training, and what may happen to such a file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from hypothesis import assume
from hypothesis import strategies as st

from mnist_tune.data.sources import load_dataset
from mnist_tune.definitions.definition import Overrides, define
from mnist_tune.errors import WorkerFailed
from mnist_tune.search.coordinator import ConfirmationCoordinator, SearchCoordinator, StopRequests
from mnist_tune.search.session import open_session
from mnist_tune.storage.artifacts import write_note
from mnist_tune.storage.database import open_database
from mnist_tune.storage.location import Location
from mnist_tune.workers.tasks import Task
from tests.cli.conftest import STUDY
from tests.search.test_coordinator import Scripted, scheduler_of
from tests.storage.study_samples import make_analysis

SEARCHED = '''"""Which of all these?"""

from mnist_tune.networks import Mlp
from mnist_tune.recipes import Recipe
from mnist_tune.study import Configuration, Search, Study, Trial


def suggest(trial: Trial) -> Configuration:
    depth = trial.suggest_int("depth", 1, 2)
    widths = [trial.suggest_int(f"width_{i}", 32, 64, log=True) for i in range(depth)]
    activation = trial.suggest_categorical("activation", ["relu", "tanh"])
    rate = trial.suggest_float("rate", 1e-3, 1.0, log=True)
    return Configuration(network=Mlp(hidden=widths, activation=activation), learning_rate=rate)


study = Study(
    suggest=suggest,
    recipe=Recipe(epochs=2),
    plan=Search(sampler="tpe", trials=14, first=({"depth": 1, "width_0": 50, "activation": "relu", "rate": 0.1},)),
    seeds=2,
    confirm_seeds=2,
    pruner="median",
)
'''


class Enough(Exception):
    """The search is cut short here."""


def work(workers: Scripted, task: Task) -> None:
    """What a worker without a network does with a task."""
    if task.runs[0].trial.trial_number == 3 and not task.runs[0].trial.confirmation:
        workers.fail(task, WorkerFailed("no luck"))
    else:
        workers.train(task)


def _until(trial_number: int) -> Callable[[Scripted, Task], None]:
    def deed(workers: Scripted, task: Task) -> None:
        if task.runs[0].trial.trial_number == trial_number:
            raise Enough
        work(workers, task)

    return deed


def make_database(folder: Path) -> Path:
    """`tiny`, finished and confirmed, and `searched`, interrupted, in a file of small pages."""
    for name, text in (("tiny", STUDY), ("searched", SEARCHED)):
        (folder / f"{name}.py").write_text(text)
    path = folder / "whole.db"
    source = load_dataset(Path("embedded")).source
    with open_database(Location.parse(path), create=True) as database:
        session = open_session(database, define(str(folder / "tiny.py"), Overrides()), source)
        executor = Scripted(work)
        working = scheduler_of(executor, session), StopRequests(executor.events)
        SearchCoordinator(session, *working).run()
        ConfirmationCoordinator(session, *working).run()
        write_note(session.optuna, "A note.")
        make_analysis(database, "denoise", "tiny")
    with open_database(Location.parse(path), create=True) as database:
        session = open_session(database, define(str(folder / "searched.py"), Overrides()), source)
        executor = Scripted(_until(12))
        working = scheduler_of(executor, session), StopRequests(executor.events)
        try:
            SearchCoordinator(session, *working).run()
        except Enough:
            session.optuna.ask()  # so that one is running, and one waits
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE mnist_tune_predictions SET classes = zeroblob(1000)")
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA page_size = 1024")
        connection.execute("VACUUM")
        connection.execute("PRAGMA journal_mode = WAL")
    return path


# What may happen to it

Draw = Callable[..., Any]
JUNK = st.one_of(
    st.sampled_from(
        (
            *("text", "", "{", "[]", "{}", "null", '"a"', "1", "NaN", "[1, 2", "\0", "é…", "-"),
            *(b"", b"\xff\xfe", b"{}", -1, 0, 1, 2**40, 0.5, 1e308, "2026-11-31", "9" * 400),
            *('{"a": 1}', "[[]]", "COMPLETE", "complete", "FAIL", "MINIMIZE"),
        )
    ),
    st.text(max_size=5),
)


def damage(path: Path, draw: Draw) -> str:
    """Do one thing to a database, and say which."""
    kind = draw(
        st.sampled_from((_cell, _cell, _cell, _no_text, _null, _rows, _column, _table, _schema))
        | st.sampled_from((_bytes, _bytes, _byte_of_text, _cut)),
        label="kind",
    )
    if kind in (_bytes, _byte_of_text, _cut):
        path.write_bytes(kind(path.read_bytes(), draw))
    else:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA ignore_check_constraints = ON")
            try:
                kind(connection, draw)
            except (sqlite3.IntegrityError, sqlite3.OperationalError):
                assume(False)
    return str(kind.__name__)


def _tables(connection: sqlite3.Connection) -> list[str]:
    names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    return [name for (name,) in names if not name.startswith("sqlite_")]


def _place(connection: sqlite3.Connection, draw: Draw) -> tuple[str, str, int]:
    """A table, a column of it and one of its rows."""
    table = draw(st.sampled_from(_tables(connection)), label="table")
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    ids = [row for (row,) in connection.execute(f"SELECT rowid FROM {table} ORDER BY rowid")]
    assume(ids)
    return table, draw(st.sampled_from(columns), label="column"), draw(st.sampled_from(ids))


def _cell(connection: sqlite3.Connection, draw: Draw) -> None:
    table, column, row = _place(connection, draw)
    junk = draw(JUNK, label="junk")
    connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (junk, row))


def _no_text(connection: sqlite3.Connection, draw: Draw) -> None:
    """Bytes that are no UTF-8, as text."""
    table, column, row = _place(connection, draw)
    connection.execute(f"UPDATE {table} SET {column} = CAST(x'61ff62' AS TEXT) WHERE rowid = {row}")


def _null(connection: sqlite3.Connection, draw: Draw) -> None:
    table, column, row = _place(connection, draw)
    _write_schema(
        connection,
        "UPDATE sqlite_master SET sql = replace(sql, 'NOT NULL', '') WHERE name = ?",
        table,
    )
    connection.execute(f"UPDATE {table} SET {column} = NULL WHERE rowid = {row}")


def _rows(connection: sqlite3.Connection, draw: Draw) -> None:
    table, _column, row = _place(connection, draw)
    some = draw(st.sampled_from(("1", "rowid = {}", "rowid >= {}", "rowid % 2 = 0"))).format(row)
    connection.execute(f"DELETE FROM {table} WHERE {some}")


def _column(connection: sqlite3.Connection, draw: Draw) -> None:
    table, column, _row = _place(connection, draw)
    change = draw(st.sampled_from(("DROP COLUMN {}", "RENAME COLUMN {} TO other"))).format(column)
    connection.execute(f"ALTER TABLE {table} {change}")


def _table(connection: sqlite3.Connection, draw: Draw) -> None:
    table = draw(st.sampled_from(_tables(connection)))
    change = draw(st.sampled_from(("DROP TABLE {}", "ALTER TABLE {} RENAME TO other")))
    connection.execute(change.format(table))


def _schema(connection: sqlite3.Connection, draw: Draw) -> None:
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master ORDER BY name")]
    column = draw(st.sampled_from(("sql", "name", "tbl_name", "type", "rootpage")))
    statement = f"UPDATE sqlite_master SET {column} = ? WHERE name = ?"
    _write_schema(connection, statement, draw(JUNK), draw(st.sampled_from(names)))


def _write_schema(connection: sqlite3.Connection, statement: str, *values: object) -> None:
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute(statement, values)
    connection.execute("PRAGMA writable_schema = RESET")


def _bytes(content: bytes, draw: Draw) -> bytes:
    start = draw(st.integers(0, len(content) - 1), label="start")
    junk = draw(st.sampled_from((b"\0", b"\xff", b"garbage ")) | st.binary(min_size=1, max_size=8))
    times = draw(st.sampled_from((1, 1, 8, 128)))
    changed = content[:start] + junk * times + content[start + len(junk) * times :]
    return bytes(changed[: len(content)])


def _byte_of_text(content: bytes, draw: Draw) -> bytes:
    words = (
        b"tiny",
        b"searched",
        b"complete",
        b"COMPLETE",
        b'{"',
        b"2026",
        b"depth",
        b"mnist_tune_",
    )
    word = draw(st.sampled_from(words), label="word")
    places = [i for i in range(len(content)) if content.startswith(word, i)]
    at = draw(st.sampled_from(places), label="place") + draw(st.integers(0, len(word) - 1))
    other = draw(st.sampled_from((b"\xff", b"\0", b"}", b"x")), label="byte")
    return bytes(content[:at] + other + content[at + 1 :])


def _cut(content: bytes, draw: Draw) -> bytes:
    return content[: draw(st.integers(0, len(content)), label="length")]

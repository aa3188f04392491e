"""Copies of databases that are written to, cut short, or not wanted."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mnist_tune.files import partial_of
from mnist_tune.storage import sqlite_files
from mnist_tune.storage.sqlite_files import copy_database, give_name
from tests.storage.storage_samples import kill, raw, receive, start_python

# Two rows always have the same sum, except in the middle of a transaction.
WRITER = """
import sys
from pathlib import Path
from mnist_tune.storage import sqlite_files
connection = sqlite_files.connect(Path(sys.argv[1]))
sqlite_files.turn_on_wal(connection)
connection.execute("CREATE TABLE accounts (owner TEXT PRIMARY KEY, amount INTEGER, ballast BLOB)")
for owner, amount in (("a", 1000000), ("b", 0)):
    connection.execute("INSERT INTO accounts VALUES (?, ?, randomblob(1000000))", (owner, amount))
print("ready", flush=True)
while True:
    connection.execute("BEGIN IMMEDIATE")
    for sign, owner in (("-", "a"), ("+", "b")):
        connection.execute(
            f"UPDATE accounts SET amount = amount {sign} 1, ballast = randomblob(100000) "
            f"WHERE owner = '{owner}'"
        )
    connection.execute("COMMIT")
"""

COPY = """
import sqlite3, sys, time
from pathlib import Path
from mnist_tune.storage import sqlite_files
def wait(*_):
    print("copied", flush=True)
    time.sleep(60)
sqlite_files.give_name = wait
sqlite_files.copy_database(sqlite3.connect(sys.argv[1]), Path(sys.argv[2]))
"""


def copied(source: Path, target: Path) -> Path:
    with closing(sqlite_files.connect(source)) as connection:
        return copy_database(connection, target)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE numbers (number INTEGER)")
        connection.execute("INSERT INTO numbers VALUES (1)")
    return path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_one_state_of_a_database_that_is_written_to(tmp_path: Path) -> None:
    source = tmp_path / "source.db"
    source.touch()
    writer = start_python(WRITER, source)
    assert receive(writer) == "ready"
    amounts = []
    for number in range(5):
        target = tmp_path / f"{number}.db"
        copied(source, target)
        ((of_a,), (of_b,)) = raw(target, "SELECT amount FROM accounts ORDER BY owner")
        assert of_a + of_b == 1_000_000
        assert raw(target, "PRAGMA integrity_check") == [("ok",)]
        amounts.append(of_b)
    assert writer.poll() is None
    kill(writer)
    assert sorted(amounts) == amounts
    assert amounts[0] < amounts[-1], "nothing was written meanwhile"


def test_the_copy_is_one_file_that_is_ready_for_use(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "kept" / "copy.db"
    target.parent.mkdir()
    assert copied(source, target) == target
    assert names(target.parent) == {"copy.db"}
    assert raw(target, "SELECT * FROM numbers") == [(1,)]
    assert raw(target, "PRAGMA journal_mode") == [("wal",)]


def test_nothing_is_overwritten(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "copy.db"
    target.write_text("mine")
    assert copied(source, target).name == "copy.db-2"
    (tmp_path / "copy.db-3").symlink_to("nowhere")
    assert copied(source, target).name == "copy.db-4"
    assert target.read_text() == "mine"


def test_what_comes_into_being_meanwhile_is_not_overwritten(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "copy.db"
    monkeypatch.setattr(sqlite_files, "turn_on_wal", lambda _: target.write_text("mine"))
    with pytest.raises(FileExistsError):
        copied(source, target)
    assert target.read_text() == "mine"
    assert names(tmp_path) == {"copy.db", "source.db"}


def test_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    (tmp_path / "part").write_text("new")
    give_name(tmp_path / "part", tmp_path / "target")
    (tmp_path / "part").write_text("newer")
    with pytest.raises(FileExistsError):
        give_name(tmp_path / "part", tmp_path / "target")
    assert (tmp_path / "target").read_text() == "new"


def test_what_fails_leaves_nothing(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_files, "turn_on_wal", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        copied(source, tmp_path / "copy.db")
    assert names(tmp_path) == {"source.db"}


def test_kill_9_leaves_no_copy_and_the_next_attempt_succeeds(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "copy.db"
    killed = start_python(COPY, source, target)
    assert receive(killed) == "copied"
    kill(killed)
    assert names(tmp_path) == {"source.db", partial_of(target).name}
    copied(source, target)
    assert names(tmp_path) == {"source.db", "copy.db"}

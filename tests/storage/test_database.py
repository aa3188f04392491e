from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import optuna
import psycopg
import pytest
import sqlalchemy
from sqlalchemy import insert, select

from mnist_tune.errors import StorageError
from mnist_tune.storage import schema
from mnist_tune.storage.database import Database, open_database
from mnist_tune.storage.errors import explain, is_database_error
from mnist_tune.storage.location import Location
from mnist_tune.storage.schema import SCHEMA_VERSION
from mnist_tune.storage.store import Store
from tests.storage.storage_samples import (
    kill,
    raw,
    receive,
    send,
    sqlite_only,
    start_python,
    study_row,
)

VERSIONS = "SELECT version FROM mnist_tune_schema ORDER BY version"


def here(tmp_path: Path, name: str = "trials.db") -> Location:
    return Location.parse(tmp_path / name)


def one_line(caught: pytest.ExceptionInfo[StorageError], *words: str) -> None:
    message = str(caught.value)
    assert message.isprintable()
    assert all(word in message for word in words), message


class TestMaking:
    def test_makes_folders_tables_and_one_version(self, tmp_path: Path) -> None:
        location = here(tmp_path, "deep/er/trials.db")
        for _ in range(2):
            with open_database(location, create=True) as database:
                assert set(schema.metadata.tables) <= database.tables()
        assert raw(location, VERSIONS) == [(SCHEMA_VERSION,)]

    @pytest.mark.parametrize("name", ["a b.db", "{x}.db", "100%41.db", "a?b=c#d.db", "é☃.db"])
    def test_any_name_will_do(self, tmp_path: Path, name: str) -> None:
        location = here(tmp_path, name)
        open_database(location, create=True).close()
        open_database(location, create=False).close()
        open_database(location, create=False, read_only=True).close()
        assert sorted(p.name for p in tmp_path.iterdir()) == sorted([name, "locks"])

    def test_empty_file_is_as_good_as_none(self, tmp_path: Path) -> None:
        location = here(tmp_path)
        (tmp_path / "trials.db").touch()
        with pytest.raises(StorageError, match="nothing is stored"):
            open_database(location, create=False)
        open_database(location, create=True).close()
        assert raw(location, VERSIONS) == [(SCHEMA_VERSION,)]

    def test_nothing_there_says_what_to_type_and_makes_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(StorageError) as caught:
            open_database(here(tmp_path), create=False)
        one_line(caught, "trials.db", "mnist-tune run l2_factor")
        assert not list(tmp_path.iterdir())

    def test_empty_optuna_database_is_taken_over(self, tmp_path: Path) -> None:
        optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/trials.db").engine.dispose()
        open_database(here(tmp_path), create=True).close()

    def test_two_processes_at_once_and_in_silence(self, tmp_path: Path) -> None:
        code = """
import os, sys
from mnist_tune.storage.database import open_database
from mnist_tune.storage.location import Location
from mnist_tune.storage.optuna_adapter import create_study
for name in sys.argv[2:]:
    print("ready", flush=True)
    sys.stdin.readline()
    with open_database(Location.parse(f"{sys.argv[1]}/{name}.db"), create=True) as database:
        study = create_study(database, name=str(os.getpid()), uid="u", direction="maximize")
        study.enqueue_plan([{"x": 0.5}])
        trial = study.ask()
        trial.suggest_float("x", 0, 1)
        study.tell(trial, 1.0)
"""
        names = "abcd"
        with (
            start_python(code, tmp_path, *names) as one,
            start_python(code, tmp_path, *names) as two,
        ):
            for _ in names:
                for process in (one, two):
                    assert receive(process) == "ready"
                for process in (one, two):
                    send(process)
            for process in (one, two):
                assert process.communicate(timeout=60) == ("", "")
                assert process.returncode == 0
        for name in names:
            assert raw(tmp_path / f"{name}.db", VERSIONS) == [(SCHEMA_VERSION,)]
            assert len(raw(tmp_path / f"{name}.db", "SELECT * FROM alembic_version")) == 1
            assert len(raw(tmp_path / f"{name}.db", "SELECT * FROM trials")) == 2


class TestTransactions:
    @sqlite_only
    def test_pragmas(self, database: Database) -> None:
        expected = {
            "journal_mode": "wal",
            "synchronous": 2,
            "foreign_keys": 1,
            "busy_timeout": 30_000,
        }
        with database.transaction() as connection:
            found = {p: connection.exec_driver_sql(f"PRAGMA {p}").scalar() for p in expected}
        assert found == expected

    def test_commits_for_a_second_connection(self, database: Database, location: Location) -> None:
        with database.transaction() as connection:
            connection.execute(insert(schema.VERSIONS).values(version=0))
            assert raw(location, VERSIONS) == [(SCHEMA_VERSION,)]
        assert raw(location, VERSIONS) == [(0,), (SCHEMA_VERSION,)]

    @pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, StorageError])
    def test_rolls_back(
        self, database: Database, location: Location, error: type[BaseException]
    ) -> None:
        with pytest.raises(error), database.transaction() as connection:  # noqa: PT012
            connection.execute(insert(schema.VERSIONS).values(version=0))
            raise error
        assert raw(location, VERSIONS) == [(SCHEMA_VERSION,)]

    @sqlite_only
    def test_writers_queue_from_the_first_moment(
        self, database: Database, location: Location
    ) -> None:
        assert location.path is not None
        with closing(sqlite3.connect(location.path, timeout=0, isolation_level=None)) as other:
            with database.transaction(), pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("BEGIN IMMEDIATE")
            other.execute("BEGIN IMMEDIATE")

    def test_reading_sees_one_state_and_blocks_nobody(self, database: Database) -> None:
        with database.reading() as reader:
            assert len(reader.execute(select(schema.VERSIONS)).all()) == 1
            with database.transaction() as writer:
                writer.execute(insert(schema.VERSIONS).values(version=0))
            assert len(reader.execute(select(schema.VERSIONS)).all()) == 1
        assert len(raw(database.location, VERSIONS)) == 2

    def test_bugs_keep_their_own_error(self, database: Database) -> None:
        with pytest.raises(sqlalchemy.exc.IntegrityError), database.transaction() as connection:
            connection.execute(insert(schema.VERSIONS).values(version=SCHEMA_VERSION))

    def test_tables_and_columns_that_are_gone(self, database: Database) -> None:
        for statement in ("SELECT no_such FROM mnist_tune_schema", "SELECT * FROM no_such"):
            with pytest.raises(StorageError) as caught, database.reading() as connection:
                connection.exec_driver_sql(statement)
            one_line(caught, "lacks what mnist_tune stores there", "no_such")

    @sqlite_only
    def test_locked_by_another_program(self, location: Location) -> None:
        assert location.path is not None
        with open_database(location, create=True, busy_seconds=0.1) as database:
            with closing(sqlite3.connect(location.path, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                with pytest.raises(StorageError) as caught, database.transaction():
                    pass
                one_line(caught, "trials.db", "locked")
                assert raw(database.location, VERSIONS) == [(SCHEMA_VERSION,)]
            with database.transaction() as connection:
                connection.execute(insert(schema.VERSIONS).values(version=0))

    def test_opens_while_another_program_writes(
        self, database: Database, location: Location
    ) -> None:
        with database.transaction():
            for create in (True, False):
                open_database(location, create=create, busy_seconds=0).close()

    @sqlite_only
    def test_full_database(self, database: Database, location: Location) -> None:
        """SQLite's own limit gives the very error of a full disk, without a disk."""
        with pytest.raises(StorageError) as caught, database.transaction() as connection:  # noqa: PT012
            connection.exec_driver_sql("PRAGMA max_page_count=1")
            connection.exec_driver_sql("CREATE TABLE big (x)")
            connection.exec_driver_sql("INSERT INTO big VALUES (randomblob(1000000))")
        one_line(caught, "trials.db: the disk is full; free some space")
        assert raw(location, VERSIONS) == [(SCHEMA_VERSION,)]

    def test_read_only_refuses_to_write(self, database: Database, location: Location) -> None:
        Store(database).add_study(study_row())
        with open_database(location, create=False, read_only=True) as reader:
            assert Store(reader).study("l2_factor") == study_row()
            with pytest.raises(StorageError) as caught:
                Store(reader).change_study(study_row().uid, planned_trials=9)
        one_line(caught, "cannot be written" if location.is_sqlite else "read only")

    @sqlite_only
    def test_file_that_vanishes_is_not_made_anew(
        self, database: Database, location: Location
    ) -> None:
        assert location.path is not None
        database.close()
        location.path.unlink()
        with pytest.raises(StorageError) as caught:
            database.tables()
        one_line(caught, "trials.db")
        assert not location.path.exists()

    def test_kill_9_keeps_what_was_committed_and_nothing_else(self, location: Location) -> None:
        code = """
import sys, time
from mnist_tune.storage.database import open_database
from mnist_tune.storage.location import Location
database = open_database(Location.parse(sys.argv[1]), create=True)
with database.transaction() as connection:
    connection.exec_driver_sql("INSERT INTO mnist_tune_schema VALUES (0)")
with database.transaction() as connection:
    connection.exec_driver_sql("INSERT INTO mnist_tune_schema VALUES (-1)")
    print("written", flush=True)
    time.sleep(60)
"""
        child = start_python(code, location.server or location.path)
        assert receive(child) == "written"
        kill(child)
        with open_database(location, create=False) as database:
            assert raw(database.location, VERSIONS) == [(0,), (SCHEMA_VERSION,)]


def a_folder(path: Path) -> None:
    path.mkdir()


def a_text(path: Path) -> None:
    path.write_text("not a database, but longer than the hundred bytes of a header\n" * 3)


def a_short_text(path: Path) -> None:
    path.write_text("hm")


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def half_a_header(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + bytes(20))


def half_a_database(path: Path) -> None:
    open_database(Location.parse(path), create=True).close()
    path.write_bytes(path.read_bytes()[:6000])


def a_log_without_its_database(path: Path) -> None:
    path.touch()
    path.with_name(path.name + "-wal").write_bytes(b"x" * 100)


def a_scrambled_database(path: Path) -> None:
    open_database(Location.parse(path), create=True).close()
    content = path.read_bytes()
    path.write_bytes(content[:100] + b"\xaa" * (len(content) - 100))


def an_optuna_database(path: Path) -> None:
    storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
    optuna.create_study(storage=storage, study_name="theirs")
    storage.engine.dispose()


def another_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE studies (x)")


def an_older_database(path: Path) -> None:
    open_database(Location.parse(path), create=True).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE mnist_tune_schema SET version = 1")


def a_newer_database(path: Path) -> None:
    open_database(Location.parse(path), create=True).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO mnist_tune_schema VALUES (99)")


BROKEN: dict[Callable[[Path], None], str] = {
    a_folder: "is a folder",
    a_text: "not an SQLite database",
    a_short_text: "not an SQLite database",
    a_pipe: "not a regular file",
    half_a_header: "damaged",
    half_a_database: "damaged",
    a_log_without_its_database: "damaged",
    a_scrambled_database: "damaged",
    an_optuna_database: "another tool (study 'theirs')",
    another_database: "another program (table 'studies')",
    an_older_database: f"older mnist_tune (schema 1, this one knows {SCHEMA_VERSION})",
    a_newer_database: f"newer mnist_tune (schema 99, this one knows {SCHEMA_VERSION})",
}


class TestRefusals:
    @pytest.mark.parametrize("create", [True, False])
    @pytest.mark.parametrize("make", BROKEN, ids=lambda make: make.__name__)
    def test_what_is_not_ours_is_left_alone(
        self, tmp_path: Path, make: Callable[[Path], None], create: bool
    ) -> None:
        path = tmp_path / "trials.db"
        make(path)
        before = path.read_bytes() if path.is_file() else None
        with pytest.raises(StorageError) as caught:
            open_database(Location.parse(path), create=create)
        one_line(caught, str(path), BROKEN[make])
        assert (path.read_bytes() if path.is_file() else None) == before

    def test_file_in_the_way_of_the_folder(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(StorageError) as caught:
            open_database(here(tmp_path, "file/trials.db"), create=True)
        one_line(caught, "file is not a folder")
        with pytest.raises(StorageError, match="nothing is stored"):
            open_database(here(tmp_path, "file/trials.db"), create=False)

    def test_folder_that_nobody_can_make(self) -> None:
        with pytest.raises(StorageError) as caught:
            open_database(Location.parse("/proc/nowhere/trials.db"), create=True)
        one_line(caught, "/proc/nowhere", "give another --storage")

    def read_all(self, location: Location) -> None:
        with open_database(location, create=False) as database:
            Store(database).study("l2_factor")

    @sqlite_only
    def test_damage_within(self, location: Location) -> None:
        with open_database(location, create=True) as database:
            Store(database).add_study(study_row())
        assert location.path is not None
        content = location.path.read_bytes()
        location.path.write_bytes(content[:4096] + b"\xaa" * (len(content) - 4096))
        with pytest.raises(StorageError) as caught:
            self.read_all(location)
        one_line(caught, "trials.db is damaged")

    def test_missing_driver(self) -> None:
        with pytest.raises(StorageError) as caught:
            open_database(Location.parse("postgresql+nosuch://me:s3cret@host/x"), create=True)
        one_line(caught, "the driver for this server is not installed", "pip install")
        assert "s3cret" not in str(caught.value)


def failed(kind: type[Exception], **codes: object) -> Exception:
    """An error as SQLite, a server's driver or the system raises it, in words of no language."""
    error = kind("something\nnew")
    for name, code in codes.items():
        setattr(error, name, code)
    return error


class TestExplanations:
    """Errors that need a server or a rare disk, by their codes."""

    @pytest.mark.parametrize(
        ("error", "words"),
        [
            (failed(sqlite3.OperationalError, sqlite_errorname="SQLITE_IOERR_WRITE"), "could not be read or written"),
            (failed(sqlite3.OperationalError, sqlite_errorname="SQLITE_FULL"), "the disk is full; free"),
            (failed(sqlite3.OperationalError, sqlite_errorname="SQLITE_BUSY_SNAPSHOT"), "locked"),
            (failed(sqlite3.OperationalError, sqlite_errorname="SQLITE_NEW"), "something new"),
            (failed(sqlite3.OperationalError), "is damaged"),
            (failed(psycopg.OperationalError), "cannot be reached (something new)"),
            (failed(psycopg.errors.AdminShutdown), "cannot be reached (something new)"),
            (failed(psycopg.errors.InvalidPassword), "user or password"),
            (failed(psycopg.errors.InvalidCatalogName), "no database of this name"),
            (failed(psycopg.errors.InsufficientPrivilege), "lets this user read only (something new)"),
            (failed(psycopg.errors.DiskFull), "the disk is full; free"),
            (failed(psycopg.errors.UndefinedTable), "lacks what mnist_tune stores there"),
            (failed(psycopg.errors.DeadlockDetected), "something new"),
        ],
    )  # fmt: skip
    def test_the_innermost_code_counts(self, error: Exception, words: str) -> None:
        location = Location.parse("postgresql://me:s3cret@host/trials")
        outer = optuna.exceptions.StorageInternalError("An exception is raised during the commit.")
        outer.__cause__ = sqlalchemy.exc.OperationalError("SELECT 1", {}, error)
        assert is_database_error(outer)
        explanation = str(explain(outer, location))
        assert explanation.isprintable()
        assert words in explanation
        assert "postgresql://me:***@host/trials" in explanation

    @pytest.mark.parametrize(
        "error",
        [
            failed(sqlite3.ProgrammingError),
            failed(sqlite3.IntegrityError, sqlite_errorname="SQLITE_CONSTRAINT_UNIQUE"),
            failed(psycopg.errors.SyntaxError),
            failed(psycopg.errors.UniqueViolation),
            failed(ValueError),
        ],
    )
    def test_bugs_are_no_errors_of_the_database(self, error: Exception) -> None:
        assert not is_database_error(error)

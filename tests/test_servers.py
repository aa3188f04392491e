"""Studies whose database is on a PostgreSQL server: the same tables, whatever befalls the server.

Their tables are compared with those of an undisturbed run in an SQLite file.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import postgresql as servers
from tests.postgresql import Server
from tests.processes import PATIENT, Place, Running

OPTIONS = ("--data", "embedded", "--workers", 1, "--checkpoint-seconds", "0.2")
RUN = ("run", "served.py", *OPTIONS)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture
def place(tmp_path: Path, postgresql: Server) -> Place:
    place = Place(tmp_path, postgresql.database())
    place.study("served", PATIENT)
    return place


def assert_nothing_shows(place: Place, undisturbed_tables: dict[str, bytes]) -> None:
    assert place.states() == ["COMPLETE"] * 2
    assert place.checkpoints() == []
    assert place.tables("served") == undisturbed_tables


def under_way(place: Place, running: Running) -> None:
    running.until(lambda: place.under_way(0), "the first trial was under way")


def test_a_study_on_a_server_from_end_to_end(
    place: Place, undisturbed_tables: dict[str, bytes], postgresql: Server
) -> None:
    with place.start(*RUN) as running:
        under_way(place, running)
        os.kill(running.process.pid, signal.SIGSTOP)  # until the others have looked
        refused = place.call(*RUN)
        assert refused.returncode == 2
        assert f"is being worked on by process {running.process.pid} on" in refused.stderr
        assert f"running (process {running.process.pid})" in place.done("status").stdout
        os.kill(running.process.pid, signal.SIGCONT)
        assert running.code() == 0
        said = running.stdout + running.stderr
    assert_nothing_shows(place, undisturbed_tables)
    for command in (("list",), ("status",), ("watch", "served", "--once"), ("report", "served")):
        done = place.done(*command)
        said += done.stdout + done.stderr
        assert "served" in done.stdout
    assert postgresql.password not in said
    place.done("delete", "served", "--yes")
    assert place.rows("SELECT * FROM trials") == place.rows("SELECT * FROM mnist_tune_runs") == []
    assert list(place.folder.rglob("artifacts/*")) == []


def crash_and_come_back(server: Server, _place: Place) -> None:
    server.crash()
    time.sleep(3)
    server.start()


def cut_all_connections(_server: Server, place: Place) -> None:
    servers.rows(
        place.server,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid != pg_backend_pid()",
    )


def cut_the_one_that_holds_the_lease(_server: Server, place: Place) -> None:
    cut = servers.rows(
        place.server,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name LIKE 'mnist-tune %'",
    )
    assert cut == [(True,)]


@pytest.mark.parametrize(
    "befall",
    [
        crash_and_come_back,
        pytest.param(cut_all_connections, marks=pytest.mark.thorough),
        pytest.param(cut_the_one_that_holds_the_lease, marks=pytest.mark.thorough),
    ],
)
def test_what_befalls_the_server_and_then_the_coordinator_changes_no_result(
    place: Place,
    undisturbed_tables: dict[str, bytes],
    postgresql: Server,
    befall: Callable[[Server, Place], None],
) -> None:
    with place.start(*RUN) as running:
        under_way(place, running)
        befall(postgresql, place)
        running.until(lambda: place.under_way(1), "the second trial was under way")
        assert "the database server cannot be reached" in running.stderr
        assert "is back" in running.stderr
        assert "Traceback" not in running.stderr
        running.kill()
    assert place.states() == ["COMPLETE", "RUNNING"]
    place.done("resume", "served", *OPTIONS)
    assert_nothing_shows(place, undisturbed_tables)


@pytest.mark.thorough
def test_a_confirmation_outlasts_its_server(
    place: Place, undisturbed_tables: dict[str, bytes], postgresql: Server
) -> None:
    place.done(*RUN, "--no-confirm")
    with place.start("confirm", "served", *OPTIONS) as running:
        running.until(place.checkpoints, "the confirmation was under way")
        crash_and_come_back(postgresql, place)
        assert running.code() == 0, running.stderr
        assert "is back" in running.stderr
    assert_nothing_shows(place, undisturbed_tables)


@pytest.mark.thorough
def test_ctrl_c_while_it_waits_for_the_server(place: Place, postgresql: Server) -> None:
    with place.start(*RUN) as running:
        under_way(place, running)
        postgresql.crash()
        try:
            running.until(lambda: "waiting for it" in running.stderr, "it waited for the server")
            running.process.send_signal(signal.SIGINT)
            assert running.code() == 130
        finally:
            postgresql.start()
        assert "Traceback" not in running.stderr
    place.done("resume", "served", *OPTIONS)
    assert place.states() == ["COMPLETE"] * 2


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    place = Place(tmp_path, "postgresql://me:s3cret@127.0.0.1:1/trials")
    place.study("served", PATIENT)
    for command in (RUN, ("list",), ("status",), ("report", "served")):
        done = place.call(*command)
        assert done.returncode == 2
        assert "server cannot be reached" in done.stderr
        assert [line.partition(":")[0] for line in done.stderr.splitlines()][-1] == "error"
        assert "s3cret" not in done.stderr

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from mnist_tune.errors import StorageError
from mnist_tune.storage.lease import Holder, Lease, holder, holders
from mnist_tune.storage.location import Location
from tests.storage.storage_samples import kill, python, receive, send, sqlite_only, start_python

HOLD = """
import subprocess, sys, time
from mnist_tune.errors import StorageError
from mnist_tune.storage.lease import Lease
from mnist_tune.storage.location import Location
print("ready", flush=True)
sys.stdin.readline()
try:
    lease = Lease(Location.parse(sys.argv[1]), sys.argv[2])
    lease.acquire()
except StorageError as error:
    print(error, flush=True)
    sys.exit()
if len(sys.argv) > 3:
    worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    print(worker.pid, flush=True)
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def place(location: Location) -> Location:
    return location


def start_holders(place: Location, count: int, *more: str) -> list[subprocess.Popen[str]]:
    """Processes that all reach for the lease at the same moment."""
    processes = [
        start_python(HOLD, place.server or place.path, "l2/factor", *more) for _ in range(count)
    ]
    for process in processes:
        assert receive(process) == "ready"
    for process in processes:
        send(process)
    return processes


def test_is_held_by_one_and_told_to_all(place: Location) -> None:
    assert holder(place, "l2") is None
    with Lease(place, "l2"):
        found = holder(place, "l2")
        assert found is not None
        assert found.pid == os.getpid()
        with pytest.raises(StorageError) as caught:
            Lease(place, "l2").acquire()
        message = str(caught.value)
        assert message.isprintable()
        for words in (
            f"process {os.getpid()} on {found.host}",
            found.since[11:16],
            f"kill {os.getpid()}",
        ):
            assert words in message
    assert holder(place, "l2") is None
    with Lease(place, "l2"):
        pass


def test_refused_one_does_not_disturb_the_holder(place: Location) -> None:
    with Lease(place, "l2"):
        second = Lease(place, "l2")
        with pytest.raises(StorageError):
            second.acquire()
        second.release()
        assert holder(place, "l2") is not None
        with pytest.raises(StorageError):
            Lease(place, "l2").acquire()


def test_one_lease_for_each_study_and_database(place: Location, tmp_path: Path) -> None:
    names = ["a", "A", "a/b", "a_b", "a:b", "..", "☃" * 300, "", "a\nb"]
    leases = [Lease(place, name) for name in names]
    leases.append(Lease(Location.parse(tmp_path / "other.db"), "a"))
    for lease in leases:
        lease.acquire()
    assert set(holders(place, names)) == set(names)
    for lease in leases:
        lease.release()


@sqlite_only
def test_two_names_of_one_file_share_a_lease(place: Location, tmp_path: Path) -> None:
    assert place.path is not None
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "link.db").symlink_to(place.path)
    with Lease(place, "a"), pytest.raises(StorageError):
        Lease(Location.parse(tmp_path / "far" / "link.db"), "a").acquire()


def test_of_processes_that_start_together_one_wins(place: Location) -> None:
    processes = start_holders(place, 3)
    lines = [receive(process) for process in processes]
    try:
        assert lines.count("held") == 1
        winner = processes[lines.index("held")]
        assert all(f"process {winner.pid} " in line for line in lines if line != "held")
        assert holder(place, "l2/factor") is not None
    finally:
        for process in processes:
            kill(process)


def test_kill_9_frees_it_while_workers_live_on(place: Location) -> None:
    (process,) = start_holders(place, 1, "with a worker")
    worker = int(receive(process))
    assert receive(process) == "held"
    try:
        found = holder(place, "l2/factor")
        assert found is not None
        assert found.pid == process.pid
        kill(process)
        os.kill(worker, 0)  # is still there
        assert holder(place, "l2/factor") is None
        with Lease(place, "l2/factor"):
            assert holder(place, "l2/factor") == Holder(
                os.getpid(),
                os.uname().nodename,
                holder(place, "l2/factor").since,  # type: ignore[union-attr]
            )
    finally:
        os.kill(worker, signal.SIGKILL)


def test_suspended_holder_keeps_it(place: Location) -> None:
    (process,) = start_holders(place, 1)
    assert receive(process) == "held"
    try:
        os.kill(process.pid, signal.SIGSTOP)
        with pytest.raises(StorageError):
            Lease(place, "l2/factor").acquire()
    finally:
        kill(process)


def test_asking_never_makes_an_acquisition_fail(place: Location) -> None:
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            holder(place, "l2")

    askers = [threading.Thread(target=ask) for _ in range(2)]
    for asker in askers:
        asker.start()
    try:
        for _ in range(30):
            with Lease(place, "l2"):
                pass
    finally:
        stop.set()
        for asker in askers:
            asker.join()


@sqlite_only
def test_those_who_ask_do_not_meet_each_other(place: Location) -> None:
    with Lease(place, "l2"):
        pass
    (file,) = place.locks.glob("*.lock")
    with file.open("rb") as asked:
        fcntl.flock(asked, fcntl.LOCK_SH)
        assert holder(place, "l2") is None


@sqlite_only
def test_broken_note_of_a_holder_is_no_obstacle(place: Location) -> None:
    with Lease(place, "l2"):
        (note,) = place.locks.glob("*.json")
        for content in ("", "[1]", '{"a": 1}'):
            note.write_text(content)
            assert holder(place, "l2") == Holder()
        with pytest.raises(StorageError, match="another process"):
            Lease(place, "l2").acquire()


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "locks").touch()
    with pytest.raises(StorageError, match="the lock file"):
        Lease(Location.parse(tmp_path / "trials.db"), "l2").acquire()
    assert holder(Location.parse(tmp_path / "trials.db"), "l2") is None


def test_asking_is_cheap_and_makes_nothing(tmp_path: Path) -> None:
    code = """
import sys
from mnist_tune.storage.lease import holder
from mnist_tune.storage.location import Location
assert holder(Location.parse(sys.argv[1]), "l2") is None
assert "filelock" not in sys.modules
"""
    python(code, tmp_path / "trials.db")
    assert not list(tmp_path.iterdir())


@sqlite_only
def test_who_waits_while_the_files_go_gets_a_lease_on_new_ones(place: Location) -> None:
    first, waiting = Lease(place, "l2"), Lease(place, "l2")
    first.acquire()
    timer = threading.Timer(0.2, first.discard)  # `waiting` has patience for longer
    timer.start()
    with waiting:
        timer.join()
        found = holder(place, "l2")
        assert found is not None
        assert found.pid == os.getpid()
        with pytest.raises(StorageError, match="is being worked on"):
            Lease(place, "l2").acquire()


@sqlite_only
def test_discarding_leaves_no_file(place: Location) -> None:
    other = Lease(place, "other")
    for lease in (Lease(place, "l2"), other):
        assert not lease.has_files()
        lease.acquire()
        assert lease.has_files()
    Lease(place, "l2").discard()  # not held by this one
    assert len(list(place.locks.iterdir())) == 4
    other.discard()
    assert len(list(place.locks.iterdir())) == 2

"""Full and read-only disks, for real: in a private mount namespace, or with a file-size limit.

Everything happens in child processes, so that limits, mounts and given-up privileges end with
them. A machine that allows no private mounts still runs the tests with limits and permissions.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mnist_tune.storage.database import open_database
from mnist_tune.storage.location import Location
from mnist_tune.storage.optuna_adapter import create_study
from mnist_tune.storage.store import Store
from tests.storage.storage_samples import (
    CHECKOUT,
    UID,
    epoch_row,
    python,
    run_row,
    study_row,
    timing_row,
    trial_row,
)

UNSHARE = ("unshare", "--mount", "--map-root-user")

PRELUDE = f"""
import os, sys
sys.path.insert(0, {str(CHECKOUT / "tests" / "storage")!r})
from contextlib import contextmanager
from pathlib import Path
from tests.storage.storage_samples import UID, epoch_row, run_row, study_row, trial_row, timing_row
from mnist_tune.errors import StorageError
from mnist_tune.storage.database import open_database
from mnist_tune.storage.lease import Lease, holder
from mnist_tune.storage.location import Location
from mnist_tune.storage.overview import studies_overview
from mnist_tune.storage.records import EpochRow
from mnist_tune.storage.store import Store
import filelock, shutil, sqlite3
folder = Path(sys.argv[1])
location = Location.parse(folder / "storage" / "trials.db")

@contextmanager
def refused(*words):
    try:
        yield
    except StorageError as error:
        assert str(error).isprintable(), error
        assert any(word in str(error) for word in words), error
    else:
        raise AssertionError("nothing was refused")

def make():
    shutil.copytree(sys.argv[2], location.folder)

def write(store, number, epochs=3):
    rows = [epoch_row(number, 0, epoch, val_loss=0.1) for epoch in range(1, epochs + 1)]
    store.write_trial(trial_row(number), [run_row(number)], rows, timing_row(number))
"""

FILL = """
def fill():
    with open_database(location, create=False) as database:
        store = Store(database)
        number = 1
        with refused(*WORDS):
            while number < 100:
                write(store, number, epochs=1000)
                number += 1
        print(number)
        stored = store.trials(UID)
        assert len(stored) == number, (len(stored), number)
        assert len(store.rows(EpochRow, study_uid=UID)) == 3 + 1000 * (number - 1)
        from mnist_tune.storage.optuna_adapter import create_study
        study = create_study(database, name="l2_factor", uid=UID, direction="maximize")
        with refused(*WORDS):
            study.set_system_attributes({f"a{i}": "x" * 2000 for i in range(2000)})
"""

FULL_DISK = """
WORDS = ["the disk is full; free"]
make()
fill()
(folder / "ballast").unlink()
with open_database(location, create=False) as database:
    write(Store(database), 99)
    assert Store(database).trials(UID)[-1].trial_number == 99
"""

FULL_FROM_THE_START = """
with refused("disk is full", "cannot be made (No space left", "could not be read or written"):
    open_database(location, create=True)
"""

FILE_SIZE_LIMIT = """
import resource, signal
WORDS = ["the disk could not be read or written", "the disk is full"]
make()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
fill()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
with open_database(location, create=False) as database:
    write(Store(database), 99)
"""

READ_ONLY = """
def check_read_only():
    for create in (True, False):
        with refused("cannot be written", "cannot be made"):
            open_database(location, create=create)
    if not os.access(location.folder, os.W_OK):
        with refused("cannot be made"):
            open_database(Location.parse(location.folder / "new" / "trials.db"), create=True)
        with refused("the lock file"):
            Lease(location, "l2_factor").acquire()
    before = sorted(path.name for path in location.folder.iterdir())
    (overview,) = studies_overview(location)
    assert overview.best.objective == 0.97, overview
    assert overview.counts.running == 1, overview
    assert holder(location, "l2_factor") is None
    with open_database(location, create=False, read_only=True) as database:
        assert Store(database).study("l2_factor") == study_row()
        with refused("cannot be written"):
            Store(database).change_study(UID, planned_trials=3)
    assert sorted(path.name for path in location.folder.iterdir()) == before
"""

READ_ONLY_MOUNT = """
import subprocess
make()
subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
check_read_only()
"""

HALF_COPIED = """
import shutil, subprocess
make()
writer = open_database(location, create=False)
Store(writer).change_study(UID, planned_trials=9)
copy = Location.parse(folder / "copy" / "trials.db")
copy.folder.mkdir()
for ending in ("", "-wal"):
    shutil.copy(f"{location.path}{ending}", f"{copy.path}{ending}")
writer.close()
subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
with refused("copy all of"):
    studies_overview(copy)
"""

PERMISSIONS = """
def give_up_privileges():
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)

def check_unreadable():
    for attempt in (lambda: open_database(location, create=True), lambda: studies_overview(location)):
        with refused("cannot be read"):
            attempt()

make()
# Import all there is while the packages can be read: a checkout may be closed to other users.
for read_only in (False, True):
    with open_database(location, create=False, read_only=read_only) as database:
        Store(database).study("l2_factor")
studies_overview(location)
CHECKS = [
    (0o444, 0o555, check_read_only),
    (0o444, 0o777, check_read_only),
    (0o666, 0o555, check_read_only),
    (0o000, 0o777, check_unreadable),
]
for file_mode, folder_mode, check in CHECKS:
    location.path.chmod(file_mode)
    location.folder.chmod(folder_mode)
    child = os.fork()  # privileges do not come back
    if child == 0:
        try:
            give_up_privileges()
            check()
            os._exit(0)
        except BaseException as error:
            print(oct(file_mode), oct(folder_mode), repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    print(os.waitpid(child, 0)[1], end=" ")
location.folder.chmod(0o777)
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> tuple[str, ...]:
    """Command that runs another one with a small disk of its own mounted at `tmp_path`."""
    mount = f'mount -t tmpfs -o size=1m none "{tmp_path}" && exec "$@"'
    wrapper = (*UNSHARE, "sh", "-c", mount, "sh")
    try:
        subprocess.run([*wrapper, "true"], check=True, capture_output=True, timeout=30)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this machine allows no private mounts")
    return wrapper


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage folder with one finished trial in our tables and a running one in Optuna's."""
    folder = tmp_path_factory.mktemp("made") / "storage"
    with open_database(Location.parse(folder / "trials.db"), create=True) as database:
        store = Store(database)
        store.add_study(study_row())
        epochs = [epoch_row(0, 0, epoch) for epoch in (1, 2, 3)]
        store.write_trial(trial_row(), [run_row()], epochs, timing_row())
        create_study(database, name="l2_factor", uid=UID, direction="maximize").ask()
    return folder


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach, unlike `tmp_path`."""
    with tempfile.TemporaryDirectory(prefix="mnist_tune-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_full_disk_loses_nothing_and_goes_on(
    tmp_path: Path, made: Path, small_disk: tuple[str, ...]
) -> None:
    ballast = '(folder / "ballast").write_bytes(bytes(400_000))\n'
    written = python(PRELUDE + FILL + ballast + FULL_DISK, tmp_path, made, wrapper=small_disk)
    assert int(written) > 1


def test_disk_that_was_full_before(tmp_path: Path, made: Path, small_disk: tuple[str, ...]) -> None:
    ballast = """
with (folder / "ballast").open("wb", buffering=0) as file:
    try:
        while True:
            file.write(bytes(4096))
    except OSError:
        pass
"""
    python(PRELUDE + ballast + FULL_FROM_THE_START, tmp_path, made, wrapper=small_disk)


def test_file_size_limit_loses_nothing_and_goes_on(tmp_path: Path, made: Path) -> None:
    written = python(PRELUDE + FILL + FILE_SIZE_LIMIT, tmp_path, made)
    assert int(written) > 1


def test_read_only_disk(tmp_path: Path, made: Path, small_disk: tuple[str, ...]) -> None:
    python(PRELUDE + READ_ONLY + READ_ONLY_MOUNT, tmp_path, made, wrapper=small_disk)


def test_half_copied_database_on_a_read_only_disk(
    tmp_path: Path, made: Path, small_disk: tuple[str, ...]
) -> None:
    python(PRELUDE + HALF_COPIED, tmp_path, made, wrapper=small_disk)


def test_missing_permissions(open_folder: Path, made: Path) -> None:
    assert python(PRELUDE + READ_ONLY + PERMISSIONS, open_folder, made) == "0 0 0 0 "

"""Deleting a study: all of it, nothing else, and however often it is interrupted."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from mnist_tune.errors import StorageError
from mnist_tune.storage.database import open_database
from mnist_tune.storage.lease import Lease
from mnist_tune.storage.location import Location
from mnist_tune.storage.optuna_adapter import open_optuna
from mnist_tune.storage.store import Store
from mnist_tune.storage.whole_studies import Deletion, remove_study
from tests.storage.storage_samples import CHECKOUT, kill, receive, start_python, study_row
from tests.storage.study_samples import (
    content,
    content_of,
    files_below,
    make_analysis,
    make_study,
    orphans,
    uid_of,
)

# Kills itself before or after the n-th of the steps that change something.
KILLED = f"""
import os, pathlib, shutil, signal, sys
sys.path.insert(0, {str(CHECKOUT)!r})
from mnist_tune.storage import lease, store, whole_studies
from mnist_tune.storage.location import Location
steps = 0
def counted(owner, name):
    original = getattr(owner, name)
    def step(*arguments, **options):
        global steps
        steps += 1
        here = steps == int(sys.argv[2])
        if here and sys.argv[3] == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*arguments, **options)
        if here and sys.argv[3] == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(owner, name, step)
for owner, name in (
    (shutil, "rmtree"),
    (whole_studies, "delete_study"),
    (store, "delete_analysis"),
    (store.Store, "delete_study"),
    (lease._FileLease, "discard"),
):
    counted(owner, name)
whole_studies.remove_study(Location.parse(sys.argv[1]), "a", lambda doomed: None)
print(steps)
"""

HOLD = """
import sys, time
from mnist_tune.storage.lease import Lease
from mnist_tune.storage.location import Location
with Lease(Location.parse(sys.argv[1]), "a"):
    print("held", flush=True)
    time.sleep(60)
"""


def yes(_: Deletion) -> None:
    pass


@pytest.fixture
def place(tmp_path: Path) -> Location:
    """A storage with two studies, which nobody has open."""
    location = Location.parse(tmp_path / "storage" / "mnist_tune.db")
    with open_database(location, create=True) as database:
        for name in "ab":
            make_study(database, name)
        for name, *studies in (("of a", "a"), ("of both", "b", "a"), ("of b", "b")):
            make_analysis(database, name, *studies)
    for name in "ab":
        with Lease(location, name):
            pass
    return location


def killed(place: Location, step: int, when: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", KILLED, str(place.path), str(step), when],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def assert_gone(place: Location, before: tuple[object, dict[str, str]]) -> None:
    """Nothing is left of study a; all of study b is."""
    rows, files = before
    assert not any(content_of(place.path, "a").values())
    assert orphans(place.path) == []
    assert content_of(place.path, "b") == rows
    found = content(place.path)
    assert [row[0] for row in found["mnist_tune_analyses"]] == ["of b"]
    assert [row[0] for row in found["mnist_tune_pictures"]] == ["of b"]
    left = files_below(place.artifacts) | files_below(place.checkpoints)
    assert left == {name: text for name, text in files.items() if name.startswith(uid_of("b"))}
    for folder in (place.artifacts, place.checkpoints):
        assert [p.name for p in folder.iterdir()] == [uid_of("b")]
    names = {p.name.partition("-")[0] for p in place.locks.iterdir()}
    assert names == {"creation.lock", "b"}


@pytest.fixture
def before(place: Location) -> tuple[object, dict[str, str]]:
    """What must stay, and all files."""
    return content_of(place.path, "b"), {
        **files_below(place.artifacts),
        **files_below(place.checkpoints),
    }


def test_takes_all_of_it_and_nothing_of_others(
    place: Location, before: tuple[object, dict[str, str]]
) -> None:
    told: list[Deletion] = []
    doomed = remove_study(place, "a", told.append)
    assert doomed is not None
    assert told == [doomed]
    assert (doomed.study.name, doomed.trials, doomed.confirmations) == ("a", 2, 1)
    assert (doomed.files, doomed.analyses) == (5, ("of a", "of both"))
    assert_gone(place, before)


def test_the_name_can_be_used_again(place: Location) -> None:
    remove_study(place, "a", yes)
    with Lease(place, "a"), open_database(place, create=False) as database:
        make_study(database, "a")


def test_who_does_not_agree_loses_nothing(place: Location) -> None:
    def no(_: Deletion) -> None:
        raise KeyboardInterrupt

    before = content(place.path), files_below(place.artifacts), files_below(place.checkpoints)
    with pytest.raises(KeyboardInterrupt):
        remove_study(place, "a", no)
    after = content(place.path), files_below(place.artifacts), files_below(place.checkpoints)
    assert after == before
    with Lease(place, "a"):  # nobody holds it any more
        pass


def test_nobody_can_start_to_work_on_it_while_people_think(place: Location) -> None:
    def think(_: Deletion) -> None:
        with pytest.raises(StorageError, match="is being worked on"):
            Lease(place, "a").acquire()

    assert remove_study(place, "a", think) is not None


def test_a_study_that_somebody_works_on_is_refused(place: Location) -> None:
    before = content(place.path), files_below(place.artifacts), files_below(place.checkpoints)
    coordinator = start_python(HOLD, place.path)
    assert receive(coordinator) == "held"
    with pytest.raises(StorageError, match=f"is being worked on by process {coordinator.pid} "):
        remove_study(place, "a", yes)
    after = content(place.path), files_below(place.artifacts), files_below(place.checkpoints)
    assert after == before
    kill(coordinator)
    assert remove_study(place, "a", yes) is not None


STEPS = 6  # two folders, Optuna's rows, ours with two analyses within, lock files


def test_the_number_of_steps(place: Location) -> None:
    done = killed(place, 0, "never")
    assert (done.returncode, done.stdout) == (0, f"{STEPS + 1}\n"), done.stderr


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", range(1, STEPS + 2))
def test_what_kill_9_interrupts_the_same_command_finishes(
    place: Location, before: tuple[object, dict[str, str]], step: int, when: str
) -> None:
    assert killed(place, step, when).returncode == -signal.SIGKILL
    all_done = step == STEPS + 1 and when == "after"
    if not all_done:
        remove_study(place, "a", yes)
    assert_gone(place, before)


def test_what_is_left_of_a_deletion_is_told_from_a_study_that_never_was(place: Location) -> None:
    # Step 7 gives the lease back: the rows are gone, the lock files are not.
    killed(place, STEPS + 1, "before")
    assert remove_study(place, "a", yes) is None
    for name in ("a", "typo"):
        with pytest.raises(StorageError, match=f"no study '{name}' in .*, which holds b: type"):
            remove_study(place, name, yes)
    assert {p.name.partition("-")[0] for p in place.locks.iterdir()} == {"creation.lock", "b"}


def test_where_nothing_is_stored_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="nothing is stored"):
        remove_study(Location.parse(tmp_path / "storage" / "mnist_tune.db"), "a", yes)
    assert list(tmp_path.iterdir()) == []


def test_a_study_whose_creation_was_cut_short(tmp_path: Path) -> None:
    location = Location.parse(tmp_path / "mnist_tune.db")
    with open_database(location, create=True) as database:
        Store(database).add_study(study_row(name="a"))
    assert remove_study(location, "a", yes) is not None
    assert orphans(location.path) == []
    assert content(location.path)["mnist_tune_studies"] == []
    assert "studies" not in content(location.path)


def test_an_optuna_study_of_that_name_that_is_not_ours_stays(tmp_path: Path) -> None:
    location = Location.parse(tmp_path / "mnist_tune.db")
    with open_database(location, create=True) as database:
        Store(database).add_study(study_row(name="a"))
        theirs = optuna.create_study(storage=open_optuna(database), study_name="a")
        theirs.ask()
    remove_study(location, "a", yes)
    assert len(content(location.path)["trials"]) == 1


def test_files_that_cannot_be_removed(
    place: Location, monkeypatch: pytest.MonkeyPatch, before: tuple[object, dict[str, str]]
) -> None:
    def refuse(_: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", refuse)
        with pytest.raises(StorageError, match=r"cannot be removed \(Permission denied\).*same"):
            remove_study(place, "a", yes)
    remove_study(place, "a", yes)
    assert_gone(place, before)


def test_a_folder_that_is_a_link_is_not_followed(place: Location, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (place.artifacts / uid_of("a")).rename(elsewhere)
    (place.artifacts / uid_of("a")).symlink_to(elsewhere)
    before = files_below(elsewhere)
    with pytest.raises(StorageError, match="cannot be removed"):
        remove_study(place, "a", yes)
    assert files_below(elsewhere) == before

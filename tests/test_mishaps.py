"""What may befall files, clocks and databases while a study runs, each for real.

One undisturbed run is the reference for the exported tables.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.processes import PATIENT, Place, Running, command, environment, results_in

OPTIONS = ("--data", "embedded", "--workers", 1, "--checkpoint-seconds", "0.2")
RUN = ("run", "mishaps.py", *OPTIONS)
RESUME = ("resume", "mishaps", *OPTIONS)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    place.study("mishaps", PATIENT)
    return place


def assert_nothing_shows(place: Place, undisturbed_tables: dict[str, bytes]) -> None:
    assert place.states() == ["COMPLETE"] * 2
    assert place.checkpoints() == []
    assert place.tables("mishaps") == undisturbed_tables


def last_line(running: Running, code: int) -> str:
    """Its last word, which must be an error in one line."""
    assert running.code() == code
    running.gone()
    assert "Traceback" not in running.stderr
    lines = running.stderr.splitlines()
    assert sum(line.startswith("error: ") for line in lines) == 1, running.stderr
    return lines[-1]


def database_files(place: Place) -> list[Path]:
    return sorted(place.database.parent.glob(f"{place.database.name}*"))


# The database


@pytest.mark.thorough
def test_another_program_keeps_it_locked_for_a_minute(
    place: Place, undisturbed_tables: dict[str, bytes]
) -> None:
    with place.start(*RUN) as running:
        running.until(lambda: place.under_way(0), "the first trial was under way")
        with closing(sqlite3.connect(place.database, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            time.sleep(60)
            other.execute("ROLLBACK")
        assert running.code() == 0
    assert_nothing_shows(place, undisturbed_tables)


def test_suspended_it_keeps_its_study_and_deleted_under_way_it_is_rescued(
    place: Place, undisturbed_tables: dict[str, bytes]
) -> None:
    with place.start(*RUN) as running:
        running.until(lambda: place.under_way(0), "the first trial was under way")
        os.kill(running.process.pid, signal.SIGSTOP)
        refused = place.call(*RESUME)
        os.kill(running.process.pid, signal.SIGCONT)
        assert refused.returncode == 2
        assert "Traceback" not in refused.stderr
        assert f"process {running.process.pid}" in refused.stderr
        running.until(lambda: place.under_way(1), "the second trial was under way")
        for file in database_files(place):
            file.unlink()
        said = last_line(running, 2)
    (rescued,) = database_files(place)
    assert f"all that was stored is in {rescued}" in said
    rescued.rename(place.database)
    assert place.states()[0] == "COMPLETE"
    place.done(*RESUME)
    assert_nothing_shows(place, undisturbed_tables)


@pytest.mark.thorough
def test_cut_off_under_way_a_backup_goes_on(
    place: Place, undisturbed_tables: dict[str, bytes]
) -> None:
    with place.start(*RUN) as running:
        running.until(lambda: place.under_way(1), "the second trial was under way")
        place.done("backup", "mishaps", "kept/mnist_tune.db")
        running.kill()
        running.gone()
    with closing(sqlite3.connect(place.database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    os.truncate(place.database, place.database.stat().st_size // 2)
    refused = place.call(*RESUME)
    assert refused.returncode == 2
    assert "is damaged: restore it from a backup" in refused.stderr.splitlines()[-1]
    shutil.rmtree(place.database.parent)
    (place.folder / "kept").rename(place.database.parent)
    place.done(*RESUME)
    assert_nothing_shows(place, undisturbed_tables)


def test_overwritten_under_way_it_says_so(place: Place) -> None:
    with place.start(*RUN) as running:
        running.until(lambda: place.under_way(0), "the first trial was under way")
        with place.database.open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            file.write(b"\xaa" * size)
        place.database.with_name("mnist_tune.db-wal").write_bytes(b"")
        said = last_line(running, 2)
    assert "storage/mnist_tune.db" in said
    told = place.call("doctor", "--data", "embedded")
    assert told.returncode == 2
    assert "Traceback" not in told.stderr


# Its neighbours


@pytest.mark.thorough
def test_folders_beside_it_vanish_at_any_time(
    place: Place, undisturbed_tables: dict[str, bytes]
) -> None:
    with place.start(*RUN) as running:
        running.until(place.checkpoints, "there was a checkpoint")
        for folder in ("checkpoints", "artifacts"):
            shutil.rmtree(place.database.parent / folder, ignore_errors=True)
        running.until(
            lambda: any("confirmation" in name for name in place.checkpoints()),
            "the confirmation was under way",
        )
        shutil.rmtree(place.database.parent / "checkpoints", ignore_errors=True)
        assert running.code() == 0
    assert "Traceback" not in running.stderr
    assert_nothing_shows(place, undisturbed_tables)
    shutil.rmtree(place.database.parent / "artifacts")
    place.done("best", "mishaps", "--save", "best.keras", "--data", "embedded")
    assert (place.folder / "best.keras").is_file()


@pytest.mark.thorough
def test_something_in_the_way_of_artifacts_is_named(
    place: Place, undisturbed_tables: dict[str, bytes]
) -> None:
    obstacle = place.database.parent / "artifacts"
    obstacle.parent.mkdir()
    obstacle.write_text("mine", encoding="utf-8")
    with place.start(*RUN) as running:
        said = last_line(running, 2)
    assert str(obstacle) in said
    assert place.states() == ["COMPLETE"] * 2
    obstacle.unlink()
    place.done(*RESUME)
    assert_nothing_shows(place, undisturbed_tables)


def on_a_small_disk(place: Place, script: str) -> str:
    """Run a script that may mount disks which nobody else sees; what its first command said.

    The script writes what that says to first.txt, its exit code to code.txt, and exports in the
    end to `export`.
    """
    ended = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", script],
        cwd=place.folder,
        env=environment(place.folder),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if ended.returncode == 77 or "unshare" in ended.stderr:
        pytest.skip("this machine allows no private mounts")
    assert ended.returncode == 0, ended.stderr
    said = (place.folder / "first.txt").read_text(encoding="utf-8")
    assert (place.folder / "code.txt").read_text(encoding="utf-8") == "2\n", said
    assert "Traceback" not in said
    return said


@pytest.mark.thorough
def test_a_disk_that_fills_up_under_way(place: Place, undisturbed_tables: dict[str, bytes]) -> None:
    """The disk is a small one of its own, full from the moment at which trials are under way."""
    storage = place.database.parent
    storage.mkdir()
    script = f"""
mount -t tmpfs -o size=2m none {storage} || exit 77
{" ".join(command(*RUN))} 2> first.txt & run=$!
until [ -n "$(find {storage}/checkpoints -name '*.ckpt' 2> /dev/null)" ]; do
  kill -0 $run || exit 78
  sleep 0.05
done
cat /dev/zero > {storage}/ballast 2> /dev/null
wait $run
echo $? > code.txt
rm {storage}/ballast
{" ".join(command(*RESUME))} 2> resumed.txt || exit 79
{" ".join(command("export", "mishaps", "--out", "export"))}
"""
    said = on_a_small_disk(place, script)
    assert "the disk is full; free some space and type the same command again" in said
    assert undisturbed_tables.items() <= results_in(place.folder / "export").items()


@pytest.mark.thorough
def test_a_disk_too_small_for_artifacts(place: Place, undisturbed_tables: dict[str, bytes]) -> None:
    """Neither pictures nor the weights of the confirmation find room; all trials do."""
    artifacts = place.database.parent / "artifacts"
    artifacts.mkdir(parents=True)
    script = f"""
mount -t tmpfs -o size=16k none {artifacts} || exit 77
{" ".join(command(*RUN))} 2> first.txt
echo $? > code.txt
umount {artifacts}
{" ".join(command(*RESUME))} 2> resumed.txt || exit 79
{" ".join(command("export", "mishaps", "--out", "export"))}
"""
    said = on_a_small_disk(place, script)
    assert "(2/2" in said
    assert f"{artifacts}" in said.splitlines()[-1]
    assert "(No space left on device): make room there" in said.splitlines()[-1]
    assert place.states() == ["COMPLETE"] * 2
    assert undisturbed_tables.items() <= results_in(place.folder / "export").items()
    assert list(artifacts.rglob("seed-*.ckpt"))


# Clocks


@pytest.mark.thorough
def test_clock_and_time_zone_are_others_when_it_goes_on(
    place: Place, undisturbed_tables: dict[str, bytes]
) -> None:
    """The clock went back: what is stored seems to come from tomorrow."""
    with place.start(*RUN, TZ="America/New_York") as running:
        running.until(lambda: place.under_way(1), "the second trial was under way")
        running.ctrl_c()
        assert running.code() == 130
        running.gone()
    with closing(sqlite3.connect(place.database)) as connection, connection:
        for column in ("datetime_start", "datetime_complete"):
            connection.execute(f"UPDATE trials SET {column} = datetime({column}, '+26 hours')")
    place.done(*RESUME, TZ="Asia/Tokyo")
    (first,), (second,) = place.rows("SELECT datetime_complete FROM trials ORDER BY number")
    assert second < first
    assert_nothing_shows(place, undisturbed_tables)
    assert "Traceback" not in place.done("status", "mishaps").stderr


# Others who are there too


@pytest.mark.thorough
def test_optuna_looks_on(place: Place, undisturbed_tables: dict[str, bytes]) -> None:
    url = f"sqlite:///{place.database}"
    optuna = str(Path(sys.executable).with_name("optuna"))
    looked = 0
    with place.start(*RUN) as running:
        running.until(place.states, "there were trials")
        while running.process.poll() is None:
            for look in (
                ("trials", "--study-name", "mishaps", "--storage", url),
                ("studies", "--storage", url),
            ):
                shown = subprocess.run(
                    [optuna, *look], capture_output=True, text=True, timeout=60, check=False
                )
                assert shown.returncode == 0, shown.stderr
                looked += "mishaps" in shown.stdout or "RUNNING" in shown.stdout
        assert running.code() == 0
    assert looked
    assert_nothing_shows(place, undisturbed_tables)

"""`backup` and `delete` as people type them, at a terminal and without one, while a study runs."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from mnist_tune.storage.artifacts import read_note
from mnist_tune.storage.database import open_database
from mnist_tune.storage.lease import Lease
from mnist_tune.storage.location import Location
from mnist_tune.storage.optuna_adapter import load_study
from tests.cli.conftest import Call
from tests.processes import Place, environment
from tests.storage.study_samples import content_of, files_below, make_analysis, make_study, uid_of

# Many short epochs, so that there is time to look in.
PATIENCE = '''"""Which L2 factor does a small network want?"""

from mnist_tune.networks import Mlp
from mnist_tune.recipes import Recipe, Sgd
from mnist_tune.study import Grid, Study, Trial


def suggest(trial: Trial) -> Mlp:
    return Mlp(hidden=(32,), l2=trial.suggest_float("l2", 1e-6, 1e-3, log=True))


study = Study(
    suggest=suggest,
    recipe=Recipe(epochs=40, batch_size=16, optimizer=Sgd(learning_rate=0.01)),
    plan=Grid.product(l2=(1e-6, 1e-4, 1e-3)),
    seeds=2,
)
'''


# The first terminal that the leader of a session opens is the one whose Ctrl-C reaches it.
AT_A_TERMINAL = """
import os, sys
os.close(os.open(os.ttyname(0), os.O_RDWR))
os.execv(sys.executable, [sys.executable, "-m", "mnist_tune", *sys.argv[1:]])
"""


@pytest.fixture
def stored(folder: Path) -> Location:
    """A storage with the studies a and b in the current folder."""
    location = Location.find()
    with open_database(location, create=True) as database:
        for name in "ab":
            make_study(database, name)
        make_analysis(database, "denoise", "a")
    return location


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> type:
    """Somebody at a terminal who gives an answer."""

    class Terminal:
        def __init__(self, answer: str) -> None:
            self.answer = answer
            monkeypatch.setattr(sys, "stdin", self)

        def isatty(self) -> bool:
            return True

        def readline(self, *_: object) -> str:
            return self.answer + "\n"

    return Terminal


def test_backup_prints_the_file_and_what_to_type_next(call: Call, stored: Location) -> None:
    said = call("backup", "a", "kept/a.db")
    assert (said.code, said.out) == (0, "kept/a.db\n")
    assert said.err == (
        "copied a: 2 finished trials, 1 unfinished, which would restart, 2 artifacts; "
        "look at it with `mnist-tune status --storage kept/a.db`\n"
    )
    listed = call("status", "--storage", "kept/a.db", "--format", "csv").out.splitlines()
    assert [line.partition(",")[0] for line in listed] == ["study", "a"]


def test_delete_asks_and_does_what_it_is_told(
    call: Call, stored: Location, answering: type
) -> None:
    answering("n")
    said = call("delete", "a")
    assert (said.code, said.out) == (130, "")
    assert said.err == (
        "delete a from storage/mnist_tune.db: 2 trials, 1 confirmation, 5 files, "
        "what denoise found out with it? [y/N]: stopped: nothing was deleted\n"
    )
    assert any(content_of(stored.path, "a").values())
    answering("y")
    said = call("delete", "a")
    assert (said.code, said.out) == (0, "")
    assert said.err.endswith(
        "deleted a: 2 trials, 1 confirmation, 5 files, what denoise found out with it\n"
    )
    assert not any(content_of(stored.path, "a").values())


def test_delete_without_a_terminal_wants_yes(call: Call, stored: Location) -> None:
    said = call("delete", "a")
    assert (said.code, said.out) == (2, "")
    assert said.err == (
        "error: delete asks before it deletes a, and nobody can answer here: add --yes\n"
    )
    assert any(content_of(stored.path, "a").values())
    assert call("delete", "a", "--yes").code == 0
    assert not any(content_of(stored.path, "a").values())
    assert any(content_of(stored.path, "b").values())


def test_what_is_not_there_is_named_before_anybody_is_asked(call: Call, stored: Location) -> None:
    said = call("delete", "nope")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: no study 'nope' in storage/mnist_tune.db, which holds a, b")


def test_copy_takes_storage_as_every_command_does(call: Call, stored: Location) -> None:
    assert call("copy", "a", "--storage", str(stored), "--to", "kept/a.db").code == 0
    assert "no study 'nope'" in call("copy", "nope", "--storage", "kept/a.db", "--to", "x.db").err


def test_rename_keeps_all_of_a_study(call: Call, stored: Location) -> None:
    said = call("rename", "a", "c")
    assert (said.code, said.out, said.err) == (0, "", "renamed a to c\n")
    listed = call("status", "--format", "csv").out.splitlines()
    assert sorted(line.partition(",")[0] for line in listed) == ["b", "c", "study"]
    with open_database(stored, create=False) as database:
        assert "mnist-tune" in read_note(load_study(database, name="c", uid=uid_of("a")))


def test_delete_says_when_only_lock_files_were_left(call: Call, stored: Location) -> None:
    with Lease(stored, "gone"):
        pass
    said = call("delete", "gone", "--yes")
    assert (said.code, said.err) == (0, "deleted what was left of gone: its lock files\n")
    assert call("delete", "gone", "--yes").code == 2


@pytest.mark.parametrize(("typed", "code"), [(b"y\n", 0), (b"n\n", 130), (b"\x03", 130)])
def test_delete_at_a_real_terminal(stored: Location, folder: Path, typed: bytes, code: int) -> None:
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", AT_A_TERMINAL, "delete", "a"],
        cwd=folder,
        env=environment(folder),
        stdin=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    said = b""
    while b"[y/N]" not in said:
        said += os.read(controller, 1000)
    # A signal just before Python waits for input is heard after the next key: people press it again.
    for _ in range(30):
        os.write(controller, typed)
        with suppress(subprocess.TimeoutExpired):
            process.wait(2)
            break
    os.close(controller)
    assert process.wait(1) == code
    assert any(content_of(stored.path, "a").values()) == (code != 0)
    with Lease(stored, "a"):  # free again
        pass


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.thorough
def test_a_study_that_runs_can_be_copied_but_not_deleted(tmp_path: Path) -> None:
    place = Place(tmp_path)
    study = place.study("patience", PATIENCE)
    options = ("--data", "embedded", "--workers", 1, "--no-confirm", "--checkpoint-seconds", 0.1)
    with place.start("run", study, *options) as running:
        running.until(lambda: "COMPLETE" in place.states(), "a trial was finished")
        place.done("backup", "patience", "kept/patience.db")
        refused = place.call("delete", "patience", "--yes")
        assert running.process.poll() is None, "too late: it is finished"
        assert refused.returncode == 2
        assert f"is being worked on by process {running.process.pid} " in refused.stderr
        running.kill()
        running.gone()
    place.done("resume", "patience", *options[2:])
    # The copy goes on by itself, from wherever it was, and comes to the same.
    kept = ("--storage", "kept/patience.db")
    place.done("resume", "patience", *options[2:], *kept)
    for out, where in (("one", ()), ("two", kept)):
        place.done("export", "patience", "--out", out, *where)
    files = {out: _tables(tmp_path / out) for out in ("one", "two")}
    assert files["one"] == files["two"]
    place.done("delete", "patience", "--yes")
    assert place.states() == []
    assert files_below(tmp_path / "storage" / "checkpoints") == {}
    assert {p.name for p in (tmp_path / "storage" / "locks").iterdir()} == {"creation.lock"}


def _tables(folder: Path) -> dict[str, bytes]:
    return {
        p.name: p.read_bytes()
        for p in sorted(folder.iterdir())
        if not p.stem.endswith(("timings", "_seconds"))
    }

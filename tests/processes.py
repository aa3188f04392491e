"""`mnist-tune` as people run it: real processes, real signals, and a look at what they leave behind.

Nothing of the package is imported here: the database is read through raw connections.
"""

from __future__ import annotations

import os
import pty
import re
import signal
import sqlite3
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE
from types import TracebackType
from typing import Any, Self

import psutil
import psycopg

from mnist_tune.reports.export import study_frame
from mnist_tune.reports.results import read_results
from mnist_tune.reports.table_formats import csv_bytes
from mnist_tune.storage.database import open_database
from mnist_tune.storage.location import Location
from mnist_tune.workers import fork_server
from tests import postgresql

CHECKOUT = Path(__file__).parent.parent
_TABLES = ("configurations", "runs", "comparison", "epochs")
PATIENCE_SECONDS = 90.0  # TensorFlow alone may take 20 s to start on a busy machine

ESCAPES = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")  # colours and the like

Rows = list[tuple[Any, ...]]

# A trial takes some seconds in many short epochs, so that signals and mishaps come in the middle.
PATIENT = '''"""Which L2 factor does a small network want?"""

from mnist_tune.networks import Mlp
from mnist_tune.recipes import Recipe, Sgd
from mnist_tune.study import Grid, Study, Trial


def suggest(trial: Trial) -> Mlp:
    return Mlp(hidden=(64, 64), l2=trial.suggest_float("l2", 1e-6, 1e-3, log=True))


study = Study(
    suggest=suggest,
    recipe=Recipe(epochs=50, batch_size=4, optimizer=Sgd(learning_rate=0.01)),
    plan=Grid.product(l2=(1e-6, 1e-3)),
    seeds=1,
    confirm_seeds=1,
)
'''


def environment(home: Path, **changes: str) -> dict[str, str]:
    """The environment of somebody with no settings of ours, no cache of Keras' and no GPU.

    Without one because equal bits are promised on CPUs.
    """
    # Nannies of workers that a test has started in its own process leave settings for Dask there.
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MNIST_TUNE_", "DASK_"))}
    ours = {"KERAS_HOME": str(home / "keras"), "CUDA_VISIBLE_DEVICES": "-1", "COLUMNS": "200"}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)  # else each process would compile the checkout anew
    return {**kept, **ours, "PYTHONPATH": str(CHECKOUT), **changes}


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "mnist_tune", *map(str, arguments)]


@dataclass(frozen=True)
class Place:
    """A folder to work in, with a storage of its own: a file, or a database of a server."""

    folder: Path
    server: str = ""

    @property
    def database(self) -> Path:
        return self.folder / "storage" / "mnist_tune.db"

    def study(self, name: str, text: str) -> Path:
        """Write a study file."""
        path = self.folder / f"{name}.py"
        path.write_text(text, encoding="utf-8")
        return path

    def environment(self, **changes: str) -> dict[str, str]:
        """What its commands find in their environment."""
        storage = {"MNIST_TUNE_STORAGE": self.server} if self.server else {}
        return environment(self.folder, **storage, **changes)

    def call(
        self, *arguments: object, wrapper: tuple[str, ...] = (), **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, `variables` being added to its environment."""
        return subprocess.run(
            [*wrapper, *command(*arguments)],
            cwd=self.folder,
            env=self.environment(**variables),
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE_SECONDS,
            check=False,
        )

    def done(self, *arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command, which must succeed."""
        finished = self.call(*arguments, wrapper=(), **variables)
        assert finished.returncode == 0, finished.stderr
        return finished

    def on_terminal(self, *arguments: object) -> list[str]:
        """What a command prints on a terminal of 80 columns and 24 lines; it must succeed."""
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (24, 80))
        variables = self.environment()
        del variables["COLUMNS"]
        process = subprocess.Popen(
            command(*arguments), cwd=self.folder, env=variables, stdout=theirs, stderr=PIPE
        )
        os.close(theirs)
        text = b""
        with os.fdopen(ours, "rb", buffering=0) as screen, suppress(OSError):  # EIO at its end
            while chunk := screen.read(65_536):
                text += chunk
        _, complaints = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0, complaints
        return [line.rstrip() for line in ESCAPES.sub("", text.decode()).splitlines()]

    def start(self, *arguments: object, wrapper: tuple[str, ...] = (), **variables: str) -> Running:
        """Start a command, `variables` being added to its environment; use as a context manager."""
        return Running(self, [*wrapper, *command(*arguments)], variables)

    def rows(self, statement: str) -> Rows:
        """Ask the database through a second connection; nothing where nothing is stored yet."""
        if self.server:
            try:
                return postgresql.rows(self.server, statement)
            except psycopg.errors.UndefinedTable:
                return []
        try:
            with closing(
                sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=30)
            ) as connection:
                return connection.execute(statement).fetchall()
        except sqlite3.OperationalError as error:
            if "unable to open" in str(error) or "no such table" in str(error):
                return []
            raise

    def states(self) -> list[str]:
        """Optuna's states of the trials, by number."""
        return [state for (state,) in self.rows("SELECT state FROM trials ORDER BY number")]

    def epochs_seen(self, number: int) -> int:
        """How many epochs of a trial have been reported to Optuna."""
        return int(
            self.rows(
                "SELECT COUNT(*) FROM trial_intermediate_values JOIN trials USING (trial_id) "
                f"WHERE number = {number}"
            )[0][0]
            if self.states()
            else 0
        )

    def under_way(self, number: int) -> bool:
        """Whether a trial of 50 epochs is in the middle of its epochs."""
        return 2 <= self.epochs_seen(number) < 35

    def checkpoints(self) -> list[str]:
        """Names of the states of unfinished runs."""
        return sorted(p.name for p in (self.folder / "storage").rglob("checkpoints/*/*.ckpt"))

    def tables(self, study: str) -> dict[str, bytes]:
        """The tables of a study but for that of times, read here: file name → what `export` writes."""
        location = Location.find(self.server or str(self.database))
        with (
            open_database(location, create=False, read_only=True) as database,
            database.reading() as connection,
        ):
            results = read_results(connection, study)
            return {
                f"{name}.csv": csv_bytes(study_frame(connection, results, name)) for name in _TABLES
            }

    def exported(self, study: str) -> dict[str, bytes]:
        """Export a study; file name → content of all files but those that hold times."""
        out = self.folder / f"export-{time.monotonic_ns()}"
        self.done("export", study, "--out", out)
        return results_in(out)


def results_in(folder: Path) -> dict[str, bytes]:
    """File name → content of an export, but for those that hold times."""
    return {
        p.name: p.read_bytes()
        for p in sorted(folder.iterdir())
        if not p.stem.endswith(("timings", "_seconds"))
    }


class Running:
    """A command under way in a session of its own, as a terminal would start it.

    What is left of it and of its workers when the block ends is killed.
    """

    def __init__(self, place: Place, command: list[str], variables: dict[str, str]) -> None:
        self._place = place
        stamp = time.monotonic_ns()
        self._out, self._err = (
            place.folder / f"std{which}-{stamp}.txt" for which in ("out", "err")
        )
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen(
                command,
                cwd=place.folder,
                env=place.environment(**variables),
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for pid in self.alive():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    @property
    def stdout(self) -> str:
        """What it has printed so far."""
        return self._out.read_text(encoding="utf-8")

    @property
    def stderr(self) -> str:
        """What it has said so far."""
        return self._err.read_text(encoding="utf-8")

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for something to happen while it runs."""
        self._wait(condition, what, lambda: self.process.poll() is None)

    def gone(self) -> None:
        """Wait until none of its processes is left."""
        self._wait(lambda: not self.alive(), "all its processes have ended", lambda: True)

    def code(self) -> int:
        """Wait for its end; the exit code."""
        try:
            return self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end; it said:\n{self.stderr}") from None

    def ctrl_c(self) -> None:
        """What a terminal does: a signal to every process in the foreground."""
        os.killpg(self.process.pid, signal.SIGINT)

    def terminate(self) -> None:
        """What `kill` does: a signal to this process alone."""
        self.process.terminate()

    def kill(self) -> None:
        """Kill the coordinator alone, as no process can prevent."""
        self.process.kill()
        self.process.wait()

    def alive(self) -> list[int]:
        """Processes of its session, the coordinator included."""
        return [pid for pid in psutil.pids() if _session(pid) == self.process.pid]

    def trainers(self) -> list[int]:
        """Processes that have TensorFlow loaded, but for the server that they are forked from."""
        others = [pid for pid in self.alive() if pid != self.process.pid and _has_tensorflow(pid)]
        if fork_server.METHOD != "forkserver":
            return others
        return [pid for pid in others if _parent(pid) != self.process.pid]

    def _wait(
        self, condition: Callable[[], object], what: str, going_on: Callable[[], bool]
    ) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert going_on(), f"it ended before {what}; it said:\n{self.stderr}"
            assert time.monotonic() < deadline, f"waited in vain: {what}; it said:\n{self.stderr}"
            time.sleep(0.03)


def _parent(pid: int) -> int:
    try:
        return psutil.Process(pid).ppid()
    except psutil.NoSuchProcess:
        return -1


def _session(pid: int) -> int:
    try:
        ended = psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        return -1 if ended else os.getsid(pid)
    except (psutil.NoSuchProcess, ProcessLookupError):
        return -1


def _has_tensorflow(pid: int) -> bool:
    try:
        return any("tensorflow" in entry.path for entry in psutil.Process(pid).memory_maps())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False

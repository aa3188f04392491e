"""How many workers one coordinator keeps busy, with workers that sleep instead of training.

Everything else is real: Dask's scheduler and messages, the search loop, Optuna, the database. A run
of N workers, each with so many trials of so many epochs, would take (trials × epochs × seconds) if
asking, telling, pruning and writing took no time; the efficiency is the share of that.
"""

from __future__ import annotations

import queue
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
from optuna.trial import TrialState

from benchmarks import sleepers
from benchmarks.table import Report, Row, Target
from mnist_tune.data.sources import Source
from mnist_tune.definitions.definition import Overrides, define
from mnist_tune.search.coordinator import SearchCoordinator, StopRequests
from mnist_tune.search.scheduler import Scheduler
from mnist_tune.search.session import Session, open_session
from mnist_tune.storage.database import open_database
from mnist_tune.storage.location import Location
from mnist_tune.workers.addresses import parse_address
from mnist_tune.workers.executor import Executor
from mnist_tune.workers.pools import ListeningPool

WORKERS = (1, 8, 64, 256)
EFFICIENCY = Target("at least", 95.0)  # % with 64 workers and epochs of a second
_TRIALS = 2  # of each worker
EPOCHS = 40  # as in l2_factor
_EPOCH_SECONDS = 1.0
_IN_ONE_PROCESS = 64
_PATIENCE_SECONDS = 120.0
_CHECKOUT = Path(__file__).parent.parent
_SOURCE = Source(
    kind="embedded", path=None, sha256="d" * 64, full=False, train_size=4_000, test_size=1_000
)
_STUDY = '''"""Nothing is asked."""

from mnist_tune.networks import Mlp
from mnist_tune.recipes import Recipe
from mnist_tune.study import Grid, Study, Trial


def suggest(trial: Trial) -> Mlp:
    return Mlp(hidden=(8,), l2=trial.suggest_float("l2", 0, 1))


study = Study(
    suggest=suggest,
    recipe=Recipe(epochs={epochs}, batch_size={milliseconds}),
    plan=Grid.product(l2=tuple(i / {trials} for i in range({trials}))),
    seeds=1,
)
'''


def run(
    *,
    servers: Sequence[str],
    workers: Sequence[int],
    epochs: int,
    fast: bool,
    say: Callable[[str], Any],
) -> Report:
    """Measure each number of workers on each kind of database.

    Args:
        servers: URLs of empty databases on servers; a file is measured in any case.
        workers: how many there are, one number after the other.
        epochs: of each trial.
        fast: whether it is a rehearsal.
        say: tells what is being measured.
    """
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        places = {"SQLite": str(Path(folder, "file.db"))}
        places |= dict(zip(("PostgreSQL",), servers, strict=False))
        for kind, storage in places.items():
            say(f"scaling: reports to {kind}")
            rows.append(_reports(kind, Location.parse(storage), Path(folder)))
            for count in workers:
                say(f"scaling: {count} workers, {kind}")
                rows += _busy(kind, Location.parse(storage), count, epochs, Path(folder))
    return Report(
        name="scaling",
        fast=fast,
        settings={
            "trials of each worker": _TRIALS,
            "epochs": epochs,
            "seconds of an epoch": _EPOCH_SECONDS,
        },
        notes=("CPU and memory are the coordinator's, with Dask's scheduler in it.",),
        rows=tuple(rows),
    )


def _reports(kind: str, location: Location, folder: Path) -> Row:
    """How many epochs a second can be stored, one after the other, as the search loop does."""
    with open_database(location, create=True) as database:
        study = _session(database, folder, f"reports-{kind}", trials=1, epochs=1).optuna
        trial = study.ask()
        began, count = time.monotonic(), 300
        for step in range(1, count + 1):
            study.report(trial, 0.5, step)
            study.should_prune(trial, step)
        seconds = time.monotonic() - began
        study.tell(trial, state=TrialState.FAIL)
    return Row(what=f"{kind}: epochs stored one by one", value=count / seconds, unit="/s")


def _busy(kind: str, location: Location, workers: int, epochs: int, folder: Path) -> Iterator[Row]:
    events: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = parse_address(f"tcp://127.0.0.1:{free.getsockname()[1]}")
    pool = ListeningPool(address)
    name = f"scaling-{kind}-{workers}"
    with ExitStack() as stack:
        database = stack.enter_context(open_database(location, create=True))
        session = _session(database, folder, name, trials=workers * _TRIALS, epochs=epochs)
        executor = stack.enter_context(Executor(pool, events, work=sleepers.sleep))
        stack.enter_context(_sleepers(str(address), workers))
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while pool.workers < workers:
            pool.tend()
            if time.monotonic() > deadline:
                raise OSError(f"only {pool.workers} of {workers} sleepers have come")
            time.sleep(0.1)
        stop = stack.enter_context(StopRequests(events))
        process = psutil.Process()
        before, began = process.cpu_times(), time.monotonic()
        SearchCoordinator(session, Scheduler(executor, session.definition.study), stop).run()
        seconds, after = time.monotonic() - began, process.cpu_times()
        memory = process.memory_info().rss
    cpu = after.user + after.system - before.user - before.system
    ideal = _TRIALS * epochs * _EPOCH_SECONDS
    what = f"{kind}, {workers} workers"
    yield Row(
        what=f"{what}: efficiency",
        value=100 * ideal / seconds,
        unit="%",
        target=EFFICIENCY if workers == 64 else None,
    )
    yield Row(what=f"{what}: coordinator", value=100 * cpu / seconds, unit="% of a core")
    yield Row(what=f"{what}: memory", value=memory / 2**20, unit="MiB")


def _session(database: Any, folder: Path, name: str, trials: int, epochs: int) -> Session:
    file = folder / f"{name}.py"
    file.write_text(
        _STUDY.format(epochs=epochs, milliseconds=int(_EPOCH_SECONDS * 1_000), trials=trials)
    )
    return open_session(database, define(str(file), Overrides(), None), _SOURCE)


@contextmanager
def _sleepers(address: str, workers: int) -> Iterator[None]:
    counts = [min(_IN_ONE_PROCESS, workers - start) for start in range(0, workers, _IN_ONE_PROCESS)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.sleepers", address, str(count)],
            cwd=_CHECKOUT,
            stderr=subprocess.DEVNULL,
        )
        for count in counts
    ]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()

"""Memory of the coordinator, and whether that of a worker grows from trial to trial.

A real study with one worker: many trials of one shape that differ in their L2 factor. Memory is
the resident set, as the system counts it, sampled while the study runs.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks.machine import data_notes
from benchmarks.processes import CommandFailed, Tool
from benchmarks.table import Report, Row, Target
from mnist_tune.data.sources import load_dataset

_MB = 1e6
_SAMPLING_SECONDS = 0.1
_EARLY = 5  # memory is compared between trial 50 and trial 50 / 5 = 10 …
_AROUND = 10  # … each the median of the samples during 50 / 10 = 5 trials before it

COORDINATOR = Target("below", 300.0)  # MB
GROWTH = Target("below", 5.0)  # %; samples of an even level differ by about 1 %


@dataclass(frozen=True, slots=True)
class Sample:
    """Memory at one moment.

    Attributes:
        trials: that had ended.
        coordinator: in MB.
        worker: in MB; 0 before it is there.
    """

    trials: int
    coordinator: float
    worker: float


def run(*, trials: int, fast: bool, say: Callable[[str], Any]) -> Report:
    """Run the study and watch it."""
    source = load_dataset(log=say).source
    say(f"memory: a study of {trials} trials")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        samples = _watched(Path(folder, "study.db"), trials)
    return Report(
        name="memory",
        fast=fast,
        settings={"trials": trials, "workers": 1, "seeds": 1, "epochs": 1},
        notes=(*data_notes(source), f"{len(samples)} samples."),
        rows=rows(samples, trials),
    )


def rows(samples: Sequence[Sample], trials: int) -> tuple[Row, ...]:
    """Put the samples together."""
    early = max(1, trials // _EARLY)
    first, last = worker_level(samples, early, trials), worker_level(samples, trials, trials)
    return (
        Row(
            what="coordinator, at most",
            value=max(sample.coordinator for sample in samples),
            unit="MB",
            target=COORDINATOR,
        ),
        Row(what=f"worker, around trial {early}", value=first, unit="MB"),
        Row(what=f"worker, around trial {trials}", value=last, unit="MB"),
        Row(what="growth of the worker", value=100 * (last / first - 1), unit="%", target=GROWTH),
    )


def worker_level(samples: Sequence[Sample], trial: int, trials: int) -> float:
    """Memory of the worker (MB) in the trials up to the given one."""
    width = max(1, trials // _AROUND)
    return median(sample.worker for sample in samples if trial - width <= sample.trials < trial)


def _watched(storage: Path, trials: int) -> list[Sample]:
    options = {
        "--sampler": "random",
        "--trials": trials,
        "--epochs": 1,
        "--seeds": 1,
        "--workers": 1,
    }
    words = [word for name, value in options.items() for word in (name, str(value))]
    samples = []
    with Tool(["run", "l2_factor", "--no-confirm", *words], storage) as tool:
        coordinator = psutil.Process(tool.pid)
        while not tool.ended(_SAMPLING_SECONDS):
            try:
                samples.append(_sample(coordinator, storage))
            except psutil.NoSuchProcess:  # it ends just now
                continue
    if not any(sample.worker for sample in samples):
        raise CommandFailed("the study had no worker process")
    return samples


def _sample(coordinator: psutil.Process, storage: Path) -> Sample:
    resident = [_resident(child) for child in coordinator.children(recursive=True)]
    # Next to the worker there is only Python's small resource tracker.
    return Sample(_ended_trials(storage), _resident(coordinator), max(resident, default=0.0))


def _resident(process: psutil.Process) -> float:
    try:
        return process.memory_info().rss / _MB
    except psutil.ZombieProcess:
        return 0.0


def _ended_trials(storage: Path) -> int:
    """How many trials the database holds; 0 before it holds any table."""
    if not storage.exists():
        return 0
    with closing(sqlite3.connect(f"{storage.as_uri()}?mode=ro", uri=True)) as database:
        try:
            (count,) = database.execute("select count(*) from mnist_tune_trials").fetchone()
        except sqlite3.OperationalError:
            return 0
    return int(count)

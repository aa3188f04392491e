"""The whole first study beside the notebook's loop: 5 L2 factors × 3 runs, start to end.

Both validate on the test images after each epoch. One half of the notebook's loop runs before the
study and one after it, so that a machine that changes its pace changes both.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.machine import data_notes
from benchmarks.processes import Tool, measure
from benchmarks.table import Report, Row, Target
from mnist_tune.data.sources import load_dataset
from mnist_tune.networks import Mlp, network_to_json
from mnist_tune.workers.specs import WorkerOptions, this_machine, worker_specs

FACTORS = (1e-6, 0.00025075, 0.0005005, 0.00075025, 1e-3)  # linspace(1e-6, 1e-3, 5)
RUNS_OF_A_FACTOR = 3
RUNS = len(FACTORS) * RUNS_OF_A_FACTOR

_TIMINGS = "select min(started_at), max(finished_at), sum(train_seconds) from mnist_tune_timings"

SPEED = Target("at least", 2.2)
OUTSIDE = Target("below", 5.0)  # %


@dataclass(frozen=True, slots=True)
class StudySeconds:
    """Where the time of the study went.

    Attributes:
        wall: from the command to its end.
        before: until the first trial began in a worker.
        after: since the last trial had ended.
        training: in the training program, compilation included, summed over workers.
    """

    wall: float
    before: float
    after: float
    training: float


def run(*, epochs: int, baseline_runs: int, fast: bool, say: Callable[[str], Any]) -> Report:
    """Measure the study once, between two parts of the notebook's loop."""
    source = load_dataset(log=say).source
    networks = [Mlp(hidden=(500, 300), l2=l2) for l2 in FACTORS for _ in range(RUNS_OF_A_FACTOR)]
    networks = networks[:baseline_runs]
    half = -(-len(networks) // 2)
    say(f"study: {half} of the notebook's runs")
    starts, runs = _notebook(networks[:half], epochs)
    say("study: mnist-tune run l2_factor")
    taken = _study(epochs)
    if networks[half:]:
        say(f"study: {len(networks) - half} of the notebook's runs")
        more_starts, more_runs = _notebook(networks[half:], epochs)
        starts, runs = starts + more_starts, runs + more_runs
    workers = len(worker_specs(WorkerOptions(), this_machine(), RUNS))
    return Report(
        name="study",
        fast=fast,
        settings={"epochs": epochs, "notebook's runs": len(runs), "workers": workers},
        notes=(*data_notes(source), *_extrapolation(len(runs))),
        rows=rows(starts, runs, taken, workers),
    )


def rows(
    starts: Sequence[float], runs: Sequence[float], taken: StudySeconds, workers: int
) -> tuple[Row, ...]:
    """Put the times together.

    Args:
        starts: seconds of each start of the notebook's process: imports and data.
        runs: seconds of each of its runs.
        taken: by the study.
        workers: that the study had.
    """
    notebook = fmean(starts) + RUNS * fmean(runs)
    return (
        Row(what=f"notebook's loop of {RUNS} runs", value=notebook, unit="s"),
        Row(what="of which one run", value=fmean(runs), unit="s", samples=tuple(runs)),
        Row(what="mnist-tune run l2_factor", value=taken.wall, unit="s"),
        Row(what="of which before the first trial", value=taken.before, unit="s"),
        Row(what="of which after the last trial", value=taken.after, unit="s"),
        Row(what="speed-up of the study", value=notebook / taken.wall, unit="×", target=SPEED),
        Row(
            what="time outside training",
            value=100 * (1 - taken.training / (workers * taken.wall)),
            unit="%",
            target=OUTSIDE,
        ),
    )


def _extrapolation(runs: int) -> tuple[str, ...]:
    if runs == RUNS:
        return ()
    return (
        f"EXTRAPOLATED: {runs} of the notebook's {RUNS} runs were made; the total is from their mean.",
    )


def _notebook(networks: Sequence[Mlp], epochs: int) -> tuple[list[float], list[float]]:
    """Seconds of the start, and of each run."""
    described = [network_to_json(network) for network in networks]
    measured = measure(
        "notebook", {"networks": described, "epochs": epochs, "validate": True, "warm": False}
    )
    return [measured.start_seconds], [float(s) for s in measured.results[0]["run_seconds"]]


def _study(epochs: int) -> StudySeconds:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        storage = Path(folder, "study.db")
        command = ["run", "l2_factor", "--protocol", "notebook", "--no-confirm"]
        began = datetime.now(UTC)
        with Tool([*command, "--epochs", str(epochs)], storage) as tool:
            tool.ended()
        ended = datetime.now(UTC)
        with closing(sqlite3.connect(storage)) as database:
            first, last, training = database.execute(_TIMINGS).fetchone()
        return StudySeconds(
            wall=(ended - began).total_seconds(),
            before=(datetime.fromisoformat(first) - began).total_seconds(),
            after=(ended - datetime.fromisoformat(last)).total_seconds(),
            training=float(training),
        )

"""What checkpoints cost: the time of saving a run, as a share of the time between two of them.

A worker saves all its runs at the end of an epoch, ten seconds or more after it did so before, and
trains nothing meanwhile.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.table import Report, Row, Target, medians
from mnist_tune import checkpoints
from mnist_tune.networks import Block, Cnn, Mlp, Network
from mnist_tune.recipes import Adam, Recipe, Sgd
from mnist_tune.search.running import Options
from mnist_tune.trainer.training import Trainer

SHARE = Target("below", 2.0)  # %


@dataclass(frozen=True, slots=True)
class Case:
    """What a worker trains together.

    Attributes:
        name: for people.
        network, recipe: these decide how much is saved.
        seeds: runs of a task.
    """

    name: str
    network: Network
    recipe: Recipe
    seeds: int


CASES = (
    Case("500-300, SGD", Mlp(hidden=(500, 300)), Recipe(epochs=40, optimizer=Sgd()), 3),
    Case(
        "1024-1024, momentum",
        Mlp(hidden=(1024, 1024)),
        Recipe(epochs=40, optimizer=Sgd(momentum=0.9)),
        3,
    ),
    Case(
        "CNN 2×32-2×64-256, Adam",
        Cnn(
            blocks=(Block(filters=32, convolutions=2), Block(filters=64, convolutions=2)),
            dense=(256,),
        ),
        Recipe(epochs=20, optimizer=Adam()),
        3,
    ),
)


def run(*, repetitions: int, fast: bool, say: Callable[[str], Any]) -> Report:
    """Save the runs of each case again and again, where temporary files are.

    Args:
        repetitions: of each case.
        fast: whether this is a rehearsal.
        say: tells people what is going on.
    """
    every = Options().checkpoint_seconds
    with tempfile.TemporaryDirectory() as folder:
        rows = tuple(row for case in CASES for row in _rows(case, repetitions, Path(folder), say))
    return Report(
        name="checkpoints",
        fast=fast,
        settings={"repetitions": repetitions, "seconds between checkpoints": every},
        notes=("Saving includes the wait until the disk has it, and the checksum.",),
        rows=rows,
    )


def _rows(case: Case, repetitions: int, folder: Path, say: Callable[[str], Any]) -> Iterator[Row]:
    say(f"checkpoints: {case.name}")
    states = [Trainer.start(case.network, case.recipe, seed) for seed in range(case.seeds)]
    paths = [folder / f"seed-{state.seed}.ckpt" for state in states]
    seconds = []
    for _ in range(repetitions):
        began = time.perf_counter()
        for path, state in zip(paths, states, strict=True):
            checkpoints.save_checkpoint(path, state, "benchmark")
        seconds.append(time.perf_counter() - began)
    yield medians(f"{case.name}, {case.seeds} runs: saving", "s", seconds)
    share = [100 * value / Options().checkpoint_seconds for value in seconds]
    yield medians(f"{case.name}, {case.seeds} runs: share of the time", "%", share, SHARE)
    size = sum(path.stat().st_size for path in paths) / 1e6
    yield Row(what=f"{case.name}, {case.seeds} runs: on disk", value=size, unit="MB")

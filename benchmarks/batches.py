"""Runs that train in one program beside the same ones that train one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.machine import data_notes
from benchmarks.processes import measure
from benchmarks.table import Report, medians, ratios
from mnist_tune.data.sources import load_dataset
from mnist_tune.networks import Mlp, network_to_json
from mnist_tune.workers.specs import WorkerOptions, this_machine, worker_specs

NETWORKS = (Mlp(hidden=(64, 64)), Mlp(hidden=(500, 300)))
SEEDS = 3


TURNS, TOGETHER = "one after the other", "together in one program"


def run(
    *, trials: int, epochs: int, repetitions: int, fast: bool, say: Callable[[str], Any]
) -> Report:
    """Measure each network both ways, in turns.

    Args:
        trials: that differ in their L2 factor.
        epochs: of each run.
        repetitions: of each measurement.
        fast: whether this is a rehearsal.
        say: tells people what is going on.
    """
    source = load_dataset(log=say).source
    (spec, *_) = worker_specs(WorkerOptions(workers=1), this_machine())
    rows = []
    for network in NETWORKS:
        name = "-".join(map(str, network.hidden))
        seconds: dict[str, list[float]] = {TURNS: [], TOGETHER: []}
        for repetition in range(repetitions):
            say(f"batches: {name}, repetition {repetition + 1} of {repetitions}")
            for way, times in seconds.items():
                settings = {
                    "network": network_to_json(network),
                    "trials": trials,
                    "seeds": SEEDS,
                    "epochs": epochs,
                    "one_program": way == TOGETHER,
                }
                (result,) = measure("batch", settings).results
                times.append(result["seconds"] / (trials * SEEDS * epochs))
        rows += [medians(f"{name}: {way}", "s", times) for way, times in seconds.items()]
        rows.append(ratios(f"{name}: speed-up", seconds[TURNS], seconds[TOGETHER]))
    return Report(
        name="batches",
        fast=fast,
        settings={
            "trials": trials,
            "seeds": SEEDS,
            "epochs": epochs,
            "GPU": spec.gpu or "none",
            "repetitions": repetitions,
        },
        notes=(
            *data_notes(source),
            "Seconds per run and epoch in one worker; compiling is part of them.",
        ),
        rows=tuple(rows),
    )

"""Trials that train together beside the same ones that train one after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.machine import data_notes
from benchmarks.processes import measure
from benchmarks.table import Report, medians, ratios
from mnist_tune.data.sources import load_dataset
from mnist_tune.networks import Mlp, network_to_json
from mnist_tune.workers.machine import this_machine as found
from mnist_tune.workers.specs import Wish, plan

NETWORKS = (Mlp(hidden=(64, 64)), Mlp(hidden=(500, 300)))
SEEDS = 3


@dataclass(frozen=True, slots=True)
class Way:
    """How the trials are trained.

    Attributes:
        name: for people.
        settings: of the measurement.
    """

    name: str
    settings: dict[str, bool]


TURNS = Way("one after the other", {"together": False})
WAYS = (
    Way("together, as --stack has it here", {"together": True}),
    Way("together in one program", {"together": True, "one_program": True}),
)


def run(
    *, trials: int, epochs: int, repetitions: int, fast: bool, say: Callable[[str], Any]
) -> Report:
    """Measure each network and each way, in turns.

    Args:
        trials: that differ in their L2 factor.
        epochs: of each run.
        repetitions: of each measurement.
        fast: whether this is a rehearsal.
        say: tells people what is going on.
    """
    source = load_dataset(log=say).source
    (seat, *_) = plan(Wish(workers=1), found())
    rows = []
    for network in NETWORKS:
        name = "-".join(map(str, network.hidden))
        seconds: dict[str, list[float]] = {way.name: [] for way in (TURNS, *WAYS)}
        for repetition in range(repetitions):
            say(f"stacks: {name}, repetition {repetition + 1} of {repetitions}")
            for way in (TURNS, *WAYS):
                settings = {
                    "network": network_to_json(network),
                    "trials": trials,
                    "seeds": SEEDS,
                    "epochs": epochs,
                    "threads": seat.threads,
                    **way.settings,
                }
                (result,) = measure("stack", settings).results
                seconds[way.name].append(result["seconds"] / (trials * SEEDS * epochs))
        rows += [medians(f"{name}: {way}", "s", times) for way, times in seconds.items()]
        rows += [
            ratios(f"{name}: {way.name}, speed-up", seconds[TURNS.name], seconds[way.name])
            for way in WAYS
        ]
    return Report(
        name="stacks",
        fast=fast,
        settings={
            "trials": trials,
            "seeds": SEEDS,
            "epochs": epochs,
            "threads": seat.threads,
            "GPU": seat.gpu or "none",
            "repetitions": repetitions,
        },
        notes=(
            *data_notes(source),
            "Seconds per run and epoch in one worker; compiling is part of them.",
        ),
        rows=tuple(rows),
    )

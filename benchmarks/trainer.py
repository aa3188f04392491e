"""The trainer beside `model.fit`: seconds per run and epoch, compilation included.

`mnist-tune` trains a trial's seeds in one process with one thread and runs as many such processes
as there are cores, so that is what the targets hold: wall-clock time divided by all run-epochs
that the processes finished side by side. One process alone, as with `--workers 1`, is shown
beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from benchmarks.machine import data_notes
from benchmarks.processes import measure
from benchmarks.products import training_flops
from benchmarks.table import Report, Row, Target, medians, ratios
from mnist_tune.data.sources import Source, load_dataset
from mnist_tune.networks import Mlp, network_to_json
from mnist_tune.workers.specs import WorkerOptions, this_machine, worker_specs

_PRODUCTS = 10
_MANY_RUNS = 10**6
_GIGA = 1e9


@dataclass(frozen=True, slots=True)
class Case:
    """A network, how many times as fast it should train, and how near the limit (%)."""

    network: Mlp
    speed: Target
    limit: Target | None = None


CASES = (
    Case(Mlp(hidden=(64, 64)), Target("at least", 6.0)),
    Case(Mlp(hidden=(500, 300), l2=5e-4), Target("at least", 2.3), Target("at least", 65.0)),
)


@dataclass(frozen=True, slots=True)
class _Samples:
    """Seconds per run-epoch of one case, one value for each repetition."""

    fit: list[float] = field(default_factory=list)
    workers: list[float] = field(default_factory=list)
    alone: list[float] = field(default_factory=list)
    later_epochs: list[float] = field(default_factory=list)


def run(
    *, epochs: int, seeds: int, repetitions: int, fast: bool, say: Callable[[str], Any]
) -> Report:
    """Measure both networks, in turns with the notebook's loop."""
    source = load_dataset(log=say).source
    specs = worker_specs(WorkerOptions(), this_machine(), _MANY_RUNS)
    workers = len(specs)
    limits: list[float] = []
    samples = [_Samples() for _ in CASES]
    for repetition in range(repetitions):
        for case, taken in zip(CASES, samples, strict=True):
            say(f"trainer: {case.network.label}, repetition {repetition + 1} of {repetitions}")
            _measure(case.network, epochs, seeds, workers, taken)
            limits.append(_limit())
    rows = [
        row
        for case, taken in zip(CASES, samples, strict=True)
        for row in _rows(case, taken, source.train_size, max(limits))
    ]
    return Report(
        name="trainer",
        fast=fast,
        settings={
            "epochs": epochs,
            "seeds": seeds,
            "workers": workers,
            "repetitions": repetitions,
        },
        notes=_notes(source, epochs),
        rows=(*rows, medians("large product on all cores, GFLOP/s", "", limits)),
    )


def _notes(source: Source, epochs: int) -> tuple[str, ...]:
    return (
        *data_notes(source),
        f"Seconds per run and epoch over {epochs} epochs; building and compiling are part of them.",
        "A worker per core: side by side, one thread each, as studies run. One process: one thread.",
    )


def _measure(network: Mlp, epochs: int, seeds: int, workers: int, taken: _Samples) -> None:
    taken.fit.append(_fit(network, epochs))
    common = {"network": network_to_json(network), "epochs": epochs, "seeds": seeds}
    together = measure("trainer", common, processes=workers)
    taken.workers.append(together.seconds / (workers * seeds * epochs))
    latest = [result["epoch_seconds"][-1] for result in together.results]
    taken.later_epochs.append(max(latest) / (workers * seeds))
    alone = measure("trainer", common)
    taken.alone.append(alone.seconds / (seeds * epochs))


def _fit(network: Mlp, epochs: int) -> float:
    settings = {"networks": [network_to_json(network)], "validate": False, "warm": True}
    (result,) = measure("notebook", {**settings, "epochs": epochs}).results
    (seconds,) = result["run_seconds"]
    return float(seconds) / epochs


def _limit() -> float:
    (result,) = measure("product", {"repetitions": _PRODUCTS}).results
    return float(max(result.values()))


def _rows(case: Case, taken: _Samples, images: int, limit: float) -> list[Row]:
    label = case.network.label
    return [
        medians(f"{label}: model.fit", "s", taken.fit),
        medians(f"{label}: a worker per core", "s", taken.workers),
        medians(f"{label}: a worker per core, last epoch alone", "s", taken.later_epochs),
        medians(f"{label}: one process", "s", taken.alone),
        ratios(
            f"{label}: a worker per core, speed-up",
            taken.fit,
            taken.workers,
            case.speed,
        ),
        ratios(f"{label}: one process, speed-up", taken.fit, taken.alone),
        medians(
            f"{label}: a worker per core, share of the product limit",
            "%",
            [limit_share(case.network, images, seconds, limit) for seconds in taken.workers],
            case.limit,
        ),
    ]


def limit_share(network: Mlp, images: int, seconds: float, limit: float) -> float:
    """Per cent of the limit (GFLOP/s) that a run-epoch of so many seconds makes use of."""
    return 100 * training_flops(network) * images / seconds / _GIGA / limit

"""Studies with many finished trials, written by SQL, since a search would take hours."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from benchmarks.cli import make_study
from mnist_tune.networks import Mlp, network_to_json
from mnist_tune.recipes import Recipe, Sgd, recipe_to_json
from mnist_tune.storage.database import open_database
from mnist_tune.storage.location import Location
from mnist_tune.storage.store import Store

SEEDS = 3
EPOCHS = 40
_HIDDEN = (500, 300)
_BLOCK = 500  # trials that are in memory at once
_TIMES = ("2026-11-26 10:00:00", "2026-11-26 10:01:00")
_STAMPS = ("2026-11-26T10:00:00.000000Z", "2026-11-26T10:01:00.000000Z")
_DISTRIBUTION = json.dumps(
    {
        "name": "FloatDistribution",
        "attributes": {"step": None, "low": 1e-6, "high": 1e-3, "log": True},
    }
)

Rows = Iterable[tuple[Any, ...]]
Floats = NDArray[np.float64]


def make_trials(storage: Path, trials: int) -> None:
    """Write `l2_factor` with so many trials, in Optuna's tables and in ours."""
    make_study(storage)
    draw = np.random.default_rng(0)
    with open_database(Location.find(str(storage)), create=False) as database:
        (uid,) = (study.uid for study in Store(database).studies())
        with database.transaction() as connection:
            connection.exec_driver_sql("DELETE FROM trial_system_attributes")
            connection.exec_driver_sql("DELETE FROM trials")
            connection.exec_driver_sql(
                "UPDATE mnist_tune_studies SET planned_trials = ?", (trials,)
            )
            for first in range(0, trials, _BLOCK):
                block = _drawn(uid, range(first, min(first + _BLOCK, trials)), draw)
                for table, columns, rows in (*_optuna_rows(block), *_own_rows(block)):
                    _insert(connection, table, columns, rows)


@dataclass(frozen=True, slots=True)
class _Block:
    """Some trials with their curves.

    Attributes:
        uid: of the study.
        numbers: of the trials.
        factors: [trials], L2.
        curves: [trials, seeds, epochs], validation accuracy.
    """

    uid: str
    numbers: range
    factors: Floats
    curves: Floats


def _drawn(uid: str, numbers: range, draw: np.random.Generator) -> _Block:
    """Accuracies that fall with strong L2, and spread over configurations and seeds."""
    decades = draw.uniform(-6, -3, len(numbers))
    levels = (
        0.983 - 0.003 * (decades > -3.5) * (decades + 3.5) + draw.normal(0, 0.0004, len(numbers))
    )
    final = levels[:, None] + draw.normal(0, 0.0007, (len(numbers), SEEDS))
    rising = 0.1 * (1 / np.arange(1, EPOCHS + 1) - 1 / EPOCHS)
    return _Block(uid, numbers, 10**decades, final[:, :, None] - rising)


def _optuna_rows(block: _Block) -> Iterator[tuple[str, str, Rows]]:
    ids = [number + 1 for number in block.numbers]
    means = block.curves.mean(axis=1).tolist()
    finals = [steps[-1] for steps in means]
    spreads = block.curves[:, :, -1].std(axis=1, ddof=1).tolist()
    yield (
        "trials",
        "trial_id, number, study_id, state, datetime_start, datetime_complete",
        (
            (key, number, 1, "COMPLETE", *_TIMES)
            for key, number in zip(ids, block.numbers, strict=True)
        ),
    )
    yield (
        "trial_values",
        "trial_id, objective, value, value_type",
        ((key, 0, value, "FINITE") for key, value in zip(ids, finals, strict=True)),
    )
    yield (
        "trial_params",
        "trial_id, param_name, param_value, distribution_json",
        (
            (key, "l2", value, _DISTRIBUTION)
            for key, value in zip(ids, block.factors.tolist(), strict=True)
        ),
    )
    yield (
        "trial_intermediate_values",
        "trial_id, step, intermediate_value, intermediate_value_type",
        (
            (key, step, value, "FINITE")
            for key, steps in zip(ids, means, strict=True)
            for step, value in enumerate(steps, start=1)
        ),
    )
    yield (
        "trial_user_attributes",
        "trial_id, key, value_json",
        (
            (key, name, json.dumps(value))
            for key, mean, spread in zip(ids, finals, spreads, strict=True)
            for name, value in _attributes(mean, spread).items()
        ),
    )


def _attributes(mean: float, spread: float) -> dict[str, Any]:
    network = Mlp(hidden=_HIDDEN)
    return {
        "network": network.label,
        "parameters": network.parameters,
        "multiply_adds": network.multiply_adds,
        "val_accuracy_mean": mean,
        "val_accuracy_std": spread,
        "n_seeds": SEEDS,
        "epochs": EPOCHS,
        "train_seconds": 12.3,
    }


def _own_rows(block: _Block) -> Iterator[tuple[str, str, Rows]]:
    uid, numbers, curves = block.uid, block.numbers, block.curves
    network = Mlp(hidden=_HIDDEN)
    described, size = network_to_json(network), network.parameters
    recipe = json.dumps(recipe_to_json(Recipe(epochs=EPOCHS, optimizer=Sgd(learning_rate=0.1))))
    yield (
        "mnist_tune_trials",
        "study_uid, trial_number, state, params, network, recipe, label, parameters, objective",
        (
            (
                *(uid, number, "complete", json.dumps({"l2": factor})),
                *(json.dumps({**described, "l2": factor}), recipe, network.label, size, mean),
            )
            for number, factor, mean in zip(
                numbers,
                block.factors.tolist(),
                curves[:, :, -1].mean(axis=1).tolist(),
                strict=True,
            )
        ),
    )
    measured = "train_loss, train_accuracy, val_loss, val_accuracy"
    keys = [(uid, 0, number, seed) for number in numbers for seed in range(SEEDS)]
    by_run = curves.reshape(len(keys), EPOCHS).tolist()
    yield (
        "mnist_tune_runs",
        f"study_uid, confirmation, trial_number, seed, state, epochs, {measured}",
        (
            (*key, "complete", EPOCHS, *_measures(values[-1]))
            for key, values in zip(keys, by_run, strict=True)
        ),
    )
    yield (
        "mnist_tune_epochs",
        f"study_uid, confirmation, trial_number, seed, epoch, {measured}",
        (
            (*key, epoch, *_measures(value))
            for key, values in zip(keys, by_run, strict=True)
            for epoch, value in enumerate(values, start=1)
        ),
    )
    yield (
        "mnist_tune_timings",
        (
            "study_uid, confirmation, trial_number, first_seed, seeds, started_at, finished_at, "
            "elapsed_seconds, train_seconds, host, device, threads"
        ),
        ((uid, 0, number, 0, SEEDS, *_STAMPS, 60.0, 55.5, "here", "CPU", 1) for number in numbers),
    )


def _measures(accuracy: float) -> tuple[float, float, float, float]:
    """Training loss and accuracy, validation loss and accuracy."""
    return 1 - accuracy, min(1.0, accuracy + 0.015), 4 * (1 - accuracy), accuracy


def _insert(connection: Connection, table: str, columns: str, rows: Rows) -> None:
    marks = ", ".join("?" * (columns.count(",") + 1))
    given: Sequence[tuple[Any, ...]] = list(rows)
    connection.exec_driver_sql(f"INSERT INTO {table} ({columns}) VALUES ({marks})", given)

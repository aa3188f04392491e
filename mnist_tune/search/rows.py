"""Rows and Optuna attributes of trials that have ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from statistics import fmean, stdev
from typing import Any

from mnist_tune.metrics import Metric
from mnist_tune.networks import network_to_json
from mnist_tune.recipes import recipe_to_json
from mnist_tune.search.events import TrialEnded
from mnist_tune.storage.records import (
    EpochRow,
    PredictionRow,
    RunRow,
    TimingRow,
    TrialRow,
    utc_text,
)
from mnist_tune.trainer.states import EpochMetrics

_TEST_METRICS = ("loss", "accuracy", "mse", "psnr")


def objective(metric: Metric, metrics: Mapping[int, EpochMetrics]) -> float:
    """Mean of the metric over the seeds, on the validation images."""
    return fmean(validation_values(metric, metrics))


def spread(metric: Metric, metrics: Mapping[int, EpochMetrics]) -> float | None:
    """Standard deviation (ddof 1) of the same over the seeds; None for one seed."""
    values = validation_values(metric, metrics)
    return stdev(values) if len(values) > 1 else None


def validation_values(metric: Metric, metrics: Mapping[int, EpochMetrics]) -> list[float]:
    """The metric of each seed that has been validated."""
    values = (getattr(entry, f"val_{metric.column}") for entry in metrics.values())
    return [value for value in values if value is not None]


def trial_row(uid: str, ended: TrialEnded, params: Mapping[str, Any]) -> TrialRow:
    """The row of a trial that has ended."""
    trial = ended.trial
    return TrialRow(
        study_uid=uid,
        trial_number=trial.trial_number,
        state=ended.state,
        reason=ended.failure,
        params=dict(params),
        network=network_to_json(trial.network),
        recipe=recipe_to_json(trial.recipe),
        label=trial.network.label,
        parameters=trial.network.parameters,
        objective=None if ended.state == "failed" else objective(trial.network.metric, ended.last),
    )


def pruned_row(uid: str, number: int, params: Mapping[str, Any]) -> TrialRow:
    """The row of a trial that `suggest` pruned, which has no network and no runs."""
    return TrialRow(
        study_uid=uid,
        trial_number=number,
        state="pruned",
        params=dict(params),
        network={},
        recipe={},
        label="",
        parameters=0,
    )


def run_rows(uid: str, ended: TrialEnded) -> list[RunRow]:
    """One row for each seed, with the metrics of its last epoch and of the test set."""
    found = []
    for seed, history in ended.histories.items():
        metrics = asdict(history[-1]) if history else {}
        metrics.pop("epoch", None)
        if seed in ended.tests:
            test = ended.tests[seed]
            metrics |= {f"test_{name}": getattr(test, name) for name in _TEST_METRICS}
        epochs = len(history)
        found.append(
            RunRow(**_key(uid, ended), seed=seed, state=ended.state, epochs=epochs, **metrics)
        )
    return found


def epoch_rows(uid: str, ended: TrialEnded) -> list[EpochRow]:
    """One row for each seed and epoch."""
    return [
        EpochRow(**_key(uid, ended), seed=seed, **asdict(metrics))
        for seed, history in ended.histories.items()
        for metrics in history
    ]


def prediction_rows(uid: str, ended: TrialEnded) -> list[PredictionRow]:
    """One row for each seed whose answers to the test set are classes."""
    return [
        PredictionRow(**_key(uid, ended), seed=seed, classes=test.classes.tobytes())
        for seed, test in ended.tests.items()
        if test.classes is not None
    ]


def timing_row(uid: str, ended: TrialEnded) -> TimingRow | None:
    """When, where and how long; None if no task of the trial ended well."""
    timings = ended.timings
    if not timings:
        return None
    return TimingRow(
        **_key(uid, ended),
        first_seed=min(ended.trial.seeds),
        seeds=len(ended.trial.seeds),
        started_at=utc_text(min(timing.started_at for timing in timings)),
        finished_at=utc_text(max(timing.finished_at for timing in timings)),
        elapsed_seconds=ended.elapsed_seconds,
        train_seconds=sum(timing.train_seconds for timing in timings),
        host=", ".join(sorted({timing.host for timing in timings})),
        device=", ".join(sorted({timing.device for timing in timings})),
        threads=max(timing.threads for timing in timings),
    )


def attributes(ended: TrialEnded) -> dict[str, Any]:
    """What Optuna keeps with the trial, so that the dashboard shows it as columns."""
    columns: dict[str, Any] = {
        "network": ended.trial.network.label,
        "parameters": ended.trial.network.parameters,
        "multiply_adds": ended.trial.network.multiply_adds,
    }
    if ended.state == "failed":
        return columns | {
            "failure": ended.failure,
            "failure_message": ended.message,
            "failure_attempts": ended.attempts,
        }
    last, metric = ended.last, ended.trial.network.metric
    return columns | {
        f"val_{metric.key}_mean": objective(metric, last),
        f"val_{metric.key}_std": spread(metric, last),
        "n_seeds": len(last),
        "epochs": max(metrics.epoch for metrics in last.values()),
        "train_seconds": round(sum(timing.train_seconds for timing in ended.timings), 3),
    }


def _key(uid: str, ended: TrialEnded) -> dict[str, Any]:
    trial = ended.trial
    return {
        "study_uid": uid,
        "confirmation": trial.confirmation,
        "trial_number": trial.trial_number,
    }

"""From what a job came to, to the rows and attributes that are stored."""

from __future__ import annotations

import json
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
from mnist_tune.storage.shown import Shown, of_trial
from mnist_tune.trainer.states import EpochMetrics


def objective(metric: Metric, metrics: Mapping[int, EpochMetrics]) -> float:
    """Mean of the metric over the seeds, on the validation images."""
    return fmean(validated(metric, metrics))


def spread(metric: Metric, metrics: Mapping[int, EpochMetrics]) -> float | None:
    """Standard deviation (ddof 1) of the same over the seeds; None for one seed."""
    values = validated(metric, metrics)
    return stdev(values) if len(values) > 1 else None


def validated(metric: Metric, metrics: Mapping[int, EpochMetrics]) -> list[float]:
    """The metric of each seed that has been validated."""
    values = (getattr(entry, f"val_{metric.column}") for entry in metrics.values())
    return [value for value in values if value is not None]


def trial_row(uid: str, ended: TrialEnded, state: str, params: Mapping[str, Any]) -> TrialRow:
    """The row of a trial that has ended."""
    job = ended.job
    return TrialRow(
        study_uid=uid,
        trial_number=job.trial_number,
        state=state,
        reason=ended.failure,
        params=dict(params),
        network=network_to_json(job.network),
        recipe=recipe_to_json(job.recipe),
        label=job.network.label,
        parameters=job.network.parameters,
        objective=None if state == "failed" else objective(job.network.metric, _last(ended)),
    )


def run_rows(uid: str, ended: TrialEnded, state: str) -> list[RunRow]:
    """One row for each seed, with the metrics of its last epoch and its score on the test set."""
    rows = []
    for seed, history in ended.histories.items():
        metrics = asdict(history[-1]) if history else {}
        metrics.pop("epoch", None)
        score = ended.scores.get(seed)
        rows.append(
            RunRow(
                study_uid=uid,
                confirmation=ended.job.confirmation,
                trial_number=ended.job.trial_number,
                seed=seed,
                state=state,
                epochs=len(history),
                test_loss=score.loss if score else None,
                test_accuracy=score.accuracy if score else None,
                test_mse=score.mse if score else None,
                test_psnr=score.psnr if score else None,
                **metrics,
            )
        )
    return rows


def epoch_rows(uid: str, ended: TrialEnded) -> list[EpochRow]:
    """One row for each seed and epoch."""
    return [
        EpochRow(
            study_uid=uid,
            confirmation=ended.job.confirmation,
            trial_number=ended.job.trial_number,
            seed=seed,
            **asdict(metrics),
        )
        for seed, history in ended.histories.items()
        for metrics in history
    ]


def prediction_rows(uid: str, ended: TrialEnded) -> list[PredictionRow]:
    """One row for each seed whose answers to the test set are classes."""
    return [
        PredictionRow(
            study_uid=uid,
            confirmation=ended.job.confirmation,
            trial_number=ended.job.trial_number,
            seed=seed,
            classes=score.classes.tobytes(),
        )
        for seed, score in ended.scores.items()
        if score.classes is not None
    ]


def timing_row(uid: str, ended: TrialEnded) -> TimingRow | None:
    """When, where and how long; None if no task of the job ended well."""
    outcomes = ended.outcomes
    if not outcomes:
        return None
    return TimingRow(
        study_uid=uid,
        confirmation=ended.job.confirmation,
        trial_number=ended.job.trial_number,
        first_seed=min(ended.job.seeds),
        seeds=len(ended.job.seeds),
        started_at=utc_text(min(outcome.started_at for outcome in outcomes)),
        finished_at=utc_text(max(outcome.finished_at for outcome in outcomes)),
        elapsed_seconds=ended.elapsed_seconds,
        train_seconds=sum(outcome.train_seconds for outcome in outcomes),
        host=", ".join(sorted({outcome.host for outcome in outcomes})),
        device=", ".join(sorted({outcome.device for outcome in outcomes})),
        threads=max(outcome.threads for outcome in outcomes),
    )


def attributes(ended: TrialEnded, state: str) -> dict[str, Any]:
    """What Optuna keeps with the trial, so that the dashboard shows it as columns."""
    columns: dict[str, Any] = {
        "network": ended.job.network.label,
        "parameters": ended.job.network.parameters,
        "multiply_adds": ended.job.network.multiply_adds,
    }
    if state == "failed":
        return columns | {
            "failure": ended.failure,
            "failure_message": ended.message,
            "failure_attempts": ended.attempts,
        }
    last, metric = _last(ended), ended.job.network.metric
    return columns | {
        f"val_{metric.key}_mean": objective(metric, last),
        f"val_{metric.key}_std": spread(metric, last),
        "n_seeds": len(last),
        "epochs": max(metrics.epoch for metrics in last.values()),
        "train_seconds": round(sum(outcome.train_seconds for outcome in ended.outcomes), 3),
    }


def shown(uid: str, ended: TrialEnded) -> tuple[Shown, ...]:
    """Files that the dashboard will show with the trial; who draws them need not be in a hurry."""
    network = json.dumps(network_to_json(ended.job.network), sort_keys=True)
    return of_trial(uid, ended.job.trial_number, network)


def _last(ended: TrialEnded) -> dict[int, EpochMetrics]:
    return {seed: history[-1] for seed, history in ended.histories.items()}

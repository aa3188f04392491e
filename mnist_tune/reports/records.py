"""Results as flat records: what tables, JSON and data frames share. NaN and None are the unknown."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from mnist_tune.metrics import DENOISING_ERROR
from mnist_tune.reports.comparisons import Comparison
from mnist_tune.reports.configurations import Configuration
from mnist_tune.reports.results import Results
from mnist_tune.storage import tables
from mnist_tune.storage.records import TrialRow

_COMPUTED = ("n", "mean", "std", "low", "high", "delta_to_best", "p_adjusted", "approx_best")
_COMPUTED_OF_SOME = ("multiply_adds", "mse_mean", "mse_std", "psnr_mean", "psnr_std")
_TITLES = ("trial", "accuracy", "denoising_error", "images", "size", "MSE")  # in tables for people
# Columns of the tables; a parameter of such a name gets another column.
FIXED = frozenset(
    (
        *tables.runs.columns.keys(),
        *tables.trials.columns.keys(),
        *_COMPUTED,
        *_COMPUTED_OF_SOME,
        "epoch",
        *_TITLES,
    )
)


def parameter_columns(results: Results) -> dict[str, str]:
    """Name → column of each parameter, declared or met, by name."""
    names = {parameter.name for parameter in results.provenance.parameters}
    names |= {name for entry in results.configurations for name in entry.trial.params}
    taken = FIXED | names
    return {
        name: _free(f"param_{name}", taken) if name in FIXED else name for name in sorted(names)
    }


def _free(column: str, taken: Collection[str]) -> str:
    """The name, or longer where a parameter is called so."""
    return _free(f"param_{column}", taken) if column in taken else column


def trial_record(trial: TrialRow, columns: Mapping[str, str]) -> dict[str, Any]:
    """What a trial is: its number, parameters and network."""
    return {
        "trial_number": trial.trial_number,
        **{column: _plain(trial.params.get(name)) for name, column in columns.items()},
        "label": trial.label,
        "parameters": trial.parameters,
    }


def configuration_records(results: Results) -> Iterator[dict[str, Any]]:
    """One record per configuration."""
    columns = parameter_columns(results)
    for entry in results.configurations:
        summary, pairing = entry.summary, entry.pairing
        yield {
            **trial_record(entry.trial, columns),
            "state": entry.trial.state,
            "reason": entry.trial.reason,
            "epochs": entry.epochs,
            "n": summary.n if summary else 0,
            "mean": summary.mean if summary else math.nan,
            "std": summary.std if summary else math.nan,
            "low": summary.low if summary else math.nan,
            "high": summary.high if summary else math.nan,
            "delta_to_best": 0.0 if entry.best else pairing.difference if pairing else math.nan,
            "p_adjusted": entry.p_adjusted,
            "approx_best": entry.approx_best,
            **_size_and_quality(results, entry),
        }


def _size_and_quality(results: Results, entry: Configuration) -> dict[str, Any]:
    record: dict[str, Any] = {}
    if results.multiply_adds:
        record["multiply_adds"] = results.multiply_adds[entry.trial.trial_number]
    if results.metric is DENOISING_ERROR:
        mse, psnr = entry.mse, entry.psnr
        record["mse_mean"] = mse.mean if mse else math.nan
        record["mse_std"] = mse.std if mse else math.nan
        record["psnr_mean"] = psnr.mean if psnr else math.nan
        record["psnr_std"] = psnr.std if psnr else math.nan
    return record


def comparison_records(results: Results) -> Iterator[dict[str, Any]]:
    """One record per comparison, baselines first."""
    yield from map(_baseline_record, results.comparisons)
    best = results.best
    for entry in results.configurations:
        if best is not None and best.summary and entry.pairing and entry.summary:
            yield _pair_record(entry, best, results)


def _baseline_record(comparison: Comparison) -> dict[str, Any]:
    scores, verdict = comparison.scores, comparison.verdict
    summary = scores.summary
    return {
        "kind": "baseline",
        "trial_number": scores.trial_number,
        "confirmation": scores.confirmation,
        "measured_on": "test",
        "optimistic": scores.optimistic,
        "against": comparison.baseline.key,
        "n": summary.n,
        "mean": summary.mean,
        "std": summary.std,
        "reference": comparison.baseline.accuracy,
        "difference": verdict.difference,
        "low": verdict.low,
        "high": verdict.high,
        "p_value": verdict.p_value,
        "p_adjusted": math.nan,
        "outcome": verdict.outcome,
        "seeds_needed": verdict.seeds_needed,
    }


def _pair_record(entry: Configuration, best: Configuration, results: Results) -> dict[str, Any]:
    assert entry.pairing is not None and entry.summary is not None and best.summary is not None
    return {
        "kind": "configuration",
        "trial_number": entry.trial.trial_number,
        "confirmation": None,
        "measured_on": results.provenance.validation_name,
        "optimistic": results.provenance.selects_on_test,
        "against": f"trial {best.trial.trial_number}",
        "n": entry.pairing.n,
        "mean": entry.summary.mean,
        "std": entry.summary.std,
        "reference": best.summary.mean,
        "difference": entry.pairing.difference,
        "low": entry.pairing.low,
        "high": entry.pairing.high,
        "p_value": entry.pairing.p_value,
        "p_adjusted": entry.p_adjusted,
        "outcome": entry.outcome,
        "seeds_needed": entry.seeds_needed,
    }


def _plain(value: object) -> object:
    """A value that fits into a cell; whatever is no scalar becomes JSON text."""
    scalar = value is None or isinstance(value, bool | int | float | str)
    return value if scalar else json.dumps(value, sort_keys=True)

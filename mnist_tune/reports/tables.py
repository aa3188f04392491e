"""Tidy tables of a study: one row per run, configuration, comparison, epoch, piece of training.

Accuracies are in 0–1, losses in nats. Columns, their types and the order of rows depend on the
study's definition alone, values on definition, data and seeds alone; only `timings` holds what the
clock and the machine decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from sqlalchemy import Connection, Float, select
from sqlalchemy.sql.schema import Table

from mnist_tune.metrics import DENOISING_ERROR
from mnist_tune.reports.provenance import Parameter
from mnist_tune.reports.records import (
    comparison_records,
    configuration_records,
    parameter_columns,
    trial_record,
)
from mnist_tune.reports.results import Results
from mnist_tune.storage import tables as stored

_PART = 20_000  # rows
_KEY = {"confirmation": "int64", "trial_number": "int64", "seed": "int64"}
_LOSSES = {"train_loss": "float64", "train_accuracy": "float64"}
_VALIDATION = {"val_loss": "float64", "val_accuracy": "float64"}
_NETWORK = {"label": "str", "parameters": "int64"}
_STATE = {"state": "str"}

_DENOISING = {"mse": "float64", "psnr": "float64"}  # of autoencoders alone

RUNS = {
    **_STATE,
    "epochs": "int64",
    **_LOSSES,
    **_VALIDATION,
    "test_loss": "float64",
    "test_accuracy": "float64",
}
EPOCHS = {**_KEY, "epoch": "int64", **_LOSSES, **_VALIDATION}
CONFIGURATIONS = {
    **_NETWORK,
    **_STATE,
    "reason": "str",
    "epochs": "Int64",
    "n": "int64",
    "mean": "float64",
    "std": "float64",
    "low": "float64",
    "high": "float64",
    "delta_to_best": "float64",
    "p_adjusted": "float64",
    "approx_best": "boolean",
}
COMPARISON = {
    "kind": "str",  # baseline | configuration
    "trial_number": "int64",
    "confirmation": "Int64",  # missing for what the search itself measured
    "measured_on": "str",  # test | validation
    "optimistic": "bool",  # selected on the same images
    "against": "str",  # key of the baseline, or `trial 3`
    "n": "int64",
    "mean": "float64",
    "std": "float64",
    "reference": "float64",
    "difference": "float64",
    "low": "float64",
    "high": "float64",
    "p_value": "float64",
    "p_adjusted": "float64",
    "outcome": "str",
    "seeds_needed": "Int64",
}


@dataclass(frozen=True, slots=True)
class Tables:
    """The five tables of a study.

    Attributes:
        runs: one row per confirmation (0: the search), trial and seed.
        configurations: one row per trial, best first.
        comparison: test results against baselines, then configurations against the best.
        epochs: one row per run and epoch.
        timings: one row per piece of training; the only table that the clock decides.
    """

    runs: pd.DataFrame
    configurations: pd.DataFrame
    comparison: pd.DataFrame
    epochs: pd.DataFrame
    timings: pd.DataFrame


def read_tables(connection: Connection, results: Results) -> Tables:
    """Make the tables of a study whose results were read from the same storage."""
    uid = results.provenance.uid
    columns = parameter_columns(results)
    types = {columns[name]: kind for name, kind in _parameter_types(results, columns).items()}
    return Tables(
        runs=_runs(_read(connection, stored.runs, uid), results, types),
        configurations=_frame(
            configuration_records(results),
            {"trial_number": "int64", **types, **CONFIGURATIONS, **_size_and_quality(results)},
        ),
        comparison=_frame(comparison_records(results), COMPARISON),
        epochs=_typed(
            _read(connection, stored.epochs, uid), {**EPOCHS, **_denoising(results, "val")}
        ),
        timings=_read(connection, stored.timings, uid),
    )


def _runs(runs: pd.DataFrame, results: Results, types: Mapping[str, str]) -> pd.DataFrame:
    columns = parameter_columns(results)
    trials = _frame(
        (trial_record(entry.trial, columns) for entry in results.configurations),
        {"trial_number": "int64", **types, **_NETWORK},
    )
    described = runs.merge(trials, on="trial_number", how="left", validate="m:1")
    more = _denoising(results, "val", "test")
    return _typed(described, {**_KEY, **types, **_NETWORK, **RUNS, **more})


def _size_and_quality(results: Results) -> dict[str, str]:
    """Columns that only convolutional networks, and only autoencoders have."""
    sizes = {"multiply_adds": "int64"} if results.multiply_adds else {}
    if results.metric is not DENOISING_ERROR:
        return sizes
    names = ("mse_mean", "mse_std", "psnr_mean", "psnr_std")
    return {**sizes, **dict.fromkeys(names, "float64")}


def _denoising(results: Results, *images: str) -> dict[str, str]:
    """Columns that only autoencoders have."""
    if results.metric is not DENOISING_ERROR:
        return {}
    return {f"{part}_{name}": kind for part in images for name, kind in _DENOISING.items()}


def _read(connection: Connection, table: Table, uid: str) -> pd.DataFrame:
    """The rows of a study by key, part by part: as Python's values a million take a gigabyte."""
    columns = [column for column in table.c if column.name != "study_uid"]
    keys = [column for column in columns if column.primary_key]
    statement = select(*columns).where(table.c.study_uid == uid).order_by(*keys)
    floats = {column.name: "float64" for column in columns if isinstance(column.type, Float)}
    parts = pd.read_sql(statement, connection, chunksize=_PART)
    return pd.concat([part.astype(floats) for part in parts], ignore_index=True)


def _frame(records: Iterable[Mapping[str, object]], types: Mapping[str, str]) -> pd.DataFrame:
    return _typed(pd.DataFrame(list(records), columns=list(types), dtype=object), types)


def _typed(frame: pd.DataFrame, types: Mapping[str, str]) -> pd.DataFrame:
    return frame[list(types)].astype(dict(types)).reset_index(drop=True)


def _parameter_types(results: Results, names: Iterable[str]) -> dict[str, str]:
    declared = {entry.name: _type(entry) for entry in results.provenance.parameters}
    return {name: declared.get(name, "str") for name in names}


def _type(parameter: Parameter) -> str:
    if parameter.kind == "float":
        return "float64"
    if parameter.kind == "int":
        return "Int64"
    return _type_of_choices([choice for choice in parameter.choices if choice is not None])


def _type_of_choices(choices: Sequence[object]) -> str:
    kinds = {type(choice) for choice in choices}
    if kinds == {bool}:
        return "boolean"
    if kinds == {int}:
        return "Int64"
    return "float64" if kinds and kinds <= {int, float} else "str"

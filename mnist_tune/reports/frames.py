"""Data frames of a study: one row per configuration, run, comparison, epoch, piece of training.

Only `timings` holds what the clock and the machine decide.
"""

from __future__ import annotations

import pandas as pd
from sqlalchemy import Connection, Float, Integer, Table, select

from mnist_tune.metrics import DENOISING_ERROR
from mnist_tune.reports.results import StudyResults
from mnist_tune.reports.table_formats import frame_of
from mnist_tune.reports.tables import comparison_table, configurations_table, trials_table
from mnist_tune.storage.records import EpochRow, RunRow, TimingRow
from mnist_tune.storage.schema import TABLES

FRAMES = ("configurations", "runs", "comparison", "epochs", "timings")
_KEYS = 3  # confirmation, trial, seed
_CHUNK = 20_000  # rows


def study_frame(connection: Connection, results: StudyResults, name: str) -> pd.DataFrame:
    """Make one of the FRAMES of a study whose results were read from the same storage."""
    if name == "configurations":
        return frame_of(configurations_table(results))
    if name == "comparison":
        return frame_of(comparison_table(results))
    if name == "runs":
        return _runs(connection, results)
    return _read(
        connection, {"epochs": TABLES[EpochRow], "timings": TABLES[TimingRow]}[name], results
    )


def _runs(connection: Connection, results: StudyResults) -> pd.DataFrame:
    """The runs, each with the parameters and the network of its trial."""
    trials = frame_of(trials_table(results))
    runs = _read(connection, TABLES[RunRow], results)
    found = runs.merge(trials, on="trial_number", how="left", validate="m:1")
    first = runs.columns[:_KEYS]
    ordered = found[[*first, *trials.columns[1:], *runs.columns[_KEYS:]]]
    return ordered.astype(trials.dtypes.to_dict())


def _read(connection: Connection, table: Table, results: StudyResults) -> pd.DataFrame:
    """The rows of a study by key, chunk by chunk: as Python's values a million take a gigabyte."""
    denoises = results.metric is DENOISING_ERROR
    columns = [
        column
        for column in table.c
        if column.name != "study_uid" and (denoises or not column.name.endswith(("_mse", "_psnr")))
    ]
    keys = [column for column in columns if column.primary_key]
    own = table.c.study_uid == results.provenance.uid
    statement = select(*columns).where(own).order_by(*keys)
    chunks = pd.read_sql(statement, connection, chunksize=_CHUNK)
    types = {column.name: _dtype(column.type) for column in columns}
    return pd.concat([chunk.astype(types) for chunk in chunks], ignore_index=True)


def _dtype(kind: object) -> str:
    return "float64" if isinstance(kind, Float) else "int64" if isinstance(kind, Integer) else "str"

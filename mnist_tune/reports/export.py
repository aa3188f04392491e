"""A study's data frames, and its tables, report and figures as files. Same database, same bytes.

Only the frame `timings` and the figure against seconds hold what the clock and the machine decide.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from sqlalchemy import Connection, Float, Integer, Table, select

from mnist_tune.errors import InputError
from mnist_tune.files import write_atomically
from mnist_tune.metrics import DENOISING_ERROR
from mnist_tune.reports.confusions import (
    PredictionErrors,
    confusion_table,
    found_errors,
    misclassified_table,
)
from mnist_tune.reports.documents import markdown_document
from mnist_tune.reports.results import StudyResults, read_results
from mnist_tune.reports.study_figures import study_figures
from mnist_tune.reports.study_report import study_report
from mnist_tune.reports.table_formats import frame_files, frame_of, reader_files
from mnist_tune.reports.tables import (
    comparison_table,
    configurations_table,
    importances_table,
    references_table,
    runs_table,
    trials_table,
)
from mnist_tune.storage.records import EpochRow, RunRow, TimingRow
from mnist_tune.storage.schema import TABLES

FRAMES = ("configurations", "runs", "comparison", "epochs", "timings")
_KEYS = 3  # confirmation, trial, seed
_CHUNK = 20_000  # rows


def export_study(connection: Connection, name: str, folder: Path) -> list[Path]:
    """Write everything that can be said of a study; files of the same names are replaced.

    All but `timings.*` and the figure against seconds hold nothing of the clock.

    Args:
        connection: to the storage.
        name: of the study.
        folder: is made if it is not there.

    Returns:
        The files, in the order written.

    Raises:
        StorageError: there is no study of that name.
        Incomplete: no trial has ended yet.
        InputError: the folder cannot be written.
    """
    return write_files(folder, _files(connection, read_results(connection, name)))


def study_frame(connection: Connection, results: StudyResults, name: str) -> pd.DataFrame:
    """One of the FRAMES of a study whose results were read from the same storage."""
    if name == "configurations":
        return frame_of(configurations_table(results))
    if name == "comparison":
        return frame_of(comparison_table(results))
    if name == "runs":
        return _runs(connection, results)
    return _read(
        connection, {"epochs": TABLES[EpochRow], "timings": TABLES[TimingRow]}[name], results
    )


def write_files(folder: Path, files: Iterable[tuple[str, bytes]]) -> list[Path]:
    """Write files into a folder, which is made if it is not there; each is replaced at once.

    Raises:
        InputError: the folder cannot be written.
    """
    with _blaming(f"to {folder}", "folder"):
        folder.mkdir(parents=True, exist_ok=True)
        return [write_atomically(folder / name, content) for name, content in files]


def write_file(path: Path, content: bytes) -> Path:
    """Write one file into a folder that is there.

    Raises:
        InputError: it cannot be written.
    """
    with _blaming(str(path), "file"):
        return write_atomically(path, content)


def check_writable(folder: Path) -> None:
    """Make the folder, and see whether files can be written there, before any work is done.

    Raises:
        InputError: they cannot.
    """
    probe = folder / f".mnist-tune.{os.getpid()}.part"
    with _blaming(f"to {folder}", "--out"):
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()


@contextmanager
def _blaming(what: str, other: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"cannot write {what}: {reason}; give another {other}") from error


def _files(connection: Connection, results: StudyResults) -> Iterator[tuple[str, bytes]]:
    errors = found_errors(connection, results)
    for name in FRAMES:
        yield from frame_files(name, study_frame(connection, results, name))
    more = [references_table(results)] if results.references else []
    more += [importances_table(results)] if results.importances else []
    if isinstance(errors, PredictionErrors):
        more = [confusion_table(errors), misclassified_table(errors), *more]
    for table in more:
        yield from frame_files(table.name, frame_of(table))
    figures = [figure for figure in study_figures(connection, results) if figure.at_hand]
    report = study_report(results, figures, errors)
    tables = (configurations_table(results), runs_table(results), comparison_table(results))
    for table in [*tables, *more]:
        yield from reader_files(table, report.alerts)
    for figure in figures:
        yield from figure.files()
    yield "summary.md", markdown_document(report).encode()


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

"""Writes a study's tables, report and figures into a folder. Same database, same bytes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection

from mnist_tune.errors import InputError
from mnist_tune.files import write_atomically
from mnist_tune.reports.confusions import (
    PredictionErrors,
    confusion_table,
    found_errors,
    misclassified_table,
)
from mnist_tune.reports.documents import markdown_document
from mnist_tune.reports.frames import FRAMES, study_frame
from mnist_tune.reports.results import StudyResults, read_results
from mnist_tune.reports.study_figures import study_figures
from mnist_tune.reports.study_report import study_report
from mnist_tune.reports.table_formats import frame_files, frame_of, reader_files
from mnist_tune.reports.tables import (
    comparison_table,
    configurations_table,
    references_table,
    runs_table,
)


def export_study(connection: Connection, name: str, folder: Path) -> list[Path]:
    """Write everything that can be said of a study; files of the same names are replaced.

    All but `timings.*` are functions of the study's rows, and hold nothing of the clock.

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
        yield f"{figure.name}.png", figure.png()
        yield f"{figure.name}.svg", figure.svg()
    yield "summary.md", markdown_document(report).encode()

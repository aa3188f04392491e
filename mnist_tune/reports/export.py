"""Writes a study's tables, report and figure into a folder. Same database, same bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path

import pandas as pd
from sqlalchemy import Connection

from mnist_tune.errors import InputError
from mnist_tune.files import write_atomically
from mnist_tune.reports import formats
from mnist_tune.reports.confusions import (
    Errors,
    Miss,
    found_errors,
    matrix_records,
    matrix_view,
    miss_records,
    misses_view,
)
from mnist_tune.reports.document import Picture, document
from mnist_tune.reports.illustrations import Illustration, illustrations
from mnist_tune.reports.latex import latex_table
from mnist_tune.reports.markdown import markdown, markdown_table
from mnist_tune.reports.results import Results, read_results
from mnist_tune.reports.tables import Tables, read_tables
from mnist_tune.reports.views import (
    comparison_view,
    configurations_view,
    references_view,
    runs_view,
)

File = tuple[str, bytes]


def export(connection: Connection, study_name: str, folder: Path) -> list[Path]:
    """Write everything that can be said of a study; files of the same names are replaced.

    All but `timings.*` are functions of the study's rows, and hold nothing of the clock.

    Args:
        connection: to the storage.
        study_name: of the study.
        folder: is made if it is not there.

    Returns:
        The files, in the order written.

    Raises:
        StorageError: there is no study of that name.
        Incomplete: no trial has ended yet.
        InputError: the folder cannot be written.
    """
    results = read_results(connection, study_name)
    errors = found_errors(connection, results)
    drawn = illustrations(connection, results)
    return write_files(folder, _files(results, read_tables(connection, results), drawn, errors))


def write_files(folder: Path, files: Iterable[File]) -> list[Path]:
    """Write files into a folder, which is made if it is not there; each is replaced at once.

    Raises:
        InputError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [write_atomically(folder / name, content) for name, content in files]
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"cannot write to {folder}: {reason}; give another folder") from error


def _files(
    results: Results,
    tables: Tables,
    drawn: Sequence[Illustration],
    errors: Errors | str | None,
) -> Iterator[File]:
    names = ("configurations", "runs", "comparison", "epochs", "timings")
    frames = {name: getattr(tables, name) for name in names}
    if isinstance(errors, Errors):
        frames["confusion"] = pd.DataFrame(matrix_records(errors))
        frames["misclassified"] = pd.DataFrame(
            miss_records(errors), columns=[f.name for f in fields(Miss)]
        )
    if results.references:
        records = map(asdict, results.references)
        frames["references"] = pd.DataFrame(records).drop(columns="study_uid")
    yield from data_files(frames)
    pictures = [Picture(f"{picture.name}.png", picture.caption) for picture in drawn]
    made = document(results, pictures, errors)
    yield from _for_people(results, errors, made.alerts)
    for picture in drawn:
        yield f"{picture.name}.png", picture.png
        yield f"{picture.name}.svg", picture.svg
    yield "summary.md", markdown(made).encode()


def data_files(frames: Mapping[str, pd.DataFrame]) -> Iterator[File]:
    """Full precision, for programs: each frame as CSV, JSON and Parquet."""
    for name, frame in frames.items():
        yield f"{name}.csv", formats.csv(frame)
        yield f"{name}.json", formats.json(frame)
        yield f"{name}.parquet", formats.parquet(frame)


def _for_people(
    results: Results, errors: Errors | str | None, alerts: Sequence[str]
) -> Iterator[File]:
    """Rounded, for papers, with what must not be overlooked above."""
    quoted = "".join(f"> **{alert}**\n\n" for alert in alerts)
    commented = "".join(f"% {alert}\n" for alert in alerts)
    views = {
        "configurations": configurations_view(results),
        "runs": runs_view(results),
        "comparison": comparison_view(results),
    }
    if isinstance(errors, Errors):
        views |= {"confusion": matrix_view(errors), "misclassified": misses_view(errors)}
    if results.references:
        views["references"] = references_view(results.references)
    for name, view in views.items():
        yield f"{name}.md", f"{quoted}{markdown_table(view)}\n".encode()
        yield f"{name}.tex", f"{commented}{latex_table(view)}".encode()


def write_file(path: Path, content: bytes) -> Path:
    """Write one file into a folder that is there.

    Raises:
        InputError: it cannot be written.
    """
    try:
        return write_atomically(path, content)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"cannot write {path}: {reason}; give another file") from error

"""Writes a study's tables, report and figure into a folder. Same database, same bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from sqlalchemy import Connection

from mnist_tune.errors import InputError
from mnist_tune.reports import drawing, formats
from mnist_tune.reports.document import Picture, document
from mnist_tune.reports.figures import plot
from mnist_tune.reports.latex import latex_table
from mnist_tune.reports.markdown import markdown, markdown_table
from mnist_tune.reports.results import Results, read_results
from mnist_tune.reports.tables import Tables, read_tables
from mnist_tune.reports.views import comparison_view, configurations_view, runs_view

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
    files = list(_files(results, read_tables(connection, results)))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [_write(folder / name, content) for name, content in files]
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"cannot write to {folder}: {reason}; give another folder") from error


def _files(results: Results, tables: Tables) -> Iterator[File]:
    yield from _data(tables)
    yield from _for_people(results)
    figure = plot(results)
    pictures = []
    if figure is not None:
        yield f"{figure.name}.png", drawing.png(figure)
        yield f"{figure.name}.svg", drawing.svg(figure)
        pictures.append(Picture(f"{figure.name}.png", figure.caption))
    yield "summary.md", markdown(document(results, pictures)).encode()


def _data(tables: Tables) -> Iterator[File]:
    """Full precision, for programs."""
    for name in ("configurations", "runs", "comparison", "epochs", "timings"):
        frame = getattr(tables, name)
        yield f"{name}.csv", formats.csv(frame)
        yield f"{name}.json", formats.json(frame)
        yield f"{name}.parquet", formats.parquet(frame)


def _for_people(results: Results) -> Iterator[File]:
    """Rounded, for papers, with what must not be overlooked above."""
    alerts = document(results).alerts
    quoted = "".join(f"> **{alert}**\n\n" for alert in alerts)
    commented = "".join(f"% {alert}\n" for alert in alerts)
    views = {
        "configurations": configurations_view(results),
        "runs": runs_view(results),
        "comparison": comparison_view(results),
    }
    for name, view in views.items():
        yield f"{name}.md", f"{quoted}{markdown_table(view)}\n".encode()
        yield f"{name}.tex", f"{commented}{latex_table(view)}".encode()


def _write(path: Path, content: bytes) -> Path:
    """Replace a file at once: a reader sees the old one or the new one."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    return path

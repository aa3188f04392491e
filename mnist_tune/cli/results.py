"""Commands that show what came out: report, export, best."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mnist_tune.cli import options
from mnist_tune.storage.location import Location

if TYPE_CHECKING:  # pandas and SQLAlchemy cost a second, which `--help` does not have
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from sqlalchemy import Connection


class ReportFormat(StrEnum):
    """How a report is printed."""

    TEXT = "text"
    MARKDOWN = "markdown"
    JSON = "json"


def report(
    study: options.StudyName,
    form: Annotated[
        ReportFormat, typer.Option("--format", help="How to print.")
    ] = ReportFormat.TEXT,
    storage: options.Storage = None,
) -> None:
    """Print verdict, configurations, every seed, baselines and warnings of a study."""
    print_report(Location.find(storage), study, form)


def export(
    study: options.StudyName,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder for the files; made if missing.")
    ],
    storage: options.Storage = None,
) -> None:
    """Write tables (CSV, Markdown, LaTeX, JSON, Parquet), summary and figure of a study."""
    from mnist_tune.reports.export import export as write

    with _reading(Location.find(storage)) as connection:
        for path in write(connection, study, out):
            typer.echo(path)


def best(
    study: options.StudyName,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="FILE.keras", help="Write the trained network.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Which run to save; the first one by default.")
    ] = None,
    storage: options.Storage = None,
    data: options.Data = None,
) -> None:
    """Print the best configuration; with --save, write one of its runs as a plain Keras file."""
    from mnist_tune.models import find_winner, save_winner

    location = Location.find(storage)
    winner = find_winner(location, study, seed)
    typer.echo(json.dumps(winner.to_json(), indent=2, ensure_ascii=False))
    if save is not None:
        saved = save_winner(location, winner, save, data)
        typer.echo(f"wrote {save}: seed {winner.seed}, {saved}", err=True)


def print_report(location: Location, name: str, form: ReportFormat = ReportFormat.TEXT) -> None:
    """Print a report to stdout."""
    from mnist_tune.reports.document import document
    from mnist_tune.reports.results import read_results

    with _reading(location) as connection:
        made = document(read_results(connection, name))
    if form is ReportFormat.JSON:
        typer.echo(json.dumps(made.to_json(), indent=2, ensure_ascii=False))
    elif form is ReportFormat.MARKDOWN:
        from mnist_tune.reports.markdown import markdown

        typer.echo(markdown(made))
    else:
        from rich.console import Console

        from mnist_tune.reports.terminal import show

        show(made, Console())


def _reading(location: Location) -> AbstractContextManager[Connection]:
    from contextlib import contextmanager

    from mnist_tune.storage.database import open_database

    @contextmanager
    def opened() -> Iterator[Connection]:
        with (
            open_database(location, create=False, read_only=True) as database,
            database.reading() as connection,
        ):
            yield connection

    return opened()

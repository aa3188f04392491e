"""Commands that print and write results: report, export, compare, baselines, best."""

from __future__ import annotations

import json
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mnist_tune.cli import options
from mnist_tune.errors import DefinitionError
from mnist_tune.storage.location import Location

if TYPE_CHECKING:  # pandas and SQLAlchemy cost a second, which `--help` does not have
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from sqlalchemy import Connection

    from mnist_tune.reports.documents import Document


from typing import TYPE_CHECKING, Any

from mnist_tune.cli.options import Format, print_rows

if TYPE_CHECKING:  # pandas and SQLAlchemy cost a second, which `--help` does not have
    from mnist_tune.reports.compare import Comparison


class ReportFormat(StrEnum):
    """How a report is printed."""

    TEXT = "text"
    MARKDOWN = "markdown"
    JSON = "json"
    HTML = "html"


@click.command("report")
@click.argument("study", required=False)
@click.option(
    "--all",
    "every",
    is_flag=True,
    help="One document over all studies, from the first network to synthetic digits.",
)
@options.format_option(ReportFormat.TEXT)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write into a file instead of the terminal; HTML is one file with its pictures inside.",
)
@options.storage
def report_command(
    study: str | None, every: bool, form: ReportFormat, out: Path | None, storage: str | None
) -> None:
    """Print verdict, configurations, every seed, baselines and warnings of a study."""
    if every == (study is not None):
        raise DefinitionError("give the name of a study, or --all for all of them")
    location = Location.find(storage)
    text = _all_text(location, form) if study is None else _report_text(location, study, form)
    if out is None:
        click.echo(text, nl=False)
        return
    from mnist_tune.reports.export import write_file

    click.echo(write_file(out, text.encode()))


@click.command("export")
@options.study_name
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="Folder for the files; made if missing.",
)
@options.storage
def export_command(study: str, out: Path, storage: str | None) -> None:
    """Write tables (CSV, Markdown, LaTeX, JSON, Parquet), summary and figure of a study."""
    from mnist_tune.reports.export import export_study

    with reading(Location.find(storage)) as connection:
        for path in export_study(connection, study, out):
            click.echo(path)


@click.command("best")
@options.study_name
@click.option(
    "--save",
    type=click.Path(path_type=Path),
    metavar="FILE.keras",
    help="Write the trained network.",
)
@click.option("--seed", type=int, help="Which run to save; the first one by default.")
@options.storage
@options.data
def best_command(
    study: str, save: Path | None, seed: int | None, storage: str | None, folder: Path | None
) -> None:
    """Print the best configuration; with --save, write one of its runs as a plain Keras file."""
    from mnist_tune.models import find_winner, save_winner

    location = Location.find(storage)
    winner = find_winner(location, study, seed)
    click.echo(json.dumps(winner.to_json(), indent=2, ensure_ascii=False))
    if save is not None:
        saved = save_winner(location, winner, save, folder)
        click.echo(f"wrote {save}: seed {winner.seed}, {saved}", err=True)


def print_report(location: Location, name: str, form: ReportFormat = ReportFormat.TEXT) -> None:
    """Print a report to stdout."""
    click.echo(_report_text(location, name, form), nl=False)


def _report_text(location: Location, name: str, form: ReportFormat) -> str:
    from mnist_tune.reports.all_studies import full_report
    from mnist_tune.reports.results import read_results

    with reading(location) as connection:
        drawn = form is ReportFormat.HTML
        made = full_report(connection, read_results(connection, name), with_figures=drawn)
        return written(made, form)


def _all_text(location: Location, form: ReportFormat) -> str:
    from mnist_tune.reports.all_studies import TITLE, all_studies
    from mnist_tune.reports.documents import html_page

    with reading(location) as connection:
        found = all_studies(connection, with_figures=form is ReportFormat.HTML)
    if form is ReportFormat.HTML:
        return html_page(TITLE, [_as_called(document) for document in found])
    if form is ReportFormat.JSON:
        return "[\n" + ",\n".join(written(d, form).rstrip() for d in found) + "\n]\n"
    return "\n".join(written(document, form) for document in found)


def written(made: Document, form: ReportFormat) -> str:
    """A document as text in one of the formats."""
    from mnist_tune.reports.documents import (
        html_page,
        json_document,
        markdown_document,
        terminal_text,
    )

    if form is ReportFormat.JSON:
        return json_document(made)
    if form is ReportFormat.MARKDOWN:
        return markdown_document(made)
    called = _as_called(made)
    return html_page(called.title, [called]) if form is ReportFormat.HTML else terminal_text(called)


def _as_called(made: Document) -> Document:
    """The commands that the report tells people to type, as they can type them here."""

    def called(lines: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(options.as_called, lines))

    sections = tuple(replace(section, text=called(section.text)) for section in made.sections)
    return replace(made, alerts=called(made.alerts), sections=sections)


def reading(location: Location) -> AbstractContextManager[Connection]:
    """A connection for reading to a database that is there."""
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


class CompareFormat(StrEnum):
    """How a comparison is printed."""

    TEXT = "text"
    MARKDOWN = "markdown"
    JSON = "json"
    CSV = "csv"
    LATEX = "latex"


@click.command("compare")
@click.argument("things", metavar="A B …", nargs=-1, required=True)
@options.format_option(CompareFormat.TEXT)
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE", help="Write into a file instead."
)
@options.storage
def compare_command(
    things: tuple[str, ...], form: CompareFormat, out: Path | None, storage: str | None
) -> None:
    """Compare configurations of any studies with each other and with published numbers.

    Each of A, B … is STUDY (its confirmed configuration, else its best), STUDY:TRIAL, a key of
    `mnist-tune baselines`, or NAME=PERCENT.
    """
    from mnist_tune.cli.results import reading
    from mnist_tune.reports.compare import compare_references

    with reading(Location.find(storage)) as connection:
        text = _written(compare_references(connection, things), form)
    if out is None:
        click.echo(text, nl=False)
        return
    from mnist_tune.reports.export import write_file

    click.echo(write_file(out, text.encode()))


@click.command("baselines")
@options.list_format
def baselines_command(form: Format) -> None:
    """List the published accuracies that results are compared with."""
    from mnist_tune.baselines import BASELINES

    rows: list[dict[str, Any]] = [
        {
            "key": entry.key,
            "accuracy": f"{100 * entry.accuracy:.2f} %",
            "class": entry.network_class,
            "network": entry.name,
            "test_size": entry.test_size,
            "source": entry.source,
            "caveats": list(entry.caveats),
        }
        for entry in BASELINES.values()
    ]
    print_rows(rows, form, ("key", "accuracy", "class", "source"))


def _written(found: Comparison, form: CompareFormat) -> str:
    from mnist_tune.reports.compare import comparison_document, pairs_table
    from mnist_tune.reports.table_formats import csv_bytes, frame_of, latex_table

    if form is CompareFormat.LATEX:
        return latex_table(pairs_table(found).text())
    if form is CompareFormat.CSV:
        return csv_bytes(frame_of(pairs_table(found))).decode()
    return written(comparison_document(found), ReportFormat(form.value))

"""Commands that print and write results: report, export, compare, baselines, best."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mnist_tune.cli import completion, options
from mnist_tune.commands import as_called
from mnist_tune.errors import DefinitionError
from mnist_tune.storage.location import Location

if TYPE_CHECKING:  # pandas and SQLAlchemy cost a second, which `--help` does not have
    from sqlalchemy import Connection

    from mnist_tune.reports.compare import Comparison
    from mnist_tune.reports.documents import Document


@click.command("report")
@options.optional_study
@click.option(
    "--all",
    "every",
    is_flag=True,
    help="One document over all studies, from the first network to synthetic digits.",
)
@options.format_option("text", "markdown", "json", "html")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write into a file instead of the terminal; HTML is one file with its pictures inside.",
)
@options.storage
def report_command(
    study: str | None, every: bool, form: str, out: Path | None, storage: str | None
) -> None:
    """Print verdict, configurations, every seed, baselines and warnings of a study."""
    if every == (study is not None):
        raise DefinitionError("give the name of a study, or --all for all of them")
    location = Location.find(storage)
    _output(
        _all_text(location, form) if study is None else _report_text(location, study, form), out
    )


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
@click.argument("study", shell_complete=completion.references)
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
    """Print the best configuration of a study, or that of STUDY:TRIAL.

    With --save one of its runs is written as a plain, compiled Keras model, which takes images of
    0–1: keras.models.load_model("FILE.keras").evaluate(x_test / 255, y_test).
    """
    from mnist_tune.models import find_trained, save_network

    location = Location.find(storage)
    best = find_trained(location, study).only(seed)
    click.echo(json.dumps(best.to_json(), indent=2, ensure_ascii=False))
    if save is not None:
        saved = save_network(location, best, save, folder)
        click.echo(f"wrote {save}: seed {best.runs[0].seed}, {saved}", err=True)


def print_report(location: Location, name: str) -> None:
    """Print what a study came to: on a terminal what matters on one screen, else the whole report."""
    from mnist_tune.reports.results import read_results
    from mnist_tune.reports.study_report import short_report

    if not sys.stdout.isatty():
        click.echo(_report_text(location, name, "text"), nl=False)
        return
    with reading(location) as connection:
        click.echo(_written(short_report(read_results(connection, name)), "text"), nl=False)


def _report_text(location: Location, name: str, form: str) -> str:
    from mnist_tune.reports.all_studies import full_report
    from mnist_tune.reports.results import read_results

    with reading(location) as connection:
        drawn = form == "html"
        made = full_report(connection, read_results(connection, name), with_figures=drawn)
        return _written(made, form)


def _all_text(location: Location, form: str) -> str:
    from mnist_tune.reports.all_studies import TITLE, all_studies
    from mnist_tune.reports.documents import html_page

    with reading(location) as connection:
        found = all_studies(connection, with_figures=form == "html")
    if form == "html":
        return html_page(TITLE, [_as_called(document) for document in found])
    if form == "json":
        return "[\n" + ",\n".join(_written(d, form).rstrip() for d in found) + "\n]\n"
    return "\n".join(_written(document, form) for document in found)


def _written(made: Document, form: str) -> str:
    """A document as text in one of the formats."""
    from mnist_tune.reports.documents import (
        html_page,
        json_document,
        markdown_document,
        terminal_text,
    )

    if form == "json":
        return json_document(made)
    if form == "markdown":
        return markdown_document(made)
    called = _as_called(made)
    return html_page(called.title, [called]) if form == "html" else terminal_text(called)


def _as_called(made: Document) -> Document:
    """The commands that the report tells people to type, as they can type them here."""

    def called(lines: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(as_called, lines))

    sections = tuple(replace(section, text=called(section.text)) for section in made.sections)
    return replace(made, alerts=called(made.alerts), sections=sections)


@contextmanager
def reading(location: Location) -> Iterator[Connection]:
    """A connection for reading to an existing database."""
    from mnist_tune.storage.database import open_database

    with (
        open_database(location, create=False, read_only=True) as database,
        database.reading() as connection,
    ):
        yield connection


def _output(text: str, out: Path | None) -> None:
    """Print a text, or write it into a file and print its path."""
    if out is None:
        click.echo(text, nl=False)
        return
    from mnist_tune.reports.export import write_file

    click.echo(write_file(out, text.encode()))


@click.command("compare")
@click.argument(
    "things",
    metavar="A B …",
    nargs=-1,
    required=True,
    shell_complete=completion.references,
)
@options.format_option("text", "markdown", "json", "csv", "latex")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE", help="Write into a file instead."
)
@options.storage
def compare_command(
    things: tuple[str, ...], form: str, out: Path | None, storage: str | None
) -> None:
    """Compare configurations of any studies with each other and with published numbers.

    Each of A, B … is STUDY (its confirmed configuration, else its best), STUDY:TRIAL, a key of
    `mnist-tune baselines`, or NAME=PERCENT.
    """
    from mnist_tune.reports.compare import compare_references

    with reading(Location.find(storage)) as connection:
        text = _compared(compare_references(connection, things), form)
    _output(text, out)


@click.command("baselines")
@options.list_format
def baselines_command(form: str) -> None:
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
    options.print_rows(rows, form, ("key", "accuracy", "class", "source"))


def _compared(found: Comparison, form: str) -> str:
    from mnist_tune.reports.compare import comparison_document, pairs_table
    from mnist_tune.reports.table_formats import csv_bytes, frame_of, latex_table

    if form == "latex":
        return latex_table(pairs_table(found).text())
    if form == "csv":
        return csv_bytes(frame_of(pairs_table(found))).decode()
    return _written(comparison_document(found), form)

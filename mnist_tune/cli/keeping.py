"""Commands that keep studies, or do not: backup, copy, delete."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

import click

from mnist_tune.cli import options
from mnist_tune.errors import InputError, Interrupted
from mnist_tune.storage.location import Location

if TYPE_CHECKING:  # brings SQLAlchemy
    from mnist_tune.storage.removal import Doomed


@click.command()
@options.study_name
@click.argument("file")
@options.storage
def backup(study: str, file: str, storage: str | None) -> None:
    """Copy a study into a database of its own, with its artifacts beside it; it may be running.

    FILE must not exist. Every command works on the copy: --storage FILE.
    """
    from mnist_tune.storage.backup import back_up

    if not file.strip():
        raise InputError(f"FILE is empty: give a file, such as kept/{study}.db")
    target = Location.parse(file)
    made = back_up(Location.find(storage), study, target)
    counts = made.study.counts
    parts = [_number(counts.finished, "finished trial"), _number(made.artifacts, "artifact")]
    if open_trials := counts.total - counts.finished:
        parts.insert(1, f"{open_trials} unfinished, which would start anew")
    click.echo(target)
    click.echo(
        options.as_called(
            f"copied {study}: {', '.join(parts)}; look at it with "
            f"`mnist-tune status --storage {shlex.quote(str(target))}`"
        ),
        err=True,
    )


@click.command()
@click.argument("study", required=False)
@click.option(
    "--from",
    "source",
    envvar="MNIST_TUNE_STORAGE",
    show_envvar=True,
    metavar="PATH|URL",
    help="Storage to copy from; ./storage/mnist_tune.db by default.",
)
@click.option("--to", "target", required=True, metavar="PATH|URL", help="Storage to copy to.")
def copy(study: str | None, source: str | None, target: str) -> None:
    """Copy STUDY, or all studies, to another storage: from file to server, or back.

    Rows and artifacts are copied and compared; the original stays. It may be running.
    """
    with options.blaming_damage(source, target):
        _copy(Location.find(source), study, Location.parse(target))


def _copy(here: Location, study: str | None, there: Location) -> None:
    from mnist_tune.storage.overview import studies_overview
    from mnist_tune.storage.transfer import transfer

    names = [study] if study is not None else [o.name for o in studies_overview(here)]
    if not names:
        raise InputError(f"nothing is stored at {here}: give another --from")
    for name in names:
        made = transfer(here, name, there)
        parts = [_number(made.trials, "finished trial"), _number(made.artifacts, "artifact")]
        if made.unfinished:
            parts.insert(1, f"{made.unfinished} unfinished, which would start anew")
        click.echo(f"copied {name} to {there}: {', '.join(parts)}", err=True)


@click.command()
@options.study_name
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.storage
def delete(study: str, yes: bool, storage: str | None) -> None:
    """Delete a study with its trials, artifacts and checkpoints; asks first."""
    from mnist_tune.storage.removal import remove_study

    if not yes and not sys.stdin.isatty():
        raise InputError(
            f"delete asks before it deletes {study}, and nobody can answer here: add --yes"
        )
    location = Location.find(storage)

    def agree(doomed: Doomed) -> None:
        question = f"delete {study} from {location}: {_told(doomed)}?"
        if not yes and not click.confirm(question, err=True):
            raise Interrupted("nothing was deleted")

    doomed = remove_study(location, study, agree)
    what = f"{study}: {_told(doomed)}" if doomed else f"what was left of {study}: its lock files"
    click.echo(f"deleted {what}", err=True)


def _told(doomed: Doomed) -> str:
    parts = [
        _number(doomed.trials, "trial"),
        _number(doomed.confirmations, "confirmation"),
        _number(doomed.files, "file"),
    ]
    if doomed.analyses:
        parts.append(f"what {', '.join(doomed.analyses)} found out with it")
    return ", ".join(parts)


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"

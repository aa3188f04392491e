"""Commands that train: run, resume, confirm."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mnist_tune.cli import options, running
from mnist_tune.cli.options import as_called
from mnist_tune.cli.running import How
from mnist_tune.errors import DefinitionError, Incomplete, InputError, Interrupted
from mnist_tune.storage.location import Location

if TYPE_CHECKING:  # these cost a second to import, which `list` and `status` do not have
    from mnist_tune.data.sources import Source
    from mnist_tune.definitions.definition import Definition
    from mnist_tune.study import Study

_OVERRIDES = options.stacked(
    click.option("--quick", is_flag=True, help="Rehearsal: few epochs and seeds, as STUDY-quick."),
    click.option(
        "--protocol",
        help="holdout (test set sealed) or notebook (selects on the test set, and says so).",
    ),
    click.option("--epochs", type=int, help="Epochs of each run."),
    click.option("--seeds", type=int, help="Runs of each trial."),
    click.option("--trials", type=int, help="Trials in total, however often resumed."),
    click.option("--sampler", help="grid, random or tpe."),
    click.option("--pruner", help="none, median or hyperband."),
    click.option(
        "--precision", help="float32, or bfloat16: faster only where the processor has it."
    ),
    click.option(
        "--baseline",
        metavar="KEY|NAME=PERCENT",
        help="Published number to compare with (see `mnist-tune baselines`), or your own.",
    ),
    click.option("--study-seed", type=int, help="Seed of the sampler."),
    options.confirm_seeds,
)


@click.command("run")
@click.argument("study")
@click.option("--name", help="Name in the storage; the study's own by default.")
@_OVERRIDES
@options.no_confirm
@options.retry_failed
@running.how
@options.storage
@options.data
def run_command(
    study: str,
    name: str | None,
    storage: str | None,
    folder: Path | None,
    how: How,
    **overridden: Any,
) -> None:
    """Run or resume a study, then confirm its best trial and print the report.

    STUDY is a built-in study (see `mnist-tune list`) or the path of a study file.
    """
    from mnist_tune.baselines import find_baseline
    from mnist_tune.definitions.definition import Overrides, define

    how.import_ahead()
    location = Location.find(storage)
    definition = define(study, Overrides(**overridden), name)
    _check_name(definition.name)
    _say_question(definition)
    find_baseline(definition.study.baseline)  # now, not after hours of training
    _carry_out(location, definition, _found(folder), how)


@click.command("resume")
@click.argument("study", required=False)
@options.no_confirm
@options.retry_failed
@running.how
@options.storage
@options.data
def resume_command(study: str | None, storage: str | None, folder: Path | None, how: How) -> None:
    """Resume a study with the options it was started with.

    STUDY is a name in the storage; it may be left out where one study is unfinished.
    """
    how.import_ahead()
    location = Location.find(storage)
    name = study or _only_unfinished(location, how.retry_failed)
    definition, source = _stored(location, name, folder)
    _say_question(definition)
    _carry_out(location, definition, source, how)


@click.command("confirm")
@options.study_name
@click.option("--again", is_flag=True, help="Open the test set once more; the report counts it.")
@options.confirm_seeds
@running.how
@options.storage
@options.data
def confirm_command(
    study: str,
    again: bool,
    confirm_seeds: int | None,
    storage: str | None,
    folder: Path | None,
    how: How,
) -> None:
    """Retrain the best trial on all training images and open the test set, once."""
    how.import_ahead()
    from mnist_tune.search.running import confirm_study

    location = Location.find(storage)
    definition, source = _stored(location, study, folder)
    if confirm_seeds is not None:
        definition = replace(
            definition, study=replace(definition.study, confirm_seeds=confirm_seeds)
        )
    with _interruptible(location, definition.name):
        confirm_study(location, definition, source, how.options(location), _display(), again=again)
    _report(location, definition.name)


def _check_name(name: str) -> None:
    """Refuse a name that no command could be given.

    Raises:
        DefinitionError: the line says why.
    """
    if name.startswith("-"):
        raise DefinitionError(
            f"a study called {name} would be taken for an option: give it another --name"
        )
    if not name.isprintable():
        raise DefinitionError(f"{name!r} cannot be typed: give the study another --name")


def _carry_out(location: Location, definition: Definition, source: Source, how: How) -> None:
    from mnist_tune.search.running import run_study

    def introduce() -> None:
        _introduce(location, definition, source)

    with _interruptible(location, definition.name, how):
        run_study(location, definition, source, how.options(location), _display(), introduce)
    _report(location, definition.name)


def _say_question(definition: Definition) -> None:
    """The first line, before anything that takes its time."""
    question = definition.question or "no question in its docstring"
    click.echo(f"{definition.name}: {question}", err=True)


def _introduce(location: Location, definition: Definition, source: Source) -> None:
    from mnist_tune.study import TPE_STARTUP_TRIALS, Search

    study = definition.study
    lines = [
        f"{_amount(study)}, protocol {study.protocol}; {source.describe()}",
        as_called(
            f"watch it with `mnist-tune dashboard {shlex.quote(definition.name)}{_place(location)}`"
        ),
    ]
    if definition.overrides.quick:
        lines.append(
            "REHEARSAL: --quick trains too few epochs and seeds for a result; it shows that everything works"
        )
    if study.protocol == "notebook":
        lines.append(
            "PROTOCOL NOTEBOOK: trials are selected by the test set, so that their accuracies are optimistic"
        )
    if isinstance(study.plan, Search) and study.plan.sampler == "tpe" and study.plan.is_random:
        lines.append(
            f"sampler tpe draws its first {TPE_STARTUP_TRIALS} trials at random: with {study.trials:,} "
            "this is a random search"
        )
    if source.warning:
        lines.append(f"WARNING: {source.warning}")
    if study.recipe.precision == "bfloat16" and not _likes_bfloat16():
        lines.append(
            "WARNING: this processor has no instructions for bfloat16; another study with "
            "--precision float32 takes less time"
        )
    for line in filter(None, lines):
        click.echo(line, err=True)


def _likes_bfloat16() -> bool:
    from mnist_tune.processor import computes_bfloat16
    from mnist_tune.workers.specs import visible_gpus

    return computes_bfloat16() is not False or bool(visible_gpus())


@contextmanager
def _interruptible(location: Location, name: str, how: How | None = None) -> Iterator[None]:
    """Add the command that resumes to an Interrupted that passes through.

    Of the options that change how it is run it has those on which a result may depend.
    """
    try:
        yield
    except Interrupted:
        options = "" if how is None else how.repeated
        options += _place(location)
        command = f"mnist-tune resume {shlex.quote(name)}{options}"
        raise Interrupted(f"everything is saved; resume with `{command}`") from None


def _place(location: Location) -> str:
    """The option that leads to the storage, where it is not the one taken without it."""
    usual = Location.find()
    return "" if location == usual else f" --storage {shlex.quote(str(location))}"


def _amount(study: Study) -> str:
    amounts = {"trial": study.trials, "seed": study.seeds, "epoch": study.recipe.epochs}
    return " × ".join(f"{n:,} {word}{'' if n == 1 else 's'}" for word, n in amounts.items())


def _display() -> Any:
    from rich.console import Console

    from mnist_tune.cli.progress import TerminalDisplay

    return TerminalDisplay(Console(stderr=True, highlight=False))


def _found(folder: Path | None) -> Source:
    from mnist_tune.data.sources import load_dataset

    return load_dataset(folder, log=options.log).source


def _stored(location: Location, name: str, data: Path | None) -> tuple[Definition, Source]:
    """The definition of a stored study, made again from its file and its options."""
    from mnist_tune.data.sources import DATA_VARIABLE, Source
    from mnist_tune.definitions.definition import Overrides, define
    from mnist_tune.storage.database import open_database
    from mnist_tune.storage.store import Store

    with open_database(location, create=False) as database:
        row = Store(database).study(name)
    overrides = replace(Overrides.from_json(dict(row.overrides)), trials=row.planned_trials)
    definition = define(row.source, overrides, row.name)
    if data is not None or os.environ.get(DATA_VARIABLE):
        return definition, _found(data)
    return definition, Source.from_json(row.data)


def _only_unfinished(location: Location, retry_failed: bool) -> str:
    from mnist_tune.storage.overview import studies_overview

    names = [
        o.name
        for o in studies_overview(location)
        if o.counts.finished < o.study.planned_trials
        or (retry_failed and o.counts.failed)
        or _is_being_confirmed(location, o.study.uid)
    ]
    if not names:
        raise Incomplete(
            f"no study in {location} is unfinished; `mnist-tune list` shows what is there"
        )
    if len(names) > 1:
        raise InputError(f"several studies are unfinished; give one of {', '.join(names)}")
    return names[0]


def _is_being_confirmed(location: Location, uid: str) -> bool:
    """Whether a confirmation has begun and not ended."""
    from mnist_tune.storage.database import open_database
    from mnist_tune.storage.records import ConfirmationRow
    from mnist_tune.storage.store import Store

    with open_database(location, create=False, read_only=True) as database:
        return bool(Store(database).rows(ConfirmationRow, study_uid=uid, state="running"))


def _report(location: Location, name: str) -> None:
    from mnist_tune.cli.results import print_report

    print_report(location, name)

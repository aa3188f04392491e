"""Commands that make and follow studies: run, resume, confirm, list, status, new."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnist_tune.cli import options
from mnist_tune.cli.options import Format, print_rows
from mnist_tune.errors import Incomplete, InputError, Interrupted
from mnist_tune.storage.location import Location

if TYPE_CHECKING:  # these cost a second to import, which `list` and `status` do not have
    from mnist_tune.data.sources import Source
    from mnist_tune.definitions.definition import Definition
    from mnist_tune.search.running import Options
    from mnist_tune.storage.overview import StudyOverview
    from mnist_tune.study import Study

_CHECKPOINT_SECONDS = 10.0


def run(
    study: Annotated[
        str,
        typer.Argument(metavar="STUDY", help="Built-in study (`mnist-tune list`) or a study file."),
    ],
    name: Annotated[
        str | None, typer.Option("--name", help="Name in the storage; the study's own by default.")
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Rehearsal: few epochs and seeds, stored as STUDY-quick."),
    ] = False,
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol",
            help="holdout (test set sealed) or notebook (selects on the test set, and says so).",
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Epochs of each run.")] = None,
    seeds: Annotated[int | None, typer.Option("--seeds", help="Runs of each trial.")] = None,
    trials: Annotated[
        int | None, typer.Option("--trials", help="Trials in total, however often resumed.")
    ] = None,
    sampler: Annotated[str | None, typer.Option("--sampler", help="grid, random or tpe.")] = None,
    pruner: Annotated[
        str | None, typer.Option("--pruner", help="none, median or hyperband.")
    ] = None,
    study_seed: Annotated[
        int | None, typer.Option("--study-seed", help="Seed of the sampler.")
    ] = None,
    no_confirm: Annotated[
        bool, typer.Option("--no-confirm", help="Leave the test set sealed.")
    ] = False,
    confirm_seeds: options.ConfirmSeeds = None,
    workers: options.Workers = None,
    checkpoint_seconds: options.CheckpointSeconds = _CHECKPOINT_SECONDS,
    storage: options.Storage = None,
    data: options.Data = None,
) -> None:
    """Run a study, or go on with it, then confirm its best trial and print the report."""
    from mnist_tune.definitions.definition import Overrides, define
    from mnist_tune.search.running import Options

    overrides = Overrides(
        epochs=epochs,
        seeds=seeds,
        trials=trials,
        sampler=sampler,
        pruner=pruner,
        protocol=protocol,
        study_seed=study_seed,
        confirm_seeds=confirm_seeds,
        quick=quick,
    )
    location = Location.find(storage)
    definition = define(study, overrides, name)
    running = Options(
        workers=workers, confirm=not no_confirm, checkpoint_seconds=checkpoint_seconds
    )
    _carry_out(location, definition, _found(data), running)


def resume(
    study: Annotated[
        str | None,
        typer.Argument(
            metavar="[STUDY]", help="Name in the storage; may be left out if one is unfinished."
        ),
    ] = None,
    no_confirm: Annotated[
        bool, typer.Option("--no-confirm", help="Leave the test set sealed.")
    ] = False,
    workers: options.Workers = None,
    checkpoint_seconds: options.CheckpointSeconds = _CHECKPOINT_SECONDS,
    storage: options.Storage = None,
    data: options.Data = None,
) -> None:
    """Go on with a study as it was started, with all its options."""
    from mnist_tune.search.running import Options

    location = Location.find(storage)
    definition, source = _stored(location, study or _only_unfinished(location), data)
    running = Options(
        workers=workers, confirm=not no_confirm, checkpoint_seconds=checkpoint_seconds
    )
    _carry_out(location, definition, source, running)


def confirm(
    study: options.StudyName,
    again: Annotated[
        bool, typer.Option("--again", help="Open the test set once more; the report counts it.")
    ] = False,
    confirm_seeds: options.ConfirmSeeds = None,
    workers: options.Workers = None,
    checkpoint_seconds: options.CheckpointSeconds = _CHECKPOINT_SECONDS,
    storage: options.Storage = None,
    data: options.Data = None,
) -> None:
    """Retrain the best trial on all training images and open the test set, once."""
    from mnist_tune.search.running import Options, run_confirmation

    location = Location.find(storage)
    definition, source = _stored(location, study, data)
    if confirm_seeds is not None:
        definition = replace(
            definition, study=replace(definition.study, confirm_seeds=confirm_seeds)
        )
    running = Options(workers=workers, checkpoint_seconds=checkpoint_seconds)
    with _interruptible(location, definition.name):
        run_confirmation(location, definition, source, running, _console(), again=again)
    _report(location, definition.name)


_LIST = ("study", "kind", "state", "trials", "best", "question")
_STATUS = ("study", "state", "trials", "best", "pruned", "failed", "confirmed", "last_result")


def list_studies(storage: options.Storage = None, form: options.ListFormat = Format.TABLE) -> None:
    """List the built-in studies, and those in the storage with their state."""
    from mnist_tune.definitions.loading import builtin_files, question
    from mnist_tune.storage.overview import studies_overview

    stored = studies_overview(Location.find(storage))
    rows = [_listed(overview) for overview in stored]
    names = {overview.name for overview in stored}
    rows += [
        {"study": file.name, "kind": "built-in", "state": "not run", "question": question(file)}
        for file in builtin_files()
        if file.name not in names
    ]
    print_rows(rows, form, _LIST)


def status(
    study: Annotated[
        str | None, typer.Argument(metavar="[STUDY]", help="One study; all of them by default.")
    ] = None,
    storage: options.Storage = None,
    form: options.ListFormat = Format.TABLE,
) -> None:
    """Say how far studies are; works while they run."""
    from mnist_tune.storage.overview import studies_overview

    location = Location.find(storage)
    overviews = [o for o in studies_overview(location) if study in (None, o.name)]
    if not overviews:
        what = f"no study {study!r}" if study else "no study yet"
        raise Incomplete(f"{what} in {location}; type `mnist-tune run {study or 'l2_factor'}`")
    print_rows([_status_row(overview) for overview in overviews], form, _STATUS)


def new(
    path: Annotated[Path, typer.Argument(metavar="FILE.py", help="The study file to write.")],
) -> None:
    """Write a commented study file to start from."""
    from mnist_tune.definitions.template import write_template

    write_template(path)
    typer.echo(f"wrote {path}; run it with: mnist-tune run {path} --quick")


def _carry_out(
    location: Location, definition: Definition, source: Source, running: Options
) -> None:
    from mnist_tune.search.running import run as run_study

    console = _console()
    _introduce(location, definition, source)
    with _interruptible(location, definition.name):
        run_study(location, definition, source, running, console)
    _report(location, definition.name)


def _introduce(location: Location, definition: Definition, source: Source) -> None:
    study = definition.study
    lines = [
        f"{definition.name}: {definition.question or 'no question in its docstring'}",
        f"{_amount(study)}, protocol {study.protocol}; {source.describe()}",
        f"watch it with: optuna-dashboard {location}",
    ]
    if definition.overrides.quick:
        lines.append(
            "REHEARSAL: --quick trains too few epochs and seeds for a result; it shows that everything works"
        )
    if study.protocol == "notebook":
        lines.append(
            "PROTOCOL NOTEBOOK: trials are selected by the test set, so that their accuracies are optimistic"
        )
    if source.warning:
        lines.append(f"WARNING: {source.warning}")
    for line in filter(None, lines):
        typer.echo(line, err=True)


@contextmanager
def _interruptible(location: Location, name: str) -> Iterator[None]:
    """Add the command to go on with to an Interrupted that passes through."""
    try:
        yield
    except Interrupted:
        command = f"mnist-tune resume {shlex.quote(name)}{_place(location)}"
        raise Interrupted(f"everything is saved; go on with `{command}`") from None


def _place(location: Location) -> str:
    """The option that leads to the storage, where it is not the one taken without it."""
    usual = Location.find()
    return "" if location == usual else f" --storage {shlex.quote(str(location))}"


def _amount(study: Study) -> str:
    return f"{study.trials} trials × {study.seeds} seeds × {study.recipe.epochs} epochs"


def _console() -> Any:
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def _found(folder: Path | None) -> Source:
    from mnist_tune.data.sources import find

    return find(folder, say=lambda line: typer.echo(line, err=True))


def _stored(location: Location, name: str, data: Path | None) -> tuple[Definition, Source]:
    """The definition of a stored study, made again from its file and its options."""
    from mnist_tune.data.sources import VARIABLE as DATA_VARIABLE
    from mnist_tune.data.sources import Source
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


def _only_unfinished(location: Location) -> str:
    from mnist_tune.storage.overview import studies_overview

    names = [o.name for o in studies_overview(location) if o.counts.finished < o.planned_trials]
    if not names:
        raise Incomplete(
            f"no study in {location} is unfinished; `mnist-tune list` shows what is there"
        )
    if len(names) > 1:
        raise InputError(f"several studies are unfinished; give one of {', '.join(names)}")
    return names[0]


def _report(location: Location, name: str) -> None:
    from mnist_tune.cli.results import print_report

    print_report(location, name)


def _listed(overview: StudyOverview) -> dict[str, Any]:
    kind = ", ".join(
        word
        for word, said in (
            ("rehearsal", overview.rehearsal),
            ("notebook protocol", overview.protocol == "notebook"),
        )
        if said
    )
    return {
        "study": overview.name,
        "kind": kind or "study",
        "state": _state(overview),
        "trials": f"{overview.counts.finished}/{overview.planned_trials}",
        "best": _percent(overview),
        "question": overview.question,
    }


def _status_row(overview: StudyOverview) -> dict[str, Any]:
    counts = overview.counts
    return {
        "study": overview.name,
        "state": _state(overview),
        "trials": f"{counts.finished}/{overview.planned_trials}",
        "best": f"{_percent(overview)} (trial {overview.best.trial_number})"
        if overview.best
        else None,
        "pruned": counts.pruned,
        "failed": counts.failed,
        "confirmed": "yes" if overview.confirmed else "no",
        "last_result": overview.finished_at
        and f"{overview.finished_at[:16].replace('T', ' ')} UTC",
    }


def _state(overview: StudyOverview) -> str:
    if overview.holder is not None:
        return f"running ({overview.holder})"
    return "finished" if overview.counts.finished >= overview.planned_trials else "unfinished"


def _percent(overview: StudyOverview) -> str | None:
    return f"{100 * overview.best.objective:.2f} %" if overview.best else None

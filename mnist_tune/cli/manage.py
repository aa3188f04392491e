"""Commands that list, create, copy, rename and delete studies."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mnist_tune.cli import options
from mnist_tune.cli.options import print_rows
from mnist_tune.commands import as_called
from mnist_tune.errors import Incomplete, InputError, Interrupted
from mnist_tune.metrics import METRICS
from mnist_tune.storage.location import Location

if TYPE_CHECKING:  # these cost a second to import, which `list` and `status` do not have
    from mnist_tune.storage.overview import StudyOverview
    from mnist_tune.storage.whole_studies import Copied, Deletion


_LIST = ("study", "kind", "state", "trials", "best", "question")
_STATUS = ("study", "state", "trials", "best", "confirmed", "last_result")


@click.command("list")
@options.storage
@options.list_format
def list_command(storage: str | None, form: str) -> None:
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
    if form != "table":
        print_rows(rows, form, _LIST)
        return
    if stored:
        print_rows(rows[: len(stored)], form, _LIST)
        click.echo()
    not_run = [{"built-in study": row["study"], **row} for row in rows[len(stored) :]]
    print_rows(not_run, form, ("built-in study", "question"))


@click.command("status")
@options.optional_study
@options.storage
@options.list_format
def status_command(study: str | None, storage: str | None, form: str) -> None:
    """Say how far studies are; works while they run."""
    from mnist_tune.storage.overview import studies_overview

    location = Location.find(storage)
    overviews = [o for o in studies_overview(location) if study in (None, o.name)]
    if not overviews:
        what = f"no study {study!r}" if study else "no study yet"
        command = f"mnist-tune run {shlex.quote(study or 'l2_factor')}"
        raise Incomplete(f"{what} in {location}; type `{command}`")
    print_rows([_status_row(overview) for overview in overviews], form, _STATUS)


@click.command("new")
@click.argument("path", metavar="FILE.py", type=click.Path(path_type=Path))
def new_command(path: Path) -> None:
    """Write a commented study file to start from."""
    from mnist_tune.definitions.loading import write_template

    write_template(path)
    click.echo(
        as_called(f"wrote {path}; try it with `mnist-tune run {shlex.quote(str(path))} --quick`")
    )


def _listed(overview: StudyOverview) -> dict[str, Any]:
    said = {
        "rehearsal": overview.study.rehearsal,
        "notebook protocol": overview.study.protocol == "notebook",
    }
    return {
        **_status_row(overview),
        "kind": ", ".join(word for word, true in said.items() if true) or "study",
        "question": overview.study.question,
    }


def _status_row(overview: StudyOverview) -> dict[str, Any]:
    """A study as text (the columns of `_STATUS`) and, with plain numbers, for programs."""
    counts, best = overview.counts, overview.best
    stamp = overview.finished_at
    return {
        "study": overview.name,
        "state": _state(overview),
        "trials": f"{counts.finished}/{overview.study.planned_trials}",
        "best": _best(overview),
        "confirmed": "yes" if overview.confirmed else "no",
        "last_result": stamp and f"{stamp[:16].replace('T', ' ')} UTC",
        "planned_trials": overview.study.planned_trials,
        "complete": counts.complete,
        "pruned": counts.pruned,
        "failed": counts.failed,
        "failures": dict(overview.failures),
        "running": counts.running,
        "waiting": counts.waiting,
        "best_objective": best.objective if best else None,
        "best_trial": best.trial_number if best else None,
        "best_params": dict(best.params) if best else None,
        "finished_at": stamp,
    }


def _best(overview: StudyOverview) -> str | None:
    if overview.best is None or overview.best.objective is None:
        return None
    return METRICS[overview.study.metric].shown(overview.best.objective)


def _state(overview: StudyOverview) -> str:
    counts = overview.counts
    if overview.holder is not None:
        return "running" if overview.holder.pid == 0 else f"running (process {overview.holder.pid})"
    state = "finished" if counts.finished >= overview.study.planned_trials else "unfinished"
    lost = [f"{counts.pruned} pruned"] if counts.pruned else []
    lost += [f"{counts.failed} failed{_reasons(overview.failures)}"] if counts.failed else []
    return f"{state} ({', '.join(lost)})" if lost else state


def _reasons(failures: Mapping[str, int]) -> str:
    """Why trials failed, such as `: 1 diverged, 2 worker_lost`."""
    reasons = ", ".join(f"{number} {reason}" for reason, number in failures.items())
    return f": {reasons}" if reasons else ""


@click.command("backup")
@options.study_name
@click.argument("file")
@options.storage
def backup_command(study: str, file: str, storage: str | None) -> None:
    """Copy a study into a database of its own, with its artifacts beside it; it may be running.

    FILE must not exist. Every command works on the copy: --storage FILE.
    """
    from mnist_tune.storage.whole_studies import back_up

    if not file.strip():
        raise InputError(f"FILE is empty: give a file, such as kept/{study}.db")
    target = Location.parse(file)
    made = back_up(Location.find(storage), study, target)
    click.echo(target)
    click.echo(
        as_called(
            f"copied {study}: {_copied(made)}; look at it with "
            f"`mnist-tune status --storage {shlex.quote(str(target))}`"
        ),
        err=True,
    )


@click.command("copy")
@options.optional_study
@click.option(
    "--from",
    "--storage",
    "source",
    envvar="MNIST_TUNE_STORAGE",
    show_envvar=True,
    metavar="PATH|URL",
    help="Storage to copy from; ./storage/mnist_tune.db by default.",
)
@click.option("--to", "target", required=True, metavar="PATH|URL", help="Storage to copy to.")
def copy_command(study: str | None, source: str | None, target: str) -> None:
    """Copy STUDY, or all studies, to another storage: from file to server, or back.

    Rows and artifacts are copied and compared; the original stays. It may be running.
    """
    with options.blaming_damage(source, target):
        _copy(Location.find(source), study, Location.parse(target))


def _copy(here: Location, study: str | None, there: Location) -> None:
    from mnist_tune.storage.overview import studies_overview
    from mnist_tune.storage.whole_studies import copy_study

    names = [study] if study is not None else [o.name for o in studies_overview(here)]
    if not names:
        raise InputError(f"nothing is stored at {here}: give another --from")
    for name in names:
        made = copy_study(here, name, there)
        click.echo(f"copied {name} to {there}: {_copied(made)}", err=True)


def _copied(made: Copied) -> str:
    counts = made.overview.counts
    parts = [_number(counts.finished, "finished trial"), _number(made.artifacts, "artifact")]
    if unfinished := counts.total - counts.finished:
        parts.insert(1, f"{unfinished} unfinished, which would restart")
    return ", ".join(parts)


@click.command("delete")
@options.study_name
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.storage
def delete_command(study: str, yes: bool, storage: str | None) -> None:
    """Delete a study with its trials, artifacts and checkpoints; asks first."""
    from mnist_tune.storage.whole_studies import remove_study

    location = Location.find(storage)

    def agree(deletion: Deletion) -> None:
        if not yes and not sys.stdin.isatty():
            raise InputError(
                f"delete asks before it deletes {study}, and nobody can answer here: add --yes"
            )
        question = f"delete {study} from {location}: {_told(deletion)}?"
        if not yes and not click.confirm(question, err=True):
            raise Interrupted("nothing was deleted")

    deletion = remove_study(location, study, agree)
    what = (
        f"{study}: {_told(deletion)}" if deletion else f"what was left of {study}: its lock files"
    )
    click.echo(f"deleted {what}", err=True)


@click.command("rename")
@options.study_name
@click.argument("name")
@options.storage
def rename_command(study: str, name: str, storage: str | None) -> None:
    """Give STUDY another NAME; trials, artifacts, checkpoints and notes stay."""
    from mnist_tune.checks import check_study_name
    from mnist_tune.dashboard.publication import publish_again
    from mnist_tune.storage.whole_studies import rename_study

    check_study_name(name, "give another NAME")
    location = Location.find(storage)
    if rename_study(location, study, name):
        publish_again(location, name)  # its note names the study
    options.log(f"renamed {study} to {name}")


def _told(deletion: Deletion) -> str:
    parts = [
        _number(deletion.trials, "trial"),
        _number(deletion.confirmations, "confirmation"),
        _number(deletion.files, "file"),
    ]
    if deletion.analyses:
        parts.append(f"what {', '.join(deletion.analyses)} found out with it")
    return ", ".join(parts)


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"

"""Commands that show a study while it runs: dashboard, watch."""

from __future__ import annotations

import shlex
import socket
import sys
from typing import TYPE_CHECKING

import click

from mnist_tune.cli import options
from mnist_tune.commands import as_called
from mnist_tune.errors import InputError
from mnist_tune.storage.location import Location

if TYPE_CHECKING:
    from mnist_tune.storage.overview import StudyOverview
    from mnist_tune.storage.records import StudyRow

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
MANY_TRIALS = 5_000


@click.command("dashboard")
@options.optional_study
@click.option("--port", type=click.IntRange(0, 65_535), help="8080, or the next free one.")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address or name to listen on."
)
@click.option("--expose", is_flag=True, help="Let other machines in, who need no password.")
@click.option(
    "--allow-host",
    "names",
    multiple=True,
    metavar="NAME",
    help="A name by which browsers call this machine; repeatable.",
)
@click.option("--read-only", is_flag=True, help="Refuse every change; else notes can be edited.")
@click.option("--open", "browse", is_flag=True, help="Open a browser.")
@click.option("--with-parent", is_flag=True, hidden=True, help="End when stdin is closed.")
@options.storage
def dashboard_command(
    study: str | None,
    port: int | None,
    host: str,
    expose: bool,
    names: tuple[str, ...],
    read_only: bool,
    browse: bool,
    with_parent: bool,
    storage: str | None,
) -> None:
    """Show studies in the browser, live; Ctrl-C ends it.

    It is optuna-dashboard on the same storage. STUDY is the one whose page is opened.
    """
    from mnist_tune.dashboard import server
    from mnist_tune.dashboard.application import application, page, prepare
    from mnist_tune.storage.overview import study_overview
    from mnist_tune.storage.sqlite_files import require_folder

    if host not in _LOOPBACK and not expose:
        raise InputError(
            f"--host {host} would let everybody who reaches this machine read all studies and "
            "edit their notes: there is no password. Add --expose if that is what you want, and "
            "--read-only if they may only read; or keep to this machine and use ssh -L"
        )
    location = Location.find(storage)
    require_folder(location)
    if study is not None:
        study_overview(location, study)  # refuses an unknown one before anything is made
    with server.bound(host, port) as listening:
        prepare(location, read_only=read_only)
        if not read_only:
            _catch_up(location)
        shown = f"{server.url(listening, host)}{page(location, study)}"
        lines = introduction(location, host, read_only=read_only)
        click.echo(shown)
        for line in lines:
            click.echo(as_called(line), err=True)
        if browse:
            _open_browser(shown)
        if with_parent:
            _end_with_parent()
        allowed = frozenset(name.lower() for name in (host, socket.gethostname(), *names))
        server.serve(lambda: application(location, hosts=allowed, read_only=read_only), listening)


@click.command("watch")
@options.study_name
@click.option("--once", is_flag=True, help="Show it as it is now, and end.")
@options.storage
def watch_command(study: str, once: bool, storage: str | None) -> None:
    """Show a study in the terminal while it runs; in a pipe, a line when something happens.

    Ends when the study is finished; Ctrl-C ends it earlier and leaves the study alone.
    """
    from contextlib import suppress

    from rich.console import Console

    from mnist_tune.cli.live import read_view, show_live
    from mnist_tune.metrics import METRICS
    from mnist_tune.storage.overview import study_overview

    location = Location.find(storage)
    row = study_overview(location, study).study
    metric, planned = METRICS[row.metric], _planned_confirmation(row)

    with suppress(KeyboardInterrupt):
        show_live(
            lambda: read_view(location, study, metric, planned), Console(highlight=False), once=once
        )


def _planned_confirmation(row: StudyRow) -> int:
    """Runs of the confirmation by the study file; 0 where there is none, or the file has gone."""
    from mnist_tune.definitions.definition import Overrides, define

    try:
        study = define(row.source, Overrides.from_json(dict(row.overrides)), row.name).study
    except InputError:  # it is only an estimate of the time
        return 0
    return study.confirm_seeds if study.protocol == "holdout" else 0


def introduction(location: Location, host: str, *, read_only: bool) -> list[str]:
    """What people should know of the dashboard that they have started, in lines."""
    lines = [f"optuna-dashboard on {location}{', read-only' if read_only else ''}; Ctrl-C ends it"]
    if host not in _LOOPBACK:
        may = "read" if read_only else "read all studies and edit notes"
        lines.append(f"WARNING: whoever reaches {host} can {may}, without a password or encryption")
    lines += [_many(overview) for overview in _large(location)]
    return lines


def _large(location: Location) -> list[StudyOverview]:
    from mnist_tune.storage.overview import studies_overview

    return [o for o in studies_overview(location) if o.counts.total >= MANY_TRIALS]


def _many(overview: StudyOverview) -> str:
    name = shlex.quote(overview.name)
    return (
        f"{overview.name} has {overview.counts.total:,} trials: its page takes two seconds or more "
        f"per thousand to open; `mnist-tune watch {name}` and `mnist-tune report {name}` do not wait"
    )


def _catch_up(location: Location) -> None:
    """Write the notes of studies that have none: made before there were any, or killed early."""
    from mnist_tune.dashboard.publication import publish_again, unpublished

    for name in unpublished(location):
        publish_again(location, name)


def _open_browser(url: str) -> None:
    import webbrowser

    if not webbrowser.open(url):
        click.echo("no browser was found: open the address by hand", err=True)


def _end_with_parent() -> None:
    """End when whoever started this has ended, however that came about: its pipe closes then."""
    import os
    import signal
    import threading

    def wait() -> None:
        sys.stdin.buffer.read()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()

"""Command line of the benchmarks, see `scripts/benchmark --help`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from benchmarks import (
    batches,
    checkpoints,
    cli,
    dashboard,
    memory,
    networks,
    reading,
    scaling,
    startup,
    study,
    trainer,
)
from benchmarks.machine import this_machine
from benchmarks.peers import comparison
from benchmarks.peers.work import WORKS
from benchmarks.table import Report, document, table
from mnist_tune.errors import MnistTuneError

_COUNT = click.IntRange(min=1)

fast_option = click.option(
    "--fast", is_flag=True, help="Rehearsal: fewer epochs and repetitions, same path."
)
json_option = click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    metavar="FILE",
    help="Write the JSON to a file, and the tables to stdout.",
)
epochs_option = click.option("--epochs", type=_COUNT, help="Epochs of each run.")
repetitions_option = click.option("--repetitions", type=_COUNT, help="Of each measurement.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def app() -> None:
    """Measure speed and memory on this machine, beside the notebook's `model.fit` loop.

    Tables go to stderr and JSON to stdout. Nothing else should run meanwhile.
    """


@app.command("trainer")
@epochs_option
@click.option("--seeds", type=_COUNT, default=3, show_default=True, help="Runs in lock-step.")
@repetitions_option
@fast_option
@json_option
def trainer_command(fast: bool, json_file: Path | None, **given: int | None) -> None:
    """Seconds per run and epoch, and the share of the matrix-product limit (10 minutes)."""
    _show([lambda: _trainer(fast, **given)], json_file)


@app.command("networks")
@repetitions_option
@click.option("--images", type=_COUNT, help="Training images; fewer are scaled up.")
@fast_option
@json_option
def networks_command(fast: bool, json_file: Path | None, **given: int | None) -> None:
    """Autoencoder and convolutional network, seconds per run and epoch (10 minutes)."""
    _show([lambda: _networks(fast, **given)], json_file)


@app.command("batches")
@click.option("--trials", type=_COUNT, default=8, show_default=True, help="In a stack.")
@epochs_option
@repetitions_option
@fast_option
@json_option
def batches_command(fast: bool, json_file: Path | None, **given: int | None) -> None:
    """Trials that train together beside the same ones one after the other (10 minutes)."""
    _show([lambda: _batches(fast, **given)], json_file)


@app.command("study")
@epochs_option
@click.option(
    "--baseline-runs",
    type=click.IntRange(1, study.RUNS),
    help=f"How many of the notebook's {study.RUNS} runs to make; fewer are extrapolated.",
)
@fast_option
@json_option
def study_command(fast: bool, json_file: Path | None, **given: int | None) -> None:
    """A whole `mnist-tune run l2_factor`, and its time outside training (40 minutes)."""
    _show([lambda: _study(fast, **given)], json_file)


@app.command("startup")
@click.option(
    "--against",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="DIR",
    help="Another checkout, whose .venv is set up, to measure in turns.",
)
@repetitions_option
@fast_option
@json_option
def startup_command(
    fast: bool, json_file: Path | None, against: Path | None, **given: int | None
) -> None:
    """Phases of short studies, beside the import of TensorFlow (2 minutes)."""
    _show([lambda: _startup(fast, against, **given)], json_file)


@app.command("peers")
@click.option(
    "--work",
    "works",
    type=click.Choice(list(WORKS)),
    multiple=True,
    help="What is trained; repeatable. Everything by default.",
)
@click.option(
    "--peer",
    "peers",
    type=click.Choice(list(comparison.PEERS)),
    multiple=True,
    help="What is measured beside ours; repeatable. Everything by default.",
)
@click.option(
    "--python",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Interpreter that has PyTorch and JAX; .venv-peers is made by default.",
)
@repetitions_option
@json_option
def peers_command(
    works: tuple[str, ...],
    peers: tuple[str, ...],
    python: Path | None,
    repetitions: int | None,
    json_file: Path | None,
) -> None:
    """Whole processes beside plain scripts of Keras, PyTorch and JAX (an hour)."""
    _show(
        [
            lambda: comparison.run(
                works=works or tuple(WORKS),
                peers=peers or tuple(comparison.PEERS),
                repetitions=repetitions or 1,
                python=python,
                fast=False,
                say=_say,
            )
        ],
        json_file,
    )


@app.command("cli")
@repetitions_option
@fast_option
@json_option
def cli_command(fast: bool, json_file: Path | None, **given: int | None) -> None:
    """Start of --help, list and status, beside the import of the CLI library (1 minute)."""
    _show([lambda: _cli(fast, **given)], json_file)


@app.command("memory")
@click.option("--trials", type=click.IntRange(min=2), help="Of the study that is watched.")
@fast_option
@json_option
def memory_command(fast: bool, json_file: Path | None, **given: int | None) -> None:
    """Memory of the coordinator, and of a worker from trial to trial (3 minutes)."""
    _show([lambda: _memory(fast, **given)], json_file)


@app.command("checkpoints")
@repetitions_option
@fast_option
@json_option
def checkpoints_command(fast: bool, json_file: Path | None, **given: int | None) -> None:
    """Share of the time that saving unfinished runs takes (seconds)."""
    _show([lambda: _checkpoints(fast, **given)], json_file)


@app.command("dashboard")
@fast_option
@json_option
def dashboard_command(fast: bool, json_file: Path | None) -> None:
    """Requests for the page of a study with 1,000 and 10,000 trials (2 minutes)."""
    _show([lambda: _dashboard(fast)], json_file)


@app.command("reading")
@fast_option
@json_option
def reading_command(fast: bool, json_file: Path | None) -> None:
    """Time and memory of list, status, best, report and export with 10,000 trials (2 minutes)."""
    _show([lambda: _reading(fast)], json_file)


@app.command("scaling")
@click.option(
    "--server",
    "servers",
    multiple=True,
    metavar="URL",
    help="An empty PostgreSQL database to measure besides a file, such as `scripts/postgres start` makes.",
)
@click.option(
    "--workers",
    type=_COUNT,
    multiple=True,
    help="How many there are; repeatable. 1, 8, 64 and 256 by default.",
)
@epochs_option
@fast_option
@json_option
def scaling_command(
    fast: bool,
    json_file: Path | None,
    servers: tuple[str, ...],
    workers: tuple[int, ...],
    epochs: int | None,
) -> None:
    """Workers that one coordinator keeps busy, with some that sleep (6 minutes, and 6 for a server)."""
    usual = scaling.WORKERS[:2] if fast else scaling.WORKERS
    many = epochs or (5 if fast else scaling.EPOCHS)
    _show(
        [
            lambda: scaling.run(
                servers=servers, workers=workers or usual, epochs=many, fast=fast, say=_say
            )
        ],
        json_file,
    )


@app.command("all")
@fast_option
@json_option
def all_command(fast: bool, json_file: Path | None) -> None:
    """All but scaling and peers, one after the other (an hour)."""
    every: list[Callable[[bool], Report]] = [
        _cli,
        _startup,
        _checkpoints,
        _dashboard,
        _reading,
        _memory,
        _trainer,
        _networks,
        _batches,
        _study,
    ]
    _show([partial(make, fast) for make in every], json_file)


def _trainer(fast: bool, **given: int | None) -> Report:
    usual = {"epochs": 3, "repetitions": 1} if fast else {"epochs": 10, "repetitions": 3}
    return trainer.run(**_chosen({"seeds": 3, **usual}, given), fast=fast, say=_say)


def _networks(fast: bool, **given: int | None) -> Report:
    usual = {"repetitions": 1, "images": 6_000} if fast else {"repetitions": 2, "images": 60_000}
    return networks.run(**_chosen(usual, given), fast=fast, say=_say)


def _batches(fast: bool, **given: int | None) -> Report:
    usual = {"epochs": 1, "repetitions": 1} if fast else {"epochs": 5, "repetitions": 3}
    return batches.run(**_chosen({"trials": 8, **usual}, given), fast=fast, say=_say)


def _study(fast: bool, **given: int | None) -> Report:
    usual = (
        {"epochs": 6, "baseline_runs": 2} if fast else {"epochs": 40, "baseline_runs": study.RUNS}
    )
    return study.run(**_chosen(usual, given), fast=fast, say=_say)


def _startup(fast: bool, against: Path | None = None, **given: int | None) -> Report:
    usual = _chosen({"repetitions": 1 if fast else 5}, given)
    return startup.run(**usual, against=against, fast=fast, say=_say)


def _cli(fast: bool, **given: int | None) -> Report:
    return cli.run(**_chosen({"repetitions": 10 if fast else 30}, given), fast=fast, say=_say)


def _memory(fast: bool, **given: int | None) -> Report:
    return memory.run(**_chosen({"trials": 10 if fast else 50}, given), fast=fast, say=_say)


def _checkpoints(fast: bool, **given: int | None) -> Report:
    return checkpoints.run(
        **_chosen({"repetitions": 5 if fast else 30}, given), fast=fast, say=_say
    )


def _dashboard(fast: bool) -> Report:
    return dashboard.run(fast=fast, say=_say)


def _reading(fast: bool) -> Report:
    return reading.run(fast=fast, say=_say)


def _chosen(usual: dict[str, int], given: dict[str, int | None]) -> dict[str, Any]:
    return usual | {name: value for name, value in given.items() if value is not None}


def _show(benchmarks: Sequence[Callable[[], Report]], json_file: Path | None) -> None:
    """Make the reports; each is shown, and written, as soon as it is there."""
    machine, reports = this_machine(), list[Report]()
    click.echo(machine.describe(), err=json_file is None)
    for make in benchmarks:
        reports.append(make())
        click.echo(f"\n{table(reports[-1])}", err=json_file is None)
        if json_file is not None:
            json_file.write_text(f"{document(machine, reports)}\n", encoding="utf-8")
    if json_file is None:
        click.echo(document(machine, reports))


def _say(line: str) -> None:
    click.echo(line, err=True)


def main() -> None:
    """Run a benchmark; what cannot be measured is one line."""
    try:
        app(prog_name="scripts/benchmark")
    except (MnistTuneError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()

"""Commands about this machine: data, doctor, worker."""

from __future__ import annotations

import json
from pathlib import Path

import click

from mnist_tune.cli import options
from mnist_tune.cli.options import print_rows
from mnist_tune.commands import as_called
from mnist_tune.storage.location import Location


@click.command("data")
@click.option(
    "--picture",
    type=click.Path(path_type=Path),
    metavar="FILE.png",
    help="Write a picture of a few digits.",
)
@options.data
@options.list_format
def data_command(picture: Path | None, folder: Path | None, form: str) -> None:
    """Show which images are used, how many there are, and their checksums."""
    from mnist_tune.data.sources import load_dataset
    from mnist_tune.data.summary import parts_of, write_picture

    dataset = load_dataset(folder, log=options.log)
    source, parts = dataset.source, parts_of(dataset)
    if form == "json":
        shown = {**source.to_json(), "warning": source.warning, "parts": parts}
        click.echo(json.dumps(shown, indent=2))
    else:
        click.echo(source.describe(), err=form == "csv")
        rows = [
            {
                "part": part["name"],
                "images": part["size"],
                "shape": "×".join(map(str, part["shape"])),
                "verified": part["verified"],
                "sha256": part["sha256"],
            }
            for part in parts
        ]
        print_rows(rows, form, ("part", "images", "shape", "verified", "sha256"))
    if source.warning:
        options.log(f"WARNING: {source.warning}")
    if picture is not None:
        write_picture(dataset, picture)
        options.log(f"wrote {picture}")


@click.command("doctor")
@click.option("--repair", is_flag=True, help="First mend of the storage what is safe to mend.")
@options.storage
@options.data
@options.list_format
def doctor_command(storage: str | None, folder: Path | None, form: str, repair: bool) -> None:
    """Check Python, packages, data, device, storage and lease; say what to do about problems."""
    from mnist_tune.doctor import examine
    from mnist_tune.storage import health

    location = Location.find(storage)
    for line in health.repair(location) if repair else ():
        click.echo(line, err=True)
    checks = examine(location, folder)
    rows = [
        {
            "check": c.name,
            "verdict": "ok" if c.ok else "problem",
            "found": c.found,
            "to_do": as_called(c.to_do),
            "details": as_called(f"{c.found} → {c.to_do}" if c.to_do else c.found),
        }
        for c in checks
    ]
    print_rows(rows, form, ("check", "verdict", "details"))
    if not all(check.ok for check in checks):
        raise SystemExit(2)


@click.command("worker")
@click.argument("address")
@options.workers
@options.gpus
@options.workers_per_gpu
@click.option(
    "--memory-limit",
    metavar="SIZE",
    help="Of each worker, such as 8GiB; what the machine has is shared out by default.",
)
@click.option("--name", help="Of the worker; with several, a number is added.")
@click.option(
    "--wait-seconds",
    type=click.FloatRange(min=0),
    default=600.0,
    show_default=True,
    help="How long to wait for a coordinator, at first and after each one.",
)
@options.tls_ca
@options.tls_cert
@options.tls_key
@options.insecure
def worker_command(
    address: str,
    workers: int | None,
    gpus: str,
    workers_per_gpu: int,
    memory_limit: str | None,
    name: str | None,
    wait_seconds: float,
    tls_ca: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    insecure: bool,
) -> None:
    """Let this machine train for the coordinator at ADDRESS (`mnist-tune run --listen`).

    It ends with Ctrl-C or SIGTERM, or when no coordinator has been there for long.
    """
    from mnist_tune.workers.addresses import find_tls, parse_address
    from mnist_tune.workers.specs import (
        WorkerOptions,
        describe_workers,
        this_machine,
        worker_specs,
    )

    tls = find_tls(tls_ca, tls_cert, tls_key)
    where = parse_address(address, tls, insecure=insecure)
    options = WorkerOptions(workers=workers, gpus=gpus, workers_per_gpu=workers_per_gpu)
    limit = None if memory_limit is None else _bytes(memory_limit)
    from mnist_tune.workers.joining import JoiningMachine

    specs = worker_specs(options, this_machine())
    click.echo(describe_workers(specs), err=True)
    JoiningMachine(
        address=where,
        specs=specs,
        wait_seconds=wait_seconds,
        memory_limit=limit,
        name=name,
        log=lambda line: click.echo(line, err=True),
    ).work()


def _bytes(text: str) -> int:
    """Read a size.

    Raises:
        click.UsageError: it is none.
    """
    from dask.utils import parse_bytes

    try:
        size = int(parse_bytes(text))
    except ValueError as error:
        raise click.UsageError(f"--memory-limit {text}: give a size such as 8GiB") from error
    if size <= 0:
        raise click.UsageError(f"--memory-limit {text}: give a size such as 8GiB")
    return size

"""The command by which a machine works for a coordinator on another one."""

from __future__ import annotations

from pathlib import Path

import click

from mnist_tune.cli import options


@click.command()
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
def worker(
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
    from mnist_tune.workers.network import find_tls, parse_address
    from mnist_tune.workers.specs import Wish, told

    tls = find_tls(tls_ca, tls_cert, tls_key)
    where = parse_address(address, tls, insecure=insecure)
    wish = Wish(workers=workers, gpus=gpus, workers_per_gpu=workers_per_gpu)
    limit = None if memory_limit is None else _bytes(memory_limit)
    from mnist_tune.workers.hands import seats_here
    from mnist_tune.workers.joining import join

    seats = seats_here(wish)
    click.echo(told(seats), err=True)
    join(
        where,
        seats,
        wait_seconds=wait_seconds,
        memory_limit=limit,
        name=name,
        say=lambda line: click.echo(line, err=True),
    )


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

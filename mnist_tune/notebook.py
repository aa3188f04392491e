"""The results of the notebook from which this tool grew, beside ours: in its protocol, and honest.

`scripts/notebook` makes the studies that are compared here. The notebook trained on all 60,000
images, judged by the test set, and quoted the best single run; for its convolutional network and
its noise level it had one run.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

import click
from sqlalchemy import Connection

from mnist_tune.cli import options
from mnist_tune.errors import Incomplete
from mnist_tune.metrics import ACCURACY
from mnist_tune.reports import numbers
from mnist_tune.reports.document import Document, Section
from mnist_tune.reports.results import Results, read_results
from mnist_tune.reports.views import Column, View
from mnist_tune.storage import statements, tables
from mnist_tune.storage.location import Location
from mnist_tune.storage.records import AnalysisRow


@dataclass(frozen=True, slots=True)
class Claim:
    """An accuracy that the notebook quotes.

    Attributes:
        what: that was trained.
        study: of ours that trains it.
        accuracy: as quoted, 0–1.
    """

    what: str
    study: str
    accuracy: float


CLAIMS = (
    Claim("64-64, ten epochs", "notebook_mlp", 0.9725),
    Claim("500-300, the best of 15 runs over L2", "l2_factor", 0.9826),
    Claim("convolutional network, ten epochs", "notebook_cnn", 0.9908),
)
NOISE_LEVEL = 0.6  # that the notebook shows as still readable after denoising
_TITLE = "The notebook's results and ours"


def notebook_document(connection: Connection, suffix: str = "") -> Document:
    """Say what the notebook quotes and what we measured.

    Args:
        connection: to the storage.
        suffix: `-quick` for rehearsals.

    Raises:
        StorageError: a study is missing.
        Incomplete: one has no complete trial, or nothing was denoised yet.
    """
    rows = [_row(connection, claim, suffix) for claim in CLAIMS]
    heads = (
        Column("what", align="left"),
        Column("notebook %"),
        Column("ours, best run %"),
        Column("its protocol %"),
        Column("honest %"),
    )
    columns = (
        Column(head.title, tuple(row[i] for row in rows), head.align)
        for i, head in enumerate(heads)
    )
    alerts = ("Rehearsal (--quick): these numbers are not a result.",) if suffix else ()
    return Document(
        title=_TITLE,
        alerts=alerts,
        sections=(
            Section(
                key="accuracies", title="Accuracies", text=(_EXPLAINED,), view=View(tuple(columns))
            ),
            Section(key="noise", title="Denoising", text=tuple(_denoising(connection))),
        ),
    )


_EXPLAINED = (
    "Notebook: as it quotes them. Ours, best run: the highest test accuracy of any run in its "
    "protocol, which is what it quotes. Its protocol: the best configuration, mean ± standard "
    "deviation over seeds, still selected on the test set. Honest: selected on validation images, "
    "retrained with fresh seeds, test set opened once."
)


def _row(connection: Connection, claim: Claim, suffix: str) -> tuple[str, ...]:
    theirs = _complete(connection, f"{claim.study}-notebook{suffix}")
    honest = _complete(connection, f"{claim.study}{suffix}")
    latest = honest.latest
    if latest is None:
        name = honest.provenance.name
        raise Incomplete(
            f"study {name} is not confirmed: type `mnist-tune confirm {shlex.quote(name)}`"
        )
    runs = [value for c in theirs.configurations for value in c.accuracies.values()]
    assert theirs.best is not None
    return (
        claim.what,
        numbers.percent(claim.accuracy),
        numbers.percent(max(runs)),
        numbers.plus_minus(theirs.best.summary, ACCURACY),
        numbers.plus_minus(latest.summary, ACCURACY),
    )


def _complete(connection: Connection, name: str) -> Results:
    results = read_results(connection, name)
    if results.best is None:
        raise Incomplete(
            f"no trial of {name} is complete: type `mnist-tune resume {shlex.quote(name)}`"
        )
    return results


def _denoising(connection: Connection) -> Iterator[str]:
    named = tables.analyses.c.name == "denoise"
    found = statements.find(connection, AnalysisRow, tables.analyses, named)
    if not found:
        raise Incomplete("nothing was denoised yet: type `mnist-tune denoise --out DIR`")
    yield f"The notebook shows digits as readable after denoising up to noise {NOISE_LEVEL:g}."
    yield from found[0].text


@click.command()
@click.option("--quick", is_flag=True, help="Show the rehearsals.")
@options.storage
def main(quick: bool, storage: str | None) -> None:
    """Print the notebook's results beside ours."""
    from rich.console import Console

    from mnist_tune.cli.results import reading
    from mnist_tune.reports.terminal import show

    with reading(Location.find(storage)) as connection:
        show(notebook_document(connection, "-quick" if quick else ""), Console())


if __name__ == "__main__":
    from mnist_tune.cli.main import guarded

    guarded(main, "scripts/notebook")

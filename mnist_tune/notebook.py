"""The results of the original notebook beside ours, in its protocol and with a sealed test set.

`scripts/notebook` makes the studies that are compared here. The notebook trained on all 60,000
images, judged by the test set, and quoted the best single run; for its convolutional network and
its noise level it had one run.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace

import click
from sqlalchemy import Connection

from mnist_tune.cli import options
from mnist_tune.errors import Incomplete
from mnist_tune.reports import formatting
from mnist_tune.reports.columns import Table, reader_column
from mnist_tune.reports.documents import Document, sections_of
from mnist_tune.reports.results import StudyResults, read_results
from mnist_tune.storage.location import Location
from mnist_tune.storage.records import AnalysisRow
from mnist_tune.storage.store import read_rows


@dataclass(frozen=True, slots=True)
class NotebookClaim:
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
    NotebookClaim("64-64, ten epochs", "notebook_mlp", 0.9725),
    NotebookClaim("500-300, the best of 15 runs over L2", "l2_factor", 0.9826),
    NotebookClaim("convolutional network, ten epochs", "notebook_cnn", 0.9908),
)
NOISE_LEVEL = 0.6  # that the notebook shows as still readable after denoising


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
    heads = ("notebook %", "ours, best run %", "its protocol %", "honest %")
    columns = [reader_column("what", "0", align="left")]
    columns += [reader_column(head, str(i)) for i, head in enumerate(heads, start=1)]
    analyses = read_rows(connection, AnalysisRow, name="denoise")
    if not analyses:
        raise Incomplete("nothing was denoised yet: type `mnist-tune denoise --out DIR`")
    accuracies, noise = sections_of("notebook", noise_level=NOISE_LEVEL, denoised=analyses[0].text)
    return Document(
        title="The notebook's results and ours",
        alerts=("Rehearsal (--quick): these numbers are not a result.",) if suffix else (),
        sections=(replace(accuracies, table=Table("accuracies", rows, columns)), noise),
    )


def _row(connection: Connection, claim: NotebookClaim, suffix: str) -> tuple[str, ...]:
    theirs = _complete(connection, f"{claim.study}-notebook{suffix}")
    honest = _complete(connection, f"{claim.study}{suffix}")
    if honest.latest is None:
        name = honest.provenance.name
        raise Incomplete(
            f"study {name} is not confirmed: type `mnist-tune confirm {shlex.quote(name)}`"
        )
    best_run = max(value for entry in theirs.trials for value in entry.values.values())
    return (
        claim.what,
        formatting.metric_value(claim.accuracy),
        formatting.metric_value(best_run),
        formatting.mean_and_std(theirs.complete[0].summary),
        formatting.mean_and_std(honest.latest.summary),
    )


def _complete(connection: Connection, name: str) -> StudyResults:
    results = read_results(connection, name)
    if results.best is None:
        raise Incomplete(
            f"no trial of {name} is complete: type `mnist-tune resume {shlex.quote(name)}`"
        )
    return results


@click.command()
@click.option("--quick", is_flag=True, help="Show the rehearsals.")
@options.storage
def print_comparison(quick: bool, storage: str | None) -> None:
    """Print the notebook's results beside ours."""
    from mnist_tune.cli.results import reading
    from mnist_tune.reports.documents import terminal_text

    with reading(Location.find(storage)) as connection:
        document = notebook_document(connection, "-quick" if quick else "")
        click.echo(terminal_text(document), nl=False)


if __name__ == "__main__":
    from mnist_tune.cli.main import guarded

    guarded(print_comparison, "scripts/notebook")

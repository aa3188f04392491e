"""Commands that use trained networks: denoise, generate."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mnist_tune.cli import options
from mnist_tune.errors import DefinitionError, StorageError
from mnist_tune.storage.location import Location

if TYPE_CHECKING:  # pandas, SQLAlchemy and matplotlib cost a second, which `--help` does not have
    from mnist_tune.candidates import Candidate, Predict
    from mnist_tune.data.sources import Dataset, Source
    from mnist_tune.denoising.analyses import Analysis
    from mnist_tune.models import Say

_common = options.stacked(
    click.option(
        "--autoencoder",
        metavar="STUDY|FILE.keras",
        help="Whose best autoencoder; by default the best of the storage.",
    ),
    click.option(
        "--classifier",
        metavar="STUDY|FILE.keras",
        help="Whose best classifier; by default the best of the storage.",
    ),
    click.option(
        "--out",
        type=click.Path(path_type=Path),
        required=True,
        metavar="DIR",
        help="Folder for tables, figures and summary; made if missing.",
    ),
    options.list_format,
    options.storage,
    options.data,
)


@click.command("denoise")
@click.option(
    "--levels",
    default="11",
    show_default=True,
    metavar="N|A,B,…",
    help="Noise levels: how many from 0 to 1, or which.",
)
@click.option(
    "--digits",
    type=click.IntRange(1, 10),
    default=5,
    show_default=True,
    help="How many digits the figure shows.",
)
@_common
def denoise_command(
    levels: str,
    digits: int,
    autoencoder: str | None,
    classifier: str | None,
    out: Path,
    form: str,
    storage: str | None,
    folder: Path | None,
) -> None:
    """Measure how much better noisy digits are recognised after denoising, and draw it.

    For each noise level the classifier sees the test digits with salt-and-pepper noise as they
    are, denoised by each of the autoencoder's seeds, and median-filtered.
    """
    from mnist_tune.denoising.measuring import parse_levels

    chosen = parse_levels(levels)
    networks = _networks(Location.find(storage), autoencoder, classifier, folder, out)

    from mnist_tune.denoising.denoise import DenoisingInput, analyse_denoising

    subject = DenoisingInput(
        images=networks.dataset.test.images,
        labels=networks.dataset.test.labels,
        denoisers=networks.autoencoder.networks(*networks.where),
        classify=networks.judge(),
        described=(*networks.described(), _tested_on(networks.dataset)),
        alerts=networks.alerts,
        warning=networks.warning,
        inputs=networks.inputs(),
    )
    _publish(analyse_denoising(subject, chosen, digits, _say), networks, out, form)


@click.command("generate")
@click.option(
    "--count",
    type=click.IntRange(1, 100_000),
    default=1_000,
    show_default=True,
    help="Digits for each way.",
)
@click.option(
    "--confidence",
    type=click.FloatRange(0, 1),
    default=0.9,
    show_default=True,
    help="Probability from which a digit counts as recognised.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of the random numbers.",
)
@_common
def generate_command(
    count: int,
    confidence: float,
    seed: int,
    autoencoder: str | None,
    classifier: str | None,
    out: Path,
    form: str,
    storage: str | None,
    folder: Path | None,
) -> None:
    """Make synthetic digits with the autoencoder's decoder, and say how many pass for digits.

    Codes of training digits are perturbed, joined by lines, and fitted by Gaussians; the
    classifier says which of the decoded images it recognises with confidence.
    """
    if math.isnan(confidence):  # which no range excludes
        raise DefinitionError("--confidence nan: give a probability from 0 to 1")
    networks = _networks(Location.find(storage), autoencoder, classifier, folder, out, seeds=1)

    from mnist_tune.generation.generate import GenerationInput, analyse_generation

    encode, decode = networks.autoencoder.halves(*networks.where)
    subject = GenerationInput(
        train=networks.dataset.train,
        test=networks.dataset.test,
        encode=encode,
        decode=decode,
        classify=networks.judge(),
        described=networks.described(),
        alerts=networks.alerts,
        warning=networks.warning,
        inputs=networks.inputs(),
    )
    _publish(analyse_generation(subject, count, confidence, seed), networks, out, form)


@dataclass(frozen=True, eq=False)
class _Networks:
    """What the commands work with.

    Attributes:
        location: of the storage.
        autoencoder, classifier: the chosen ones.
        dataset: the images that both were trained on.
        alerts, warning: what must not be overlooked, in sentences and in a few words.
        seeds: how many of the autoencoder's runs are used; None for all.
    """

    location: Location
    autoencoder: Candidate
    classifier: Candidate
    dataset: Dataset
    alerts: tuple[str, ...]
    warning: str
    seeds: int | None

    @property
    def where(self) -> tuple[Location, Source, Say]:
        """Where weights and images lie, and who hears of a training."""
        return self.location, self.dataset.source, _say

    def judge(self) -> Predict:
        """The classifier's first run: a fixed choice, which no result can influence."""
        (classify,) = self.classifier.networks(*self.where, most=1).values()
        return classify

    def described(self) -> tuple[str, ...]:
        return self.autoencoder.described(self.seeds), self.classifier.described(1)

    def inputs(self) -> dict[str, Any]:
        source = self.dataset.source
        return {
            "autoencoder": self.autoencoder.to_json(self.seeds),
            "classifier": self.classifier.to_json(1),
            "data": {"sha256": source.sha256, "full": source.full, "test_size": source.test_size},
        }


def _networks(
    location: Location,
    autoencoder: str | None,
    classifier: str | None,
    folder: Path | None,
    out: Path,
    seeds: int | None = None,
) -> _Networks:
    """Find everything, and say so, before any work is done."""
    from mnist_tune import candidates
    from mnist_tune.data.sources import load_source
    from mnist_tune.metrics import ACCURACY, DENOISING_ERROR
    from mnist_tune.reports.export import check_writable

    first = candidates.find_candidate(location, DENOISING_ERROR, autoencoder)
    second = candidates.find_candidate(location, ACCURACY, classifier, first.sha256)
    source = candidates.common_source((first, second), folder)
    dataset = load_source(source)
    check_writable(out)
    for candidate, used in ((first, seeds), (second, 1)):
        _say(candidate.described(used))
        if candidate.others:
            names = ", ".join(candidate.others)
            _say(f"Other {candidate.noun}s here: {names}; take one by --{candidate.noun}.")
    alerts, warning = candidates.alerts((first, second), source)
    return _Networks(location, first, second, dataset, alerts, warning, seeds)


def _tested_on(dataset: Dataset) -> str:
    return f"All {len(dataset.test):,} test images, with the same noise for all networks."


def _publish(analysis: Analysis, networks: _Networks, out: Path, form: str) -> None:
    """Write the files, then store the analysis, then print it."""
    from mnist_tune.denoising.analyses import write_analysis

    written = write_analysis(analysis, out)
    _say(f"wrote {len(written)} files to {out}: see {out / 'summary.md'}")
    _store(analysis, networks.location)
    if form == "json":
        click.echo(json.dumps(analysis.to_json(), indent=2, ensure_ascii=False))
    elif form == "csv":
        click.echo(_csv(analysis), nl=False)
    else:
        for line in (*analysis.alerts, *analysis.text):
            click.echo(line)
        click.echo()
        _print_table(analysis)


def _store(analysis: Analysis, location: Location) -> None:
    """Keep the analysis in the storage for reports, where there is one."""
    from mnist_tune.storage.database import open_database
    from mnist_tune.storage.store import Store

    try:
        with open_database(location, create=False) as database:
            store = Store(database)
            store.write_analysis(analysis.row, analysis.pictures)
            names = [
                study.name
                for study in store.studies()
                if analysis.name in {other.name for other in store.analyses_of(study)}
            ]
    except StorageError as error:  # the files are there, and those are what was asked for
        _say(f"not stored for reports: {error}")
        return
    _show(location, names)


def _show(location: Location, names: Sequence[str]) -> None:
    """Show the analysis with the studies that took part in it; one that is run shows it itself."""
    from mnist_tune.dashboard.publication import publish_again
    from mnist_tune.storage.lease import holder

    for name in names:
        if holder(location, name) is None:
            try:
                publish_again(location, name)
            except StorageError as error:
                _say(f"not shown in the dashboard with {name}: {error}")


def _csv(analysis: Analysis) -> str:
    from mnist_tune.reports.table_formats import csv_bytes, frame_of

    return csv_bytes(frame_of(analysis.tables[0])).decode()


def _print_table(analysis: Analysis) -> None:
    table = analysis.tables[0].text()
    titles = [column.heading for column in table.columns]
    rows = [dict(zip(titles, row, strict=True)) for row in table.rows]
    options.print_rows(rows, "table", titles)


def _say(line: str) -> None:
    click.echo(line, err=True)

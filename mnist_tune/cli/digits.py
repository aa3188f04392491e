"""Commands that use trained networks: denoise, generate."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mnist_tune.cli import options
from mnist_tune.cli.options import log
from mnist_tune.errors import DefinitionError, StorageError
from mnist_tune.storage.location import Location

if TYPE_CHECKING:  # pandas, SQLAlchemy and matplotlib cost a second, which `--help` does not have
    from mnist_tune.candidates import Candidate
    from mnist_tune.data.sources import Dataset, Log, Source
    from mnist_tune.reports.analyses import Analysis

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

    tested = f"All {len(networks.dataset.test):,} test images"
    subject = DenoisingInput(
        images=networks.dataset.test.images,
        labels=networks.dataset.test.labels,
        denoisers=networks.autoencoder.networks(*networks.where),
        **networks.common(f"{tested}, with the same noise for all networks."),
    )
    _publish(analyse_denoising(subject, chosen, digits, log), networks, out, form)


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
        **networks.common(),
    )
    _publish(analyse_generation(subject, count, confidence, seed), networks, out, form)


@dataclass(frozen=True, eq=False)
class _Networks:
    """What the commands work with.

    Attributes:
        location: of the storage.
        autoencoder, classifier: the chosen ones.
        dataset: the images that both were trained on.
        seeds: how many of the autoencoder's runs are used; None for all.
    """

    location: Location
    autoencoder: Candidate
    classifier: Candidate
    dataset: Dataset
    seeds: int | None

    @property
    def where(self) -> tuple[Location, Source, Log]:
        """Where weights and images lie, and who hears of a training."""
        return self.location, self.dataset.source, log

    def common(self, *described: str) -> dict[str, Any]:
        """Fields of an AnalysisInput; the classifier's first run judges, a choice that no result influences."""
        from mnist_tune.candidates import alerts

        source = self.dataset.source
        (classify,) = self.classifier.networks(*self.where, most=1).values()
        sentences, warning = alerts((self.autoencoder, self.classifier), source)
        used = ((self.autoencoder, self.seeds), (self.classifier, 1))
        return {
            "classify": classify,
            "described": (*(network.described(runs) for network, runs in used), *described),
            "alerts": sentences,
            "warning": warning,
            "inputs": {
                **{network.noun: network.to_json(runs) for network, runs in used},
                "data": {
                    "sha256": source.sha256,
                    "full": source.full,
                    "test_size": source.test_size,
                },
            },
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
    dataset = load_source(candidates.common_source((first, second), folder))
    check_writable(out)
    for candidate, used in ((first, seeds), (second, 1)):
        log(candidate.described(used))
        if candidate.others:
            names = ", ".join(candidate.others)
            log(f"Other {candidate.noun}s here: {names}; take one by --{candidate.noun}.")
    return _Networks(location, first, second, dataset, seeds)


def _publish(analysis: Analysis, networks: _Networks, out: Path, form: str) -> None:
    """Write the files, then store the analysis, then print it."""
    from mnist_tune.reports.analyses import write_analysis
    from mnist_tune.reports.table_formats import csv_bytes, frame_of

    written = write_analysis(analysis, out)
    log(f"wrote {len(written)} files to {out}: see {out / 'summary.md'}")
    _store(analysis, networks.location)
    if form == "json":
        click.echo(json.dumps(analysis.to_json(), indent=2, ensure_ascii=False))
        return
    table = analysis.tables[0]
    if form == "csv":
        click.echo(csv_bytes(frame_of(table)).decode(), nl=False)
        return
    for line in (*analysis.alerts, *analysis.text, ""):
        click.echo(line)
    titles = [column.heading for column in table.text().columns]
    rows = [dict(zip(titles, row, strict=True)) for row in table.text().rows]
    options.print_rows(rows, form, titles)


def _store(analysis: Analysis, location: Location) -> None:
    """Keep the analysis in the storage for reports, where there is one, and show it in the dashboard.

    It is shown with the autoencoder's study, which shows it itself while it runs, and no longer with
    that of the analysis which it replaces.
    """
    from mnist_tune.dashboard.publication import publish_again
    from mnist_tune.storage.database import open_database
    from mnist_tune.storage.lease import holder
    from mnist_tune.storage.records import AnalysisRow
    from mnist_tune.storage.store import Store

    try:
        with open_database(location, create=False) as database:
            store = Store(database)
            rows = (*store.rows(AnalysisRow, name=analysis.name), analysis.row)
            store.write_analysis(analysis.row, analysis.pictures)
            names = [
                study.name for study in store.studies() if any(row.is_about(study) for row in rows)
            ]
    except StorageError as error:  # the files are there, and those are what was asked for
        log(f"not stored for reports: {error}")
        return
    for name in names:
        if holder(location, name) is None:
            try:
                publish_again(location, name)
            except StorageError as error:
                log(f"not shown in the dashboard with {name}: {error}")

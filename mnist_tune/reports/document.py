"""A report as one structure, whatever shows it: terminal, Markdown or JSON."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mnist_tune.metrics import ACCURACY
from mnist_tune.reports import numbers
from mnist_tune.reports.configurations import Configuration
from mnist_tune.reports.confusions import Errors, matrix_records, sentences
from mnist_tune.reports.origins import origins
from mnist_tune.reports.provenance import Provenance
from mnist_tune.reports.records import comparison_records, configuration_records
from mnist_tune.reports.results import Results
from mnist_tune.reports.verdict import verdict
from mnist_tune.reports.views import (
    View,
    baselines_view,
    configurations_view,
    described,
    layers_view,
    references_view,
    seeds_view,
)
from mnist_tune.reports.warnings import Notice, warnings
from mnist_tune.statistics.means import FEW_SEEDS, SECOND_LOOK_ALPHA
from mnist_tune.storage.records import plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One part of a report.

    Attributes:
        key: a stable name.
        title: its head.
        text: paragraphs, or the points of a list.
        listed: whether the text is a list.
        view: a table for people.
        records: the same with full precision, for programs.
    """

    key: str
    title: str
    text: tuple[str, ...] = ()
    listed: bool = False
    view: View | None = None
    records: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure that was written beside the report."""

    file: str
    caption: str


@dataclass(frozen=True, slots=True)
class Document:
    """A report.

    Attributes:
        title: the study's name.
        alerts: what must be read before anything else; mostly nothing.
        sections: in order.
        pictures: shown in the section `figures`.
    """

    title: str
    alerts: tuple[str, ...]
    sections: tuple[Section, ...]
    pictures: tuple[Picture, ...] = ()


def document(
    results: Results, pictures: Sequence[Picture] = (), errors: Errors | str | None = None
) -> Document:
    """Say all there is to say of a study.

    Args:
        results: of the study.
        pictures: that are shown beside the text.
        errors: of the confirmed classifier, or why they are not known; None says nothing of them.
    """
    found = warnings(results)
    return Document(
        title=results.provenance.name,
        alerts=tuple(warning.text for warning in found if warning.loud),
        sections=(
            _verdict(results),
            _provenance(results),
            _configurations(results),
            _seeds(results),
            _baselines(results) if results.metric is ACCURACY else _references(results),
            *_confusions(errors),
            *networks(results),
            _figures(results, pictures),
            _warnings(found),
            _methods(results),
        ),
        pictures=tuple(pictures),
    )


def as_json(document: Document) -> str:
    """The report for programs: texts, and records with full precision; the unknown is null."""
    sections = {
        section.key: {
            "title": section.title,
            "text": section.text,
            "records": section.records,
        }
        for section in document.sections
    }
    values = {
        "study": document.title,
        "alerts": document.alerts,
        "sections": sections,
        "pictures": [asdict(picture) for picture in document.pictures],
    }
    return json.dumps(plain(values), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _verdict(results: Results) -> Section:
    comparison = results.comparison
    records = tuple(comparison_records(results))[:1] if comparison is not None else ()
    return Section(key="verdict", title="Verdict", text=verdict(results), records=records)


def _provenance(results: Results) -> Section:
    provenance = results.provenance
    return Section(
        key="provenance",
        title="Completeness and provenance",
        text=origins(results),
        listed=True,
        records=(_provenance_record(provenance),),
    )


def _provenance_record(provenance: Provenance) -> dict[str, Any]:
    record = asdict(provenance)
    del record["uid"]
    for row in record["confirmations"]:
        del row["study_uid"]
    return record


def _configurations(results: Results) -> Section:
    images, metric = results.provenance.validation_name, results.metric
    labels = {entry.trial.label for entry in results.configurations}
    sizes = {entry.trial.parameters for entry in results.configurations}
    shared = f"; every network is {next(iter(labels))}" if len(labels) == 1 else ""
    size = f", {numbers.count(next(iter(sizes)))} parameters" if len(sizes) == 1 else ""
    text = (
        (
            f"{metric.name.capitalize()} on {images} images after the last epoch, mean ± standard "
            f"deviation over seeds; Δ best in {metric.difference_unit}{shared}{size}."
        ),
    )
    return Section(
        key="configurations",
        title="Configurations",
        text=text,
        view=configurations_view(results),
        records=tuple(configuration_records(results)),
    )


def _seeds(results: Results) -> Section:
    key = results.metric.key
    records = [
        {"trial_number": entry.trial.trial_number, "confirmation": 0, "seed": seed, key: a}
        for entry in results.configurations
        for seed, a in entry.accuracies.items()
    ] + [
        {
            "trial_number": s.trial_number,
            "confirmation": s.confirmation,
            "seed": seed,
            key: a,
        }
        for s in results.scores
        if s.confirmation is not None
        for seed, a in s.accuracies.items()
    ]
    return Section(key="seeds", title="All seeds", view=seeds_view(results), records=tuple(records))


def _baselines(results: Results) -> Section:
    title, comparison = "Published numbers", results.comparison
    if comparison is None:
        return Section(key="baselines", title=title, text=(_why_no_baseline(results),))
    baseline = comparison.baseline
    mine = [entry for entry in results.comparisons if entry.scores == results.latest]
    text = (
        f"{baseline.key}: {baseline.name}. {baseline.source}.",
        *(f"Caveat: {caveat}." for caveat in baseline.caveats),
        (
            "Networks of another class are no fair match; differences in points, ours − published, "
            "not adjusted for their number."
        ),
    )
    records = tuple(r for r in comparison_records(results) if r["kind"] == "baseline")
    return Section(
        key="baselines", title=title, text=text, view=baselines_view(mine), records=records
    )


def _references(results: Results) -> Section:
    noise = results.provenance.noise or (0.0, 0.0)
    level = f"{noise[0]:g}" if noise[0] == noise[1] else f"{noise[0]:g} to {noise[1]:g}"
    text = (
        "What an autoencoder must beat, on the same images with salt-and-pepper noise of level "
        f"{level}: the noisy images left as they are, the median of each 3×3 neighbourhood, and the "
        "mean of all training images."
    )
    return Section(
        key="references",
        title="References",
        text=(text,),
        view=references_view(results.references),
        records=tuple(
            {key: value for key, value in asdict(row).items() if key != "study_uid"}
            for row in results.references
        ),
    )


def _confusions(errors: Errors | str | None) -> Iterator[Section]:
    title = "Errors on the test set"
    if isinstance(errors, str):
        yield Section(key="errors", title=title, text=(errors,))
    elif errors is not None:
        records = tuple(matrix_records(errors))
        yield Section(key="errors", title=title, text=sentences(errors), records=records)


def named(results: Results) -> tuple[tuple[str, Configuration], ...]:
    """The configurations that a report speaks of, with why; each once."""
    latest = results.latest
    confirmed = results.configuration(latest.trial_number) if latest else None
    found: dict[int, tuple[str, Configuration]] = {}
    for why, entry in (
        ("best", results.best),
        ("confirmed", confirmed),
        ("smallest like the best", results.smallest),
    ):
        if entry is not None:
            found.setdefault(entry.trial.trial_number, (why, entry))
    return tuple(found.values())


def networks(results: Results) -> Iterator[Section]:
    """The layers of the configurations that the report names; of equal ones the first."""
    shown: set[str] = set()
    for why, entry in named(results):
        view = layers_view(entry.network)
        if str(view) in shown:
            continue
        shown.add(str(view))
        yield Section(
            key=f"network_{entry.trial.trial_number}",
            title=f"Network of trial {entry.trial.trial_number}",
            text=(f"The {why}: {described(results, entry)}.",),
            view=view,
            records=tuple(
                {
                    "layer": layer.name,
                    "kind": layer.kind,
                    "shape": layer.shape,
                    "parameters": layer.parameters,
                    "multiply_adds": layer.multiply_adds,
                }
                for layer in entry.network.layers
            ),
        )


def _why_no_baseline(results: Results) -> str:
    if not results.provenance.data.full:
        return "None is compared: the data is not the full MNIST."
    if results.best is None:
        return "None is compared: no trial is complete."
    return "None is compared: the test set has not been opened for the best configuration."


def _figures(results: Results, pictures: Sequence[Picture]) -> Section:
    command = f"`mnist-tune export {shlex.quote(results.provenance.name)} --out DIR` draws them."
    text = () if pictures else (command,)
    return Section(key="figures", title="Figures", text=text)


def _warnings(found: Sequence[Notice]) -> Section:
    return Section(
        key="warnings",
        title="Warnings",
        text=tuple(warning.text for warning in found) or ("none",),
        listed=True,
        records=tuple({"key": warning.key, "text": warning.text} for warning in found),
    )


def _methods(results: Results) -> Section:
    images = results.provenance.validation_name
    if results.metric is ACCURACY:
        judged = (
            f"accuracy: share of the {images} images that a run "
            "classifies rightly after its last epoch, never after its best one; higher is better"
        )
    else:
        judged = (
            f"{results.metric.name}: {results.metric.definition}; on the {images} images after the "
            "last epoch, never after the best one; lower is better"
        )
    scale = _SCALES[results.metric.interval_scale]
    both = [line.format(scale=scale) for line in _METHODS["both"]]
    lines = [judged, _METHODS[results.metric.key][0], *both]
    lines += _METHODS[results.metric.key][1:]
    return Section(
        key="methods", title="How each number is computed", text=tuple(lines), listed=True
    )


_SCALES = {"logit": "logit: 0–100 %", "log": "log: above 0"}
_PUBLISHED = (
    (
        "against a published number: SE² = s²·(1/n + 1/m) + p(1−p)/N + p₀(1−p₀)/N₀, seeds and test "
        "images of both, with the degrees of freedom of Welch and Satterthwaite; m is the number of runs "
        "behind the published number, mostly 1, whose spread is taken to be ours; it takes 3 seeds"
    ),
)
_SETTLING = (
    (
        "seeds (plan): a plan, not a promise: fewest seeds in all at which the same mean and spread would "
        f"be clear at a second look, which asks for p < {SECOND_LOOK_ALPHA:g} (α spent over two looks: 5 % "
        "for today's, 1 % for the planned one; a third has none left); – where no number of seeds is "
        "enough or nothing is known; clear where no plan is needed"
    ),
)
_METHODS = {
    "accuracy": (
        "best: highest mean over seeds among complete trials; of equals the first",
        *_PUBLISHED,
        *_SETTLING,
    ),
    "denoising_error": (
        "best: lowest mean over seeds among complete trials; of equals the first",
        "PSNR: −10·log10 of an image's mean squared error, pixels 0–1, mean over the images, in dB",
        *_SETTLING,
    ),
    "both": (
        "±: standard deviation over seeds, ddof 1; unknown (–) for one seed",
        (
            f"95 % interval of a mean: Student's t on a scale that keeps it possible ({{scale}}); with "
            f"fewer than {FEW_SEEDS} seeds the spread is pooled over the complete configurations, or the "
            "configuration's own where that is wider, without those whose own is far wider (Cochran's test "
            "at 1 %), which are judged by it alone; – where that leaves fewer than 2 degrees of freedom"
        ),
        (
            "looks better than it is: the seeds' residuals are resampled, the best is chosen each time, and "
            "what it has above its own mean is averaged; means are first drawn together as far as their "
            "differences may be chance (James and Stein)"
        ),
        (
            "≈ best: not distinguishable from the best at 5 %, by a t test paired by seed on the "
            "same images, its spread estimated from the better half of the configurations (or from "
            "the pair where that is wider), adjusted for the number of configurations (Holm); too few "
            "seeds to say: not clear, and judged by a far wider spread of its own or with fewer than 2 "
            "degrees of freedom"
        ),
    ),
}

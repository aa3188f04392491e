"""Tables for people: rounded numbers as text, made from results, drawn by whoever shows them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from mnist_tune.metrics import DENOISING_ERROR, Metric
from mnist_tune.networks import Network
from mnist_tune.reports import numbers
from mnist_tune.reports.comparisons import Comparison, Scores
from mnist_tune.reports.configurations import Accuracies, Configuration, front
from mnist_tune.reports.records import parameter_columns
from mnist_tune.reports.results import Results
from mnist_tune.statistics.means import ComparisonOutcome
from mnist_tune.storage.records import ReferenceRow, TrialRow

# Where a table is too wide, columns go by this number, the highest first; those of 0 stay.
KEEP, USEFUL, DETAIL, SPARE = 0, 1, 2, 3

TOO_FEW_SEEDS = "too few seeds to say"

Align = Literal["left", "right"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of text.

    Attributes:
        title: its head.
        cells: one text per row.
        align: of the cells.
        rank: KEEP, or how soon it may go.
    """

    title: str
    cells: tuple[str, ...] = ()
    align: Align = "right"
    rank: int = KEEP


@dataclass(frozen=True, slots=True)
class View:
    """A table for people."""

    columns: tuple[Column, ...]

    @property
    def rows(self) -> tuple[tuple[str, ...], ...]:
        """The cells row by row."""
        return tuple(zip(*(column.cells for column in self.columns), strict=True))


def configurations_view(results: Results) -> View:
    """One row per configuration, best first."""
    entries, metric = results.configurations, results.metric
    labels = {entry.trial.label for entry in entries}
    sizes = {entry.trial.parameters for entry in entries}
    ahead = front(entries) if len(sizes) > 1 else ()
    return View(
        (
            _column("trial", [str(entry.trial.trial_number) for entry in entries]),
            *_parameters(results, entries, rank_of_int=SPARE if len(labels) > 1 else USEFUL),
            *_network(entries),
            *_multiply_adds(results),
            _column(_head(metric), [numbers.plus_minus(e.summary, metric) for e in entries]),
            *_psnr(results),
            _column("n", [str(len(entry.accuracies)) for entry in entries], rank=DETAIL),
            _column("95 % interval", [_interval(entry) for entry in entries], rank=USEFUL),
            _column("Δ best", [_delta(entry) for entry in entries]),
            *_front(entries, ahead),
            _column("p (Holm)", [numbers.p_value(e.p_adjusted) for e in entries], rank=SPARE),
            _column("", [mark(entry) for entry in entries], align="left"),
        )
    )


def seeds_view(results: Results) -> View:
    """One row per configuration and confirmation with the accuracies of all its seeds."""
    heads = (
        Column("trial"),
        Column("images", align="left"),
        Column("seeds", align="left"),
        Column(f"{_head(results.metric)}, seed by seed", align="left"),
    )
    validation = results.provenance.validation_name
    searched = [
        _seeds(entry.trial.trial_number, validation, entry.accuracies, results.metric)
        for entry in results.configurations
        if entry.accuracies
    ]
    confirmed = [
        _seeds(
            entry.trial_number,
            f"test, confirmation {entry.confirmation}",
            entry.accuracies,
            results.metric,
        )
        for entry in _confirmed(results)
    ]
    return _of_rows(heads, searched + confirmed)


def runs_view(results: Results) -> View:
    """One row per run: the search by trial and seed, then the confirmations."""
    ordered = sorted(results.configurations, key=lambda entry: entry.trial.trial_number)
    validation = results.provenance.validation_name
    groups = [(entry, validation, entry.accuracies) for entry in ordered] + [
        (results.configuration(s.trial_number), f"test ({s.confirmation})", s.accuracies)
        for s in _confirmed(results)
    ]
    runs = [(e, images, seed, v) for e, images, found in groups for seed, v in found.items()]
    entries = [entry for entry, *_ in runs]
    return View(
        (
            _column("trial", [str(entry.trial.trial_number) for entry in entries]),
            *_parameters(results, entries, rank_of_int=USEFUL),
            *_network(entries),
            _column("images", [images for _, images, *_ in runs], align="left"),
            _column("seed", [str(seed) for _, _, seed, _ in runs]),
            _column(
                _head(results.metric),
                [numbers.percent(accuracy, results.metric) for *_, accuracy in runs],
            ),
        )
    )


def baselines_view(comparisons: Sequence[Comparison]) -> View:
    """One row per published number."""
    heads = (
        Column("published", align="left"),
        Column("class", align="left", rank=DETAIL),
        Column("%"),
        Column("difference"),
        Column("95 % interval", rank=USEFUL),
        Column("ours is", align="left"),
        Column("seeds (plan)", rank=SPARE),
    )
    return _of_rows(
        heads,
        [
            (
                entry.baseline.key,
                entry.baseline.network_class,
                numbers.percent(entry.baseline.accuracy),
                numbers.points(entry.verdict.difference),
                numbers.point_interval(entry.verdict.low, entry.verdict.high),
                entry.verdict.outcome,
                _planned(entry.verdict.outcome, entry.verdict.seeds_needed),
            )
            for entry in comparisons
        ],
    )


def comparison_view(results: Results) -> View:
    """Baselines, then configurations against the best, as exported for papers."""
    heads = (
        Column("ours", align="left"),
        Column(_head(results.metric)),
        Column("against", align="left"),
        Column("difference"),
        Column("95 % interval"),
        Column("p"),
        Column("ours is", align="left"),
        Column("seeds (plan)"),
    )
    pairs = [_pair(entry, results) for entry in results.configurations if entry.pairing]
    return _of_rows(heads, [*map(_published, results.comparisons), *pairs])


def mark(entry: Configuration) -> str:
    """`best`, `≈ best`, that nothing can be said, or why it is not in the ranking."""
    if entry.best:
        return "best"
    if entry.trial.state == "pruned":
        return f"pruned at epoch {entry.epochs}"
    if entry.trial.state == "failed":
        return f"failed: {entry.trial.reason}"
    if entry.too_few_seeds:
        return TOO_FEW_SEEDS
    return "≈ best" if entry.approx_best else ""


def described(results: Results, entry: Configuration) -> str:
    """A configuration in words, such as `l2=2.5075e-4 (500-300)`.

    Where the networks' labels differ, they stand for what is counted, such as depth and widths.
    """
    return descriptions(results, [entry])[0]


def descriptions(results: Results, entries: Iterable[Configuration]) -> list[str]:
    """The same for several; the labels of all networks are compared once."""
    labels = {other.trial.label for other in results.configurations}
    counted = {p.name for p in results.provenance.parameters if p.kind == "int"}
    hidden = counted if len(labels) > 1 else set[str]()
    return [_described(entry.trial, hidden) for entry in entries]


def _described(trial: TrialRow, hidden: Collection[str]) -> str:
    params = ", ".join(
        f"{name}={numbers.alike([value])[0]}"
        for name, value in trial.params.items()
        if name not in hidden
    )
    return f"{params} ({trial.label})" if params else trial.label


def _published(comparison: Comparison) -> tuple[str, ...]:
    scores, verdict = comparison.scores, comparison.verdict
    how = "selected on it" if scores.optimistic else f"confirmation {scores.confirmation}"
    return (
        f"trial {scores.trial_number}, test ({how})",
        numbers.plus_minus(scores.summary),
        comparison.baseline.key,
        numbers.points(verdict.difference),
        numbers.point_interval(verdict.low, verdict.high),
        numbers.p_value(verdict.p_value),
        verdict.outcome,
        _planned(verdict.outcome, verdict.seeds_needed),
    )


def _pair(entry: Configuration, results: Results) -> tuple[str, ...]:
    assert entry.pairing is not None and results.best is not None
    return (
        f"trial {entry.trial.trial_number}, {results.provenance.validation_name}",
        numbers.plus_minus(entry.summary, entry.metric),
        f"trial {results.best.trial.trial_number}",
        numbers.points(entry.pairing.difference, entry.metric),
        numbers.point_interval(entry.pairing.low, entry.pairing.high, entry.metric),
        numbers.p_value(entry.p_adjusted),
        entry.outcome,
        _planned(entry.outcome, entry.seeds_needed),
    )


def _planned(outcome: ComparisonOutcome, seeds: int | None) -> str:
    """How many seeds in all are planned; what is clear needs no plan."""
    return "clear" if outcome in ("better", "worse") else numbers.count(seeds)


def _seeds(trial: int, images: str, accuracies: Accuracies, metric: Metric) -> tuple[str, ...]:
    values = " ".join(numbers.percent(value, metric) for value in accuracies.values())
    return str(trial), images, numbers.span(list(accuracies)), values


def _confirmed(results: Results) -> list[Scores]:
    return [scores for scores in results.scores if scores.confirmation is not None]


def _column(
    title: str, cells: Iterable[str], *, align: Align = "right", rank: int = KEEP
) -> Column:
    return Column(title, tuple(cells), align, rank)


def _of_rows(heads: Sequence[Column], rows: Sequence[tuple[str, ...]]) -> View:
    return View(
        tuple(
            replace(head, cells=tuple(row[place] for row in rows))
            for place, head in enumerate(heads)
        )
    )


def _parameters(
    results: Results, entries: Sequence[Configuration], *, rank_of_int: int
) -> list[Column]:
    kinds = {parameter.name: parameter.kind for parameter in results.provenance.parameters}
    names = sorted({name for entry in entries for name in entry.trial.params})
    titles = parameter_columns(results)
    return [
        _column(
            titles[name],
            numbers.alike([entry.trial.params.get(name) for entry in entries]),
            rank=rank_of_int if kinds.get(name) == "int" else USEFUL,
        )
        for name in names
    ]


def _network(entries: Sequence[Configuration]) -> list[Column]:
    """Label and size, each only where it differs between rows."""
    labels = _column("network", [entry.trial.label for entry in entries], align="left")
    sizes = _column("parameters", [numbers.count(entry.trial.parameters) for entry in entries])
    return [column for column in (labels, sizes) if len(set(column.cells)) > 1]


def _interval(entry: Configuration) -> str:
    summary = entry.summary
    if summary is None:
        return numbers.UNKNOWN
    return numbers.interval(summary.low, summary.high, entry.metric)


def _delta(entry: Configuration) -> str:
    if entry.best:
        return numbers.points(0.0)
    difference = entry.pairing.difference if entry.pairing else math.nan
    return numbers.points(difference, entry.metric)


def _head(metric: Metric) -> str:
    return f"{metric.name} {metric.unit}"


def _multiply_adds(results: Results) -> list[Column]:
    """Of convolutional networks, whose cost is not told by their parameters."""
    costs = results.multiply_adds
    if not costs:
        return []
    cells = [numbers.count(costs[entry.trial.trial_number]) for entry in results.configurations]
    return [_column("multiply-adds", cells, rank=USEFUL)]


def _psnr(results: Results) -> list[Column]:
    if results.metric is not DENOISING_ERROR:
        return []
    entries = results.configurations
    return [
        _column("MSE", [numbers.plain(entry.mse) for entry in entries], rank=DETAIL),
        _column("PSNR dB", [numbers.decibels(entry.psnr) for entry in entries]),
    ]


def _front(entries: Sequence[Configuration], ahead: Collection[Configuration]) -> list[Column]:
    """Marks what no smaller network matches; nothing where all have the same size."""
    if not ahead:
        return []
    numbers_ahead = {entry.trial.trial_number for entry in ahead}
    cells = ["front" if e.trial.trial_number in numbers_ahead else "" for e in entries]
    return [_column("size", cells, align="left", rank=DETAIL)]


def references_view(references: Sequence[ReferenceRow]) -> View:
    """One row for each simple remedy and kind of images."""
    heads = (
        Column("images", align="left"),
        Column("reference", align="left"),
        Column(_head(DENOISING_ERROR)),
        Column("MSE"),
        Column("PSNR dB"),
    )
    ordered = sorted(references, key=lambda row: (row.images != "validation", row.loss))
    rows = [
        (
            row.images,
            row.name,
            numbers.percent(row.loss, DENOISING_ERROR),
            f"{row.mse:.4f}",
            f"{row.psnr:.2f}",
        )
        for row in ordered
    ]
    return _of_rows(heads, rows)


def layers_view(network: Network) -> View:
    """One row for each layer of a network, and their sum."""
    heads = (
        Column("layer", align="left"),
        Column("kind", align="left"),
        Column("output"),
        Column("parameters"),
        Column("multiply-adds", rank=USEFUL),
    )
    rows = [
        (
            layer.name,
            layer.kind,
            "×".join(map(str, layer.shape)),
            numbers.count(layer.parameters),
            numbers.count(layer.multiply_adds),
        )
        for layer in network.layers
    ]
    total = (numbers.count(network.parameters), numbers.count(network.multiply_adds))
    return _of_rows(heads, [*rows, ("in all", "", "", *total)])

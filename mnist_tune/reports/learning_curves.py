"""Learning curves: how training and validation went, epoch by epoch, for the best few configurations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import MaxNLocator
from sqlalchemy import Connection, select

from mnist_tune.metrics import ACCURACY, DENOISING_ERROR, Metric
from mnist_tune.reports import figures
from mnist_tune.reports.configurations import RankedTrial
from mnist_tune.reports.documents import caption
from mnist_tune.reports.figures import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION
from mnist_tune.reports.results import StudyResults
from mnist_tune.storage.records import EpochRow
from mnist_tune.storage.schema import TABLES

_TRAINING = "training"
_CONFIRMED = ", confirmed"
_MOST_CHARACTERS = 32  # of a name in the legend, of which three stand side by side
_SHORT = 30  # characters; so that two stand below a narrow figure
_DECADES = 20  # values that span more than this factor stand on a log axis
MOST_CURVES = 4  # more of them look alike
_COLOURS = (VERMILION, BLUE, GREEN, PURPLE, ORANGE, SKY)
_LOSS = Metric(
    key="loss",
    name="cross-entropy",
    direction="minimize",
    column="loss",
    scale=1.0,
    unit="nats",
    difference_unit="nats",
    definition="mean cross-entropy without the L2 penalty",
    interval_scale="log",
)


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """One metric of one configuration, epoch by epoch.

    Attributes:
        name: of the configuration.
        images: `training`, or what the search is judged by, `validation` or `test`.
        metric: what is measured.
        epochs: from 1 on.
        values: [seeds, epochs].
    """

    name: str
    images: str
    metric: Metric
    epochs: tuple[int, ...]
    values: tuple[tuple[float, ...], ...]


def best_curves(connection: Connection, results: StudyResults) -> list[LearningCurve]:
    """Read the curves of the best configurations, and of the latest confirmation if there is one."""
    complete = [entry for entry in results.trials if entry.complete][:MOST_CURVES]
    found = [curve for entry in complete for curve in curves_of(connection, results, entry)]
    latest = results.latest
    if latest is not None and latest.confirmation:
        entry = results.trial(latest.trial_number)
        found += curves_of(connection, results, entry, latest.confirmation)
    return found


def curves_of(
    connection: Connection, results: StudyResults, entry: RankedTrial, confirmation: int = 0
) -> list[LearningCurve]:
    """Read the curves of one configuration, by default in the search."""
    metrics = (ACCURACY, _LOSS) if results.metric is ACCURACY else (results.metric,)
    epoch = TABLES[EpochRow].c
    columns = [
        (images, metric, epoch[f"{prefix}_{metric.column}"])
        for images, prefix in ((_TRAINING, "train"), (results.provenance.validation_name, "val"))
        for metric in metrics
    ]
    statement = (
        select(epoch.seed, epoch.epoch, *(column for *_, column in columns))
        .where(epoch.study_uid == results.provenance.uid)
        .where(epoch.confirmation == confirmation, epoch.trial_number == entry.number)
        .order_by(epoch.seed, epoch.epoch)
    )
    rows = connection.execute(statement).all()
    name = results.numbered(entry)
    name = name if len(name) <= _MOST_CHARACTERS else f"trial {entry.number}"
    name += _CONFIRMED if confirmation else ""
    found = []
    for place, (images, metric, _) in enumerate(columns, start=2):
        values = {(row[0], row[1]): row[place] for row in rows if row[place] is not None}
        seeds, epochs = (sorted({key[i] for key in values}) for i in (0, 1))
        if values and len(values) == len(seeds) * len(epochs):
            by_seed = tuple(tuple(values[seed, e] for e in epochs) for seed in seeds)
            found.append(LearningCurve(name, images, metric, tuple(epochs), by_seed))
    return found


def curves_caption(results: StudyResults, curves: Sequence[LearningCurve]) -> str:
    """What the figure shows."""
    searched = {curve.name for curve in curves if not curve.name.endswith(_CONFIRMED)}
    return caption(
        "curves",
        searched=len(searched),
        several=max(len(curve.values) for curve in curves) > 1,
        images=results.provenance.validation_name,
        confirmed=len({curve.name for curve in curves}) > len(searched),
    )


def draw_curves(curves: Sequence[LearningCurve]) -> Drawing:
    """One panel for each metric."""
    metrics = list({curve.metric.key: curve.metric for curve in curves}.values())
    width = figures.COLUMN_INCHES * (2 if len(metrics) > 1 else 1.3)
    drawing = figures.blank(width, 2.9)
    names = list(dict.fromkeys(curve.name for curve in curves))
    panels = drawing.subplots(1, len(metrics), squeeze=False)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        own = [curve for curve in curves if curve.metric == metric]
        for curve in own:
            _draw_curve(axes, curve, _COLOURS[names.index(curve.name)])
        _set_scale(axes, metric, own)
    for i, name in enumerate(names):
        panels[0].plot([], [], color=_COLOURS[i], linewidth=1.2, label=name)
    validated = next((c.images for c in curves if c.images != _TRAINING), "")
    for look, label in (("--", _TRAINING), ("-", validated)):
        if label:
            panels[0].plot([], [], look, color=figures.GREY, linewidth=0.9, label=label)
    long = max(map(len, names)) > _SHORT
    figures.legend_below(drawing, panels[0], 3 if len(metrics) > 1 else 1 if long else 2)
    return drawing


def _draw_curve(axes: Axes, curve: LearningCurve, colour: str) -> None:
    values: Any = curve.metric.scale * np.array(curve.values)
    look = "--" if curve.images == _TRAINING else "-"
    axes.plot(curve.epochs, values.mean(axis=0), look, color=colour, linewidth=0.9)
    if len(values) > 1:
        low, high = values.min(axis=0), values.max(axis=0)
        axes.fill_between(curve.epochs, low, high, color=colour, alpha=0.15, linewidth=0)


def _set_scale(axes: Axes, metric: Metric, curves: Sequence[LearningCurve]) -> None:
    axes.set_xlabel("Epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(figures.metric_title(metric))
    every = [value for curve in curves for seed in curve.values for value in seed]
    validated = [v for curve in curves if curve.images != _TRAINING for v in curve.values]
    # The first epochs would press everything that matters against one edge.
    later = [value for values in validated for value in values[len(values) // 8 :]]
    if metric is ACCURACY and later:
        lowest = min(later)
        bottom = max(0.0, 100 * lowest - 0.35 * (100 - 100 * lowest))
        axes.set_ylim(bottom, 100 + 0.03 * (100 - bottom))
        axes.ticklabel_format(axis="y", useOffset=False)
    elif metric is DENOISING_ERROR and later:
        lowest, highest = metric.scale * min(every), metric.scale * max(later)
        axes.set_ylim(lowest - 0.06 * (highest - lowest), highest + 0.12 * (highest - lowest))
    elif min(every) > 0 and max(every) > _DECADES * min(every):
        axes.set_yscale("log")

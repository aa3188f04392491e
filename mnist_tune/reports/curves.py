"""Learning curves: how training and validation went, epoch by epoch, for the best few configurations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from sqlalchemy import Connection, select

from mnist_tune.metrics import ACCURACY, DENOISING_ERROR, Metric
from mnist_tune.reports import canvas
from mnist_tune.reports.canvas import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION
from mnist_tune.reports.configurations import Configuration
from mnist_tune.reports.results import Results
from mnist_tune.reports.views import described
from mnist_tune.storage import tables

_TRAINING = "training"
_DECADES = 20  # values that span more than this factor stand on a log axis
MOST_CURVES = 4  # more of them cannot be told apart
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
class Curve:
    """One measure of one configuration, epoch by epoch.

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


def curves(connection: Connection, results: Results) -> tuple[Curve, ...]:
    """Read the curves of the best configurations, and of the latest confirmation if there is one."""
    complete = [entry for entry in results.configurations if entry.complete][:MOST_CURVES]
    found = [curve for entry in complete for curve in curves_of(connection, results, entry)]
    latest = results.latest
    if latest is not None and latest.confirmation:
        name = f"{described(results, results.configuration(latest.trial_number))}, confirmed"
        found += _read(connection, results, latest.confirmation, latest.trial_number, name)
    return tuple(found)


def curves_of(connection: Connection, results: Results, entry: Configuration) -> tuple[Curve, ...]:
    """Read the curves of one configuration in the search."""
    name = described(results, entry)
    return tuple(_read(connection, results, 0, entry.trial.trial_number, name))


def caption(results: Results, found: Sequence[Curve]) -> str:
    """What the figure shows."""
    seeds = max(len(curve.values) for curve in found)
    band = "; bands reach from the lowest to the highest seed" if seeds > 1 else ""
    confirmed = any(curve.name.endswith(", confirmed") for curve in found)
    more = (
        " The confirmed configuration was trained on all training images, so that it has no validation."
        if confirmed
        else ""
    )
    shown = len({curve.name for curve in found if not curve.name.endswith(", confirmed")})
    best = "the best configuration" if shown == 1 else f"the {shown} best configurations"
    unlike = (
        " In training, dropout and noise are on, and an epoch's value is the mean over its steps."
    )
    return (
        f"Learning curves of {best}: means over seeds after each epoch, in training (dashed) and "
        f"{results.provenance.validation_name} (solid){band}.{unlike}{more}"
    )


def draw(found: Sequence[Curve], warning: str) -> Figure:
    """One panel for each measure."""
    metrics = list({curve.metric.key: curve.metric for curve in found}.values())
    width = canvas.COLUMN_INCHES * (2 if len(metrics) > 1 else 1.3)
    figure = canvas.blank(width, 2.9)
    names = list(dict.fromkeys(curve.name for curve in found))
    panels = figure.subplots(1, len(metrics), squeeze=False)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        shown = [curve for curve in found if curve.metric == metric]
        for curve in shown:
            _draw_curve(axes, curve, _COLOURS[names.index(curve.name)])
        _scale(axes, metric, shown)
    _legend(figure, names, _judges(found))
    canvas.warn(figure, warning)
    return figure


def _read(
    connection: Connection,
    results: Results,
    confirmation: int,
    trial: int,
    name: str,
) -> list[Curve]:
    metrics = (ACCURACY, _LOSS) if results.metric is ACCURACY else (results.metric,)
    epoch = tables.epochs.c
    columns = [
        (images, metric, epoch[f"{prefix}_{metric.column}"])
        for images, prefix in ((_TRAINING, "train"), (results.provenance.validation_name, "val"))
        for metric in metrics
    ]
    statement = (
        select(epoch.seed, epoch.epoch, *(column for *_, column in columns))
        .where(epoch.study_uid == results.provenance.uid)
        .where(epoch.confirmation == confirmation, epoch.trial_number == trial)
        .order_by(epoch.seed, epoch.epoch)
    )
    rows = connection.execute(statement).all()
    found = []
    for place, (images, metric, _) in enumerate(columns, start=2):
        values = {(row[0], row[1]): row[place] for row in rows if row[place] is not None}
        seeds, epochs = ({key[i] for key in values} for i in (0, 1))
        if not values or len(values) < len(seeds) * len(epochs):
            continue
        by_seed = tuple(tuple(values[s, e] for e in sorted(epochs)) for s in sorted(seeds))
        found.append(Curve(name, images, metric, tuple(sorted(epochs)), by_seed))
    return found


def _draw_curve(axes: Axes, curve: Curve, colour: str) -> None:
    values: NDArray[Any] = curve.metric.scale * np.array(curve.values)
    look = "--" if curve.images == _TRAINING else "-"
    axes.plot(curve.epochs, values.mean(axis=0), look, color=colour, linewidth=0.9)
    if len(values) > 1:
        low, high = values.min(axis=0), values.max(axis=0)
        axes.fill_between(curve.epochs, low, high, color=colour, alpha=0.15, linewidth=0)


def _scale(axes: Axes, metric: Metric, shown: Sequence[Curve]) -> None:
    axes.set_xlabel("Epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(f"{metric.name[0].upper()}{metric.name[1:]} ({metric.unit})")
    validated = [v for curve in shown if curve.images != _TRAINING for v in curve.values]
    # The first epochs would press everything that matters against one edge.
    later = [value for values in validated for value in values[len(values) // 8 :]]
    if metric is ACCURACY and later:
        lowest = min(later)
        bottom = max(0.0, 100 * lowest - 0.35 * (100 - 100 * lowest))
        axes.set_ylim(bottom, 100 + 0.03 * (100 - bottom))
        axes.ticklabel_format(axis="y", useOffset=False)
    elif metric is DENOISING_ERROR and later:
        lowest = metric.scale * min(v for curve in shown for seed in curve.values for v in seed)
        highest = metric.scale * max(later)
        axes.set_ylim(lowest - 0.06 * (highest - lowest), highest + 0.12 * (highest - lowest))
    else:
        values = [value for curve in shown for seed in curve.values for value in seed]
        if min(values) > 0 and max(values) > _DECADES * min(values):
            axes.set_yscale("log")


def _judges(found: Sequence[Curve]) -> str:
    """What the solid lines are measured on; empty where there is none."""
    return next((curve.images for curve in found if curve.images != _TRAINING), "")


def _legend(figure: Figure, names: Sequence[str], judges: str) -> None:
    axes = figure.axes[0]
    handles = [
        axes.plot([], [], color=_COLOURS[i], linewidth=1.2, label=name)[0]
        for i, name in enumerate(names)
    ]
    handles += [
        axes.plot([], [], look, color=canvas.GREY, linewidth=0.9, label=label)[0]
        for look, label in (("--", _TRAINING), ("-", judges))
        if label
    ]
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=2 if len(figure.axes) == 1 else 3,
        frameon=False,
        fontsize=6,
    )

"""Draws the main figure of a study: configurations, their seeds and intervals, and the test result."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Transform, offset_copy
from numpy.typing import NDArray

from mnist_tune.metrics import ACCURACY, Metric
from mnist_tune.reports.axes import mark_beyond, set_axis
from mnist_tune.reports.figures import (
    BLUE,
    COLUMN_INCHES,
    GREY,
    LIGHT_BLUE,
    VERMILION,
    blank,
    legend_below,
    metric_title,
)
from mnist_tune.reports.search_plot import Band, Marker, SearchPlot, Standing

_APART = 1.7  # points between the dots of the seeds and their mean

_SEEDS: dict[str, Any] = {
    "marker": "o",
    "linestyle": "",
    "markersize": 2.0,
    "markeredgewidth": 0,
    "alpha": 0.6,
    "zorder": 2,
}
_MEAN: dict[str, Any] = {
    "markersize": 3.2,
    "markeredgewidth": 0.9,
    "linewidth": 0.9,
    "capsize": 1.6,
    "zorder": 3,
}
_MOST_VECTORS = 1_000  # dots; more become pixels in a vector file, which would have megabytes
_MARGIN = 0.06  # share of the y axis that stays empty at each end
_MOST_OF_INTERVALS = 0.25  # of the height of what was measured, above and below it
_ONE_SEED = "one seed"
_FRONT = "front"
_BEYOND = "far beyond the axis"
_LEGEND: dict[Standing, str] = {"best": "best", "like best": "≈ best", "worse": "worse"}
_LEGEND |= {"unknown": "other"}


def draw_search(plot: SearchPlot) -> Figure:
    """One panel for the search, and one for the confirmed configuration."""
    drawn = blank(COLUMN_INCHES, 2.7)
    panels = 1 if plot.confirmed is None else 2
    ratios = [3.4, 1.0][:panels]
    axes = drawn.subplots(1, panels, sharey=True, squeeze=False, width_ratios=ratios)[0]
    _draw_search(axes[0], plot)
    if plot.confirmed is not None:
        _draw_confirmed(axes[1], plot.confirmed, plot)
    elif plot.band is not None:
        _draw_band(axes[0], plot.band)
    _set_limits(axes[0], plot)
    for point in plot.points:
        if point.labelled:
            _write_below(axes[0], point, plot.metric)
    if any(point.summary.n > 1 and _is_detailed(point, plot) for point in plot.points):
        axes[0].plot([], [], color=GREY, label=_ONE_SEED, **_SEEDS)
    _draw_legend(drawn, axes)
    return drawn


def _set_limits(axes: Axes, plot: SearchPlot) -> None:
    """Let what was measured decide: intervals of few seeds may be a hundred times as long.

    They are seen up to a quarter of that height above and below it, and are cut there.
    """
    beyond = {point.trial for point in plot.beyond}
    shown = [point for point in plot.points if point.trial not in beyond]
    shown += [plot.confirmed] if plot.confirmed else []
    detailed = [point for point in shown if _is_detailed(point, plot)]
    measured = [point.summary.mean for point in shown]
    measured += [value for point in detailed for value in point.values]
    if plot.band is not None:
        measured += [plot.band.low, plot.band.high]
    scale = plot.metric.scale
    low, high = scale * min(measured), scale * max(measured)
    height = high - low or 0.01 * abs(high) or 1.0
    lows, highs = _intervals(detailed, scale)
    low = max(low - _MOST_OF_INTERVALS * height, np.nanmin(lows, initial=low))
    high = min(high + _MOST_OF_INTERVALS * height, np.nanmax(highs, initial=high))
    margin = _MARGIN * (high - low or height)
    low, high = max(low - margin, 0.0), high + margin
    if plot.metric is ACCURACY:  # nothing is above 100 %, but a marker needs room
        high = min(high, 100 + 0.02 * (100 - low))
    axes.set_ylim(low, high)


def _draw_search(axes: Axes, plot: SearchPlot) -> None:
    set_axis(axes, "x", plot.axis)
    axes.margins(x=0.08, y=0.08)
    axes.update_datalim([(point.x, 0.0) for point in plot.points])  # the y axis is set later
    axes.autoscale_view(scaley=False)
    for standing, label in _LEGEND.items():
        points = [point for point in plot.points if point.standing == standing]
        detailed = [point for point in points if _is_detailed(point, plot)]
        crowd = [point for point in points if not _is_detailed(point, plot)]
        _draw_points(axes, detailed, plot.metric, label)
        _draw_crowd(axes, crowd, plot, label)
    if plot.beyond:
        mark_beyond(axes, [point.x for point in plot.beyond], plot.metric, _BEYOND)
    _draw_front(axes, plot)
    axes.set_ylabel(metric_title(plot.metric, "" if plot.confirmed else plot.images))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=9, steps=[1, 2, 5, 10]))
    axes.ticklabel_format(axis="y", useOffset=False)
    if plot.confirmed is not None:
        axes.set_title(f"{plot.images.capitalize()} (search)", fontsize=7)


def _draw_front(axes: Axes, plot: SearchPlot) -> None:
    """A step line through the points that none further left matches, and on to the right end."""
    if not plot.front:
        return
    end = max(point.x for point in plot.points)
    places, means = zip(*plot.front, (end, plot.front[-1][1]), strict=True)
    heights = [plot.metric.scale * mean for mean in means]
    look: dict[str, Any] = {"color": GREY, "linewidth": 0.7, "zorder": 1, "label": _FRONT}
    axes.step(places, heights, where="post", **look)


def _draw_confirmed(axes: Axes, point: Marker, plot: SearchPlot) -> None:
    if plot.band is not None:
        _draw_band(axes, plot.band)
    _draw_points(axes, [point], plot.metric, label=None)
    axes.set_xlim(-1, 1)
    axes.set_xticks([0], [f"{point.summary.n} seeds"])
    axes.set_title("Test", fontsize=7)
    axes.tick_params(bottom=False)


def _draw_band(axes: Axes, band: Band) -> None:
    axes.axhspan(100 * band.low, 100 * band.high, color=GREY, alpha=0.18, linewidth=0, zorder=0)
    axes.axhline(100 * band.accuracy, color=GREY, linestyle="--", linewidth=0.9, zorder=1)
    axes.plot([], [], color=GREY, linestyle="--", linewidth=0.9, label=f"{band.name}, 95 % band")


def _is_detailed(point: Marker, plot: SearchPlot) -> bool:
    """Whether its seeds and its interval are drawn: in a crowd only of what is named."""
    return not plot.crowded or point.labelled or point.standing == "best"


def _draw_points(axes: Axes, points: Sequence[Marker], metric: Metric, label: str | None) -> None:
    """Points of one standing: seeds to the left, mean and interval to the right of the exact place.

    All of a kind are one artist, since a thousand artists take half a minute to draw.
    """
    single = [point for point in points if point.summary.n == 1]
    repeated = [point for point in points if point.summary.n > 1]
    if single:
        look, means = _look(single[0].standing), _means(single, metric.scale)
        axes.errorbar([point.x for point in single], means, label=label, **look, **_MEAN)
    if not repeated:
        return
    look, means = _look(repeated[0].standing), _means(repeated, metric.scale)
    places = [point.x for point in repeated for _ in point.values]
    values = [metric.scale * value for point in repeated for value in point.values]
    lows, highs = _intervals(repeated, metric.scale)
    axes.plot(places, values, transform=_moved(axes, -_APART), color=look["color"], **_SEEDS)
    bars: dict[str, Any] = {
        "yerr": [means - lows, highs - means],
        "label": None if single else label,
    }
    xs = [point.x for point in repeated]
    axes.errorbar(xs, means, transform=_moved(axes, _APART), **bars, **look, **_MEAN)


def _draw_crowd(axes: Axes, points: Sequence[Marker], plot: SearchPlot, label: str) -> None:
    """A dot for each mean."""
    if not points:
        return
    near = sorted(set(points) - set(plot.beyond), key=lambda point: point.trial)
    colour = LIGHT_BLUE if points[0].standing == "worse" else BLUE
    look: dict[str, Any] = {"color": colour, "linestyle": "", "markeredgewidth": 0}
    places, means = [point.x for point in near], _means(near, plot.metric.scale)
    pixels = len(plot.points) > _MOST_VECTORS
    axes.plot(places, means, "o", markersize=1.6, alpha=0.5, zorder=2, rasterized=pixels, **look)
    axes.plot([], [], "o", markersize=2.5, label=label, **look)


def _means(points: Sequence[Marker], scale: float) -> NDArray[np.float64]:
    return scale * np.array([point.summary.mean for point in points])


def _intervals(
    points: Sequence[Marker], scale: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper ends; NaN where they are unknown."""
    lows, highs = ([getattr(p.summary, end) for p in points] for end in ("low", "high"))
    return scale * np.array(lows), scale * np.array(highs)


def _moved(axes: Axes, by_points: float) -> Transform:
    return offset_copy(axes.transData, axes.get_figure(root=True), x=by_points, units="points")


def _write_below(axes: Axes, point: Marker, metric: Metric) -> None:
    """Write a name below its interval, or at the edge that cuts it."""
    summary = point.summary
    end = metric.scale * (summary.mean if math.isnan(summary.low) else summary.low)
    edge = axes.get_ylim()[0]
    cut = end < edge
    axes.annotate(
        f"trial {point.trial}",
        (point.x, max(end, edge)),
        xytext=(3 * _APART, 2) if cut else (_APART, -3),
        textcoords="offset points",
        horizontalalignment="left" if cut else "center",
        verticalalignment="bottom" if cut else "top",
        fontsize=6,
        color=_look(point.standing)["color"],
        path_effects=[withStroke(linewidth=1.6, foreground="white")],
        zorder=4,
    )


def _look(standing: Standing) -> dict[str, Any]:
    colour = VERMILION if standing == "best" else BLUE
    return {
        "fmt": "D" if standing == "best" else "o",
        "color": colour,
        "markerfacecolor": "white" if standing == "worse" else colour,
    }


def _draw_legend(figure: Figure, panels: Any) -> None:
    found: dict[str, Any] = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        found |= dict(zip(labels, handles, strict=True))
    # The configurations first, then the front, the published number last.
    first = (_ONE_SEED, *_LEGEND.values(), _BEYOND, _FRONT)
    order = sorted(found, key=lambda label: first.index(label) if label in first else len(first))
    ordered = {label: found[label] for label in order}
    columns = 3 if len(order) > 4 else 4
    legend_below(figure, ordered, columns, columnspacing=1.0, handletextpad=0.4)

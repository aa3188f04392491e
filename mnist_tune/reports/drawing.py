"""Draws a plot as PNG and SVG: the same numbers give the same bytes. No window, no global state."""

from __future__ import annotations

from math import isnan
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter
from matplotlib.transforms import Transform, offset_copy

from mnist_tune.metrics import ACCURACY, Metric
from mnist_tune.reports import canvas
from mnist_tune.reports.canvas import BLUE, COLUMN_INCHES, GREY, VERMILION
from mnist_tune.reports.figures import Axis, Band, Plot, Point, Standing

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
_ONE_SEED = "one seed"
_FRONT = "front"
_LEGEND: dict[Standing, str] = {
    "best": "best",
    "like best": "≈ best",
    "worse": "worse",
    "unknown": "other",
}


def png(plot: Plot) -> bytes:
    """Draw as PNG."""
    return canvas.png(lambda: figure(plot))


def svg(plot: Plot) -> bytes:
    """Draw as SVG."""
    return canvas.svg(lambda: figure(plot))


def figure(plot: Plot) -> Figure:
    """Draw it."""
    drawn = canvas.blank(COLUMN_INCHES, 2.7)
    panels = 1 if plot.confirmed is None else 2
    ratios = [3.4, 1.0][:panels]
    axes = drawn.subplots(1, panels, sharey=True, squeeze=False, width_ratios=ratios)[0]
    _draw_search(axes[0], plot)
    if plot.confirmed is not None:
        _draw_confirmed(axes[1], plot.confirmed, plot)
    elif plot.band is not None:
        _draw_band(axes[0], plot.band)
    if plot.metric is ACCURACY:
        _keep_below_all(axes[0])
    canvas.warn(drawn, plot.warning)
    if any(point.summary.n > 1 for point in plot.points):
        axes[0].plot([], [], color=GREY, label=_ONE_SEED, **_SEEDS)
    _draw_legend(drawn, axes)
    return drawn


def _keep_below_all(axes: Axes) -> None:
    """Cut the axis a little above 100 %, where an interval of few seeds may reach but nothing is."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, min(high, 100 + 0.02 * (100 - low)))


def _draw_search(axes: Axes, plot: Plot) -> None:
    _prepare_x(axes, plot.axis)
    for standing, label in _LEGEND.items():
        points = [point for point in plot.points if point.standing == standing]
        for number, point in enumerate(points):
            _draw_point(axes, point, plot.metric, label=label if number == 0 else None)
    _draw_front(axes, plot)
    metric = plot.metric
    name = metric.name if plot.confirmed else f"{plot.images} {metric.name}"
    axes.set_xlabel(plot.axis.title)
    axes.set_ylabel(f"{name[0].upper()}{name[1:]} ({metric.unit})")
    axes.yaxis.set_major_locator(MaxNLocator(nbins=9, steps=[1, 2, 5, 10]))
    axes.ticklabel_format(axis="y", useOffset=False)
    if plot.confirmed is not None:
        axes.set_title(f"{plot.images.capitalize()} (search)", fontsize=7)


def _draw_front(axes: Axes, plot: Plot) -> None:
    """A step line through the points that none further left matches."""
    if len(plot.front) < 2:
        return
    places, means = zip(*plot.front, strict=True)
    axes.step(
        places,
        [plot.metric.scale * mean for mean in means],
        where="post",
        color=GREY,
        linewidth=0.7,
        zorder=1,
        label=_FRONT,
    )


def _draw_confirmed(axes: Axes, point: Point, plot: Plot) -> None:
    if plot.band is not None:
        _draw_band(axes, plot.band)
    _draw_point(axes, point, plot.metric, label=None)
    axes.set_xlim(-1, 1)
    axes.set_xticks([0], [f"{point.summary.n} seeds"])
    axes.set_title("Test", fontsize=7)
    axes.tick_params(bottom=False)


def _draw_band(axes: Axes, band: Band) -> None:
    axes.axhspan(100 * band.low, 100 * band.high, color=GREY, alpha=0.18, linewidth=0, zorder=0)
    axes.axhline(100 * band.accuracy, color=GREY, linestyle="--", linewidth=0.9, zorder=1)
    axes.plot([], [], color=GREY, linestyle="--", linewidth=0.9, label=f"{band.name}, 95 % band")


def _draw_point(axes: Axes, point: Point, metric: Metric, label: str | None) -> None:
    """Seeds to the left, mean and interval to the right of the exact place."""
    summary = point.summary
    mean, low, high = (metric.scale * v for v in (summary.mean, summary.low, summary.high))
    values = [metric.scale * value for value in point.accuracies]
    ends = [] if isnan(low) else [low, high]
    # Moved artists do not count for the limits of the axes.
    axes.update_datalim([(point.x, y) for y in (*values, *ends)])
    axes.autoscale_view()
    look = _look(point.standing)
    if summary.n == 1:
        axes.errorbar([point.x], [mean], label=label, **look, **_MEAN)
    else:
        seeds, means = _moved(axes, -_APART), _moved(axes, _APART)
        axes.plot([point.x] * len(values), values, transform=seeds, color=look["color"], **_SEEDS)
        bar = [[mean - low], [high - mean]] if ends else None
        axes.errorbar([point.x], [mean], yerr=bar, transform=means, label=label, **look, **_MEAN)
    if point.labelled:
        _write_below(axes, point, metric, look["color"])


def _moved(axes: Axes, by_points: float) -> Transform:
    return offset_copy(axes.transData, axes.get_figure(root=True), x=by_points, units="points")


def _write_below(axes: Axes, point: Point, metric: Metric, colour: str) -> None:
    summary = point.summary
    axes.annotate(
        point.tag,
        (point.x, metric.scale * (summary.mean if isnan(summary.low) else summary.low)),
        xytext=(_APART, -3),
        textcoords="offset points",
        horizontalalignment="center",
        verticalalignment="top",
        fontsize=6,
        color=colour,
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


def _prepare_x(axes: Axes, axis: Axis) -> None:
    if axis.scale == "symlog":
        axes.set_xscale("symlog", linthresh=axis.least)
    elif axis.scale == "log":
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
    if axis.whole and axis.scale == "linear":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    elif axis.whole:
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.margins(x=0.08, y=0.08)


def _draw_legend(figure: Figure, panels: Any) -> None:
    found: dict[str, Any] = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        found |= dict(zip(labels, handles, strict=True))
    # The configurations first, then the front, the published number last.
    configurations = (*_LEGEND.values(), _ONE_SEED)
    labels = sorted(found, key=lambda label: (label not in configurations, label != _FRONT))
    figure.legend(
        [found[label] for label in labels],
        labels,
        loc="outside lower center",
        ncols=3 if len(labels) > 4 else 4,
        frameon=False,
        fontsize=6,
        columnspacing=1.0,
        handletextpad=0.4,
    )

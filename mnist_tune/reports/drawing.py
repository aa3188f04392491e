"""Draws a plot as PNG and SVG: the same numbers give the same bytes. No window, no global state."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import matplotlib as mpl
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter
from matplotlib.transforms import Transform, offset_copy

from mnist_tune.reports.figures import Axis, Band, Plot, Point, Standing

# Okabe and Ito's colours, which colour-blind readers can tell apart.
_BLUE, _VERMILION, _GREY = "#0072B2", "#D55E00", "#777777"
_COLUMN_INCHES = 3.5
_RESOLUTION = 200
_APART = 1.7  # points between the dots of the seeds and their mean

_STYLE = {
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": "DejaVu Sans",
    "font.size": 7,
    "svg.fonttype": "path",
    "svg.hashsalt": "mnist_tune",
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
}
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
_LEGEND: dict[Standing, str] = {
    "best": "best",
    "like best": "≈ best",
    "worse": "worse",
    "unknown": "other",
}


def png(plot: Plot) -> bytes:
    """Draw as PNG with 200 dots per inch."""
    return _saved(plot, "png", {"Software": None})


def svg(plot: Plot) -> bytes:
    """Draw as SVG, text as outlines."""
    return _saved(plot, "svg", {"Date": None, "Creator": None})


def _saved(plot: Plot, suffix: str, metadata: dict[str, Any]) -> bytes:
    with mpl.rc_context(), BytesIO() as file:
        style.use(["default", _STYLE])
        _figure(plot).savefig(file, format=suffix, dpi=_RESOLUTION, metadata=metadata)
        return file.getvalue()


def _figure(plot: Plot) -> Figure:
    figure = Figure(figsize=(_COLUMN_INCHES, 2.7), layout="constrained")
    FigureCanvasAgg(figure)
    panels = 1 if plot.confirmed is None else 2
    ratios = [3.4, 1.0][:panels]
    axes = figure.subplots(1, panels, sharey=True, squeeze=False, width_ratios=ratios)[0]
    _draw_search(axes[0], plot)
    if plot.confirmed is not None:
        _draw_confirmed(axes[1], plot.confirmed, plot.band)
    elif plot.band is not None:
        _draw_band(axes[0], plot.band)
    _keep_below_all(axes[0])
    if plot.warning:
        figure.suptitle(plot.warning.upper(), color=_VERMILION, fontsize=7, weight="bold")
    if any(point.summary.n > 1 for point in plot.points):
        axes[0].plot([], [], color=_GREY, label=_ONE_SEED, **_SEEDS)
    _draw_legend(figure, axes)
    return figure


def _keep_below_all(axes: Axes) -> None:
    """Cut the axis a little above 100 %, where an interval of few seeds may reach but nothing is."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, min(high, 100 + 0.02 * (100 - low)))


def _draw_search(axes: Axes, plot: Plot) -> None:
    _prepare_x(axes, plot.axis)
    for standing, label in _LEGEND.items():
        points = [point for point in plot.points if point.standing == standing]
        for number, point in enumerate(points):
            _draw_point(axes, point, label=label if number == 0 else None)
    axes.set_xlabel(plot.axis.title)
    axes.set_ylabel(
        "Accuracy (%)" if plot.confirmed else f"{plot.images.capitalize()} accuracy (%)"
    )
    axes.yaxis.set_major_locator(MaxNLocator(nbins=9, steps=[1, 2, 5, 10]))
    axes.ticklabel_format(axis="y", useOffset=False)
    if plot.confirmed is not None:
        axes.set_title(f"{plot.images.capitalize()} (search)", fontsize=7)


def _draw_confirmed(axes: Axes, point: Point, band: Band | None) -> None:
    if band is not None:
        _draw_band(axes, band)
    _draw_point(axes, point, label=None)
    axes.set_xlim(-1, 1)
    axes.set_xticks([0], [f"{point.summary.n} seeds"])
    axes.set_title("Test", fontsize=7)
    axes.tick_params(bottom=False)


def _draw_band(axes: Axes, band: Band) -> None:
    axes.axhspan(100 * band.low, 100 * band.high, color=_GREY, alpha=0.18, linewidth=0, zorder=0)
    axes.axhline(100 * band.accuracy, color=_GREY, linestyle="--", linewidth=0.9, zorder=1)
    axes.plot([], [], color=_GREY, linestyle="--", linewidth=0.9, label=f"{band.name}, 95 % band")


def _draw_point(axes: Axes, point: Point, label: str | None) -> None:
    """Seeds to the left, mean and interval to the right of the exact place."""
    summary = point.summary
    mean, half = 100 * summary.mean, 100 * (summary.high - summary.mean)
    values = [100 * accuracy for accuracy in point.accuracies]
    ends = [] if summary.n == 1 else [mean - half, mean + half]
    # Moved artists do not count for the limits of the axes.
    axes.update_datalim([(point.x, y) for y in (*values, *ends)])
    axes.autoscale_view()
    look = _look(point.standing)
    if summary.n == 1:
        axes.errorbar([point.x], [mean], label=label, **look, **_MEAN)
    else:
        seeds, means = _moved(axes, -_APART), _moved(axes, _APART)
        axes.plot([point.x] * len(values), values, transform=seeds, color=look["color"], **_SEEDS)
        axes.errorbar([point.x], [mean], yerr=half, transform=means, label=label, **look, **_MEAN)
    if point.labelled:
        _write_below(axes, point, look["color"])


def _moved(axes: Axes, by_points: float) -> Transform:
    return offset_copy(axes.transData, axes.get_figure(root=True), x=by_points, units="points")


def _write_below(axes: Axes, point: Point, colour: str) -> None:
    summary = point.summary
    axes.annotate(
        point.name,
        (point.x, 100 * (summary.mean if summary.n == 1 else summary.low)),
        xytext=(_APART, -3),
        textcoords="offset points",
        horizontalalignment="center",
        verticalalignment="top",
        fontsize=6,
        color=colour,
    )


def _look(standing: Standing) -> dict[str, Any]:
    colour = _VERMILION if standing == "best" else _BLUE
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
    # The configurations first, the published number last.
    labels = sorted(found, key=lambda label: label not in (*_LEGEND.values(), _ONE_SEED))
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

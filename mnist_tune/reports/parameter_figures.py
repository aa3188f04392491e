"""Figures of studies with several parameters: importance, slices, contour, parallel coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnist_tune.metrics import Metric
from mnist_tune.reports.axes import FigureAxis, far_beyond, mark_beyond, parameter_axis, set_axis
from mnist_tune.reports.figures import (
    BLUE,
    COLUMN_INCHES,
    GREY,
    PAGE_INCHES,
    VERMILION,
    blank,
    metric_title,
)
from mnist_tune.reports.importances import Importance
from mnist_tune.reports.results import StudyResults

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

_FEWEST = 3  # configurations; fewer say nothing about a plane
_MANY = 300  # dots; more are smaller, and pixels in a vector file too
_MOST_LINES = 300
_PANELS = 4  # in a row
_ABSENT = -0.16  # where a line passes an axis whose parameter its configuration does not have


@dataclass(frozen=True, slots=True, eq=False)
class ParameterPoints:
    """Complete configurations by parameters, the best first.

    Attributes:
        axes: of the parameters, the most important first.
        places: [configurations, parameters] on these axes; NaN where one has no such parameter.
        means: [configurations] of the metric.
        metric: that is shown.
        images: `validation` or `test`, which it is measured on.
    """

    axes: tuple[FigureAxis, ...]
    places: NDArray[np.float64]
    means: NDArray[np.float64]
    metric: Metric
    images: str

    @property
    def full(self) -> bool:
        """Whether each value of the first parameter was tried with each of the second."""
        columns, rows = (len(set(values)) for values in self.places[:, :2].T)
        return columns * rows == len(set(map(tuple, self.places[:, :2])))

    def plane(self) -> ParameterPoints | None:
        """The two most important parameters that say something together, the best at each place."""
        for pair in combinations(range(len(self.axes)), 2):
            having = ~np.isnan(self.places[:, pair]).any(axis=1)
            _, first = np.unique(self.places[having][:, pair], axis=0, return_index=True)
            chosen = np.flatnonzero(having)[np.sort(first)]
            places = self.places[chosen][:, pair]
            # A plan that leaves one of them alone makes a line.
            if len(chosen) >= _FEWEST and all(len(set(values)) > 1 for values in places.T):
                axes = tuple(self.axes[i] for i in pair)
                return ParameterPoints(axes, places, self.means[chosen], self.metric, self.images)
        return None


def parameter_points(results: StudyResults) -> ParameterPoints:
    """Find what there is to draw of a study with several parameters."""
    complete = results.complete
    declared = {parameter.name: parameter for parameter in results.provenance.parameters}
    axes, columns = [], []
    for name in (importance.name for importance in results.importances):
        having = [name in entry.trial.params for entry in complete]
        values = [entry.trial.params[name] for entry in complete if name in entry.trial.params]
        axes.append(parameter_axis(declared[name], values))
        columns.append(np.full(len(complete), np.nan))
        columns[-1][having] = axes[-1].places(values)
    return ParameterPoints(
        axes=tuple(axes),
        places=np.stack(columns, axis=1),
        means=np.array([entry.summary.mean for entry in complete if entry.summary]),
        metric=results.metric,
        images=results.provenance.validation_name,
    )


def draw_importances(importances: Sequence[Importance]) -> Drawing:
    """A bar for each parameter, with a line from the lowest to the highest single seed."""
    found = importances[::-1]
    drawing = blank(COLUMN_INCHES, 0.6 + 0.2 * len(found))
    axes = drawing.subplots()
    shares, low, high = 100 * np.array([[f.share, f.low, f.high] for f in found]).T
    places = range(len(found))
    axes.barh(places, shares, height=0.6, color=BLUE)
    axes.hlines(places, low, high, color=VERMILION, linewidth=1.2)
    axes.set_yticks(places, [f.name.replace("_", " ") for f in found])
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(left=0)
    axes.set_xlabel("Importance (%)")
    return drawing


def draw_slices(points: ParameterPoints) -> Drawing:
    """The metric over each parameter alone; what is far off stands at the edge."""
    count = len(points.axes)
    rows = -(-count // _PANELS)
    columns = -(-count // rows)
    width = PAGE_INCHES if columns > 2 else COLUMN_INCHES
    drawing = blank(width, 0.2 + 1.6 * rows)
    panels = drawing.subplots(rows, columns, sharey=True, squeeze=False)
    values = points.metric.scale * points.means
    beyond = far_beyond(points.metric.sign * points.means)
    look: dict[str, Any] = {"linestyle": "", "markeredgewidth": 0}
    for axes, axis, x in zip(panels.flat, points.axes, points.places.T, strict=False):
        set_axis(axes, "x", axis, small=True)
        axes.plot(
            *(x[~beyond], values[~beyond], "o"),
            **(look | {"markersize": 3 if len(x) <= _MANY else 1.5, "alpha": 0.5, "color": BLUE}),
            rasterized=len(x) > _MANY,
        )
        mark_beyond(axes, x[beyond], points.metric)
        axes.plot(x[:1], values[:1], "D", markersize=4, color=VERMILION)
        axes.margins(x=0.1)
    for axes in panels.flat[count:]:
        axes.set_axis_off()
    for axes in panels[:, 0]:
        axes.set_ylabel(metric_title(points.metric, points.images))
        axes.ticklabel_format(axis="y", useOffset=False)
    return drawing


def draw_plane(points: ParameterPoints) -> Drawing:
    """Two parameters; colours run over the better half, so that the good ones differ."""
    drawing = blank(COLUMN_INCHES, 2.8)
    axes = drawing.subplots()
    x, y = points.places.T
    colours = _colours(points)
    values = points.metric.scale * points.means
    if points.full:
        marks, ring = _draw_cells(axes, points, values, colours)
    else:
        for which, axis in zip(("x", "y"), points.axes, strict=True):
            set_axis(axes, which, axis)  # type: ignore[arg-type]
        _draw_contour(axes, points, values, colours)
        many = len(values) > _MANY
        size = max(2.0, 30 * _MANY / len(values)) if many else 30
        edge = "none" if many else "white"
        marks = axes.scatter(  # the good ones above the others
            *(x[::-1], y[::-1]),
            **{"c": values[::-1], "s": size, "edgecolors": edge, "rasterized": many, **colours},
        )
        axes.use_sticky_edges = False  # those of the contour would cut the dots
        axes.margins(0.1)
        ring = (x[0], y[0])
    axes.plot(*ring, "o", markersize=10, markerfacecolor="none", color=VERMILION)
    axes.set(xlabel=points.axes[0].title, ylabel=points.axes[1].title)
    _draw_bar(drawing, marks, axes, points)
    return drawing


def draw_coordinates(points: ParameterPoints) -> Drawing:
    """A line for each configuration through an axis for each parameter, the best above the others."""
    from matplotlib.collections import LineCollection

    count = len(points.axes)
    drawing = blank(PAGE_INCHES, 3.0)
    axes = drawing.subplots()
    chosen = np.arange(0, len(points.means), -(-len(points.means) // _MOST_LINES))
    heights = np.stack([_height(points, i) for i in range(count)], axis=1)[chosen]
    absent = np.isnan(heights)
    heights[absent] = _ABSENT
    lines = [np.column_stack([np.arange(count), line]) for line in heights]
    marks = LineCollection(lines[:0:-1], linewidths=0.7, alpha=0.6, **_colours(points, clip=True))
    marks.set_array(points.metric.scale * points.means[chosen][:0:-1])
    axes.add_collection(marks)
    axes.plot(*lines[0].T, "-D", color=VERMILION, linewidth=1.4, markersize=3)
    for place in range(count):
        axes.axvline(place, ymin=0, color=GREY, linewidth=0.6, zorder=0)
        _write_ends(axes, points, place)
        if absent[:, place].any():
            _write(axes, place, _ABSENT, "none")
    slanted: dict[str, Any] = {"rotation": 25, "ha": "right", "rotation_mode": "anchor"}
    titles = [axis.title for axis in points.axes]
    axes.set_xticks(range(count), titles, **(slanted if count > 5 else {}))
    axes.set(xlim=(-0.3, count - 0.5), ylim=(_ABSENT - 0.08 if absent.any() else -0.08, 1.08))
    axes.set_yticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    _draw_bar(drawing, marks, axes, points)
    return drawing


def _height(points: ParameterPoints, place: int) -> NDArray[np.float64]:
    """Where configurations stand on a vertical axis, 0–1."""
    scaled = points.axes[place].scaled(points.places[:, place])
    low, high = np.nanmin(scaled), np.nanmax(scaled)
    return np.asarray((scaled - low) / (high - low))


def _write_ends(axes: Axes, points: ParameterPoints, place: int) -> None:
    """Beside an axis: its lowest and highest value, or all choices."""
    axis, values = points.axes[place], points.places[:, place]
    low, high = np.nanmin(values), np.nanmax(values)
    shown = range(len(axis.labels)) if axis.labels else (low, high)
    for value in shown:
        _write(axes, place, (value - low) / (high - low), axis.text(value))


def _write(axes: Axes, place: int, height: float, text: str) -> None:
    from matplotlib.patheffects import withStroke

    axes.annotate(
        text,
        (place, height),
        xytext=(3, 0),
        textcoords="offset points",
        verticalalignment="center",
        fontsize=6,
        path_effects=[withStroke(linewidth=2, foreground="white")],
        zorder=4,
    )


def _colours(points: ParameterPoints, *, clip: bool = False) -> dict[str, Any]:
    """The better half of the values has colours of its own; the best is bright."""
    values, maximised = points.metric.scale * points.means, points.metric.sign > 0
    middle, extreme = float(np.median(values)), float(values.max() if maximised else values.min())
    low, high = sorted((middle, extreme)) if middle != extreme else (middle - 1, middle + 1)
    found: dict[str, Any] = {"cmap": "viridis" if maximised else "viridis_r"}
    return found | ({"clim": (low, high)} if clip else {"vmin": low, "vmax": high})


def _draw_bar(drawing: Drawing, marks: Any, axes: Axes, points: ParameterPoints) -> None:
    bar = drawing.colorbar(marks, ax=axes, extend="min" if points.metric.sign > 0 else "max")
    bar.set_label(metric_title(points.metric, points.images))
    bar.ax.ticklabel_format(useOffset=False)


def _draw_cells(
    axes: Axes, points: ParameterPoints, values: NDArray[np.float64], colours: dict[str, Any]
) -> tuple[Any, tuple[float, float]]:
    """Equal cells, whatever the distances of the values."""
    (columns, across), (rows, up) = (np.unique(v, return_inverse=True) for v in points.places.T)
    grid = np.empty((len(rows), len(columns)))
    grid[up, across] = values
    marks = axes.imshow(grid, origin="lower", aspect="auto", **colours)
    first, second = points.axes
    axes.set_xticks(range(len(columns)), [first.text(value) for value in columns])
    axes.set_yticks(range(len(rows)), [second.text(value) for value in rows])
    return marks, (across[0], up[0])


def _draw_contour(
    axes: Axes, points: ParameterPoints, values: NDArray[np.float64], colours: dict[str, Any]
) -> None:
    """Pale areas between few dots; many dots show them by themselves."""
    scaled = np.stack([a.scaled(v) for a, v in zip(points.axes, points.places.T, strict=True)])
    scaled = (scaled - scaled.mean(axis=1, keepdims=True)) / scaled.std(axis=1, keepdims=True)
    if len(values) > _MANY or any(axis.labels for axis in points.axes) or _on_a_line(scaled):
        return
    from matplotlib.tri import Triangulation

    levels = np.linspace(colours["vmin"], colours["vmax"], 9)
    (x, y), triangles = points.places.T, Triangulation(*scaled).triangles
    place = Triangulation(x, y, triangles)
    axes.tricontourf(place, values, levels=levels, extend="both", alpha=0.4, **colours)


def _on_a_line(scaled: NDArray[np.float64]) -> bool:
    return bool(np.linalg.svd(scaled, compute_uv=False)[-1] < 1e-6)

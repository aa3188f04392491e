"""The metric over two searched numbers: a grid where all its points are there, else a dot for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mnist_tune.metrics import Metric
from mnist_tune.reports.figures import COLUMN_INCHES, VERMILION, blank, metric_title
from mnist_tune.reports.results import StudyResults

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

_MANY = 300  # dots; more are smaller, and pixels in a vector file too
_FEWEST = 3  # configurations; fewer say nothing about a plane
_WIDTHS = ("width_1", "width_2")


@dataclass(frozen=True, slots=True)
class ParameterPlane:
    """Complete configurations by two of their parameters, the best first.

    Attributes:
        names: of the two parameters.
        log: whether each is searched on a log scale.
        points: value of the first, of the second, mean of the metric.
        metric: that is shown.
        images: `validation` or `test`, which it is measured on.
        deeper: whether networks with more layers than these two widths are among them.
    """

    names: tuple[str, str]
    log: tuple[bool, bool]
    points: tuple[tuple[float, float, float], ...]
    metric: Metric
    images: str
    deeper: bool = False

    @property
    def full(self) -> bool:
        """Whether each value of the first was tried with each of the second, more than one each."""
        columns, rows = ({point[place] for point in self.points} for place in (0, 1))
        cells = {point[:2] for point in self.points}
        return len(columns) > 1 and len(rows) > 1 and len(cells) == len(columns) * len(rows)

    @property
    def titles(self) -> list[str]:
        """The names as words."""
        return [name.replace("_", " ") for name in self.names]

    @property
    def of_widths(self) -> bool:
        """Whether the two numbers are widths of hidden layers."""
        return self.names == _WIDTHS


def parameter_plane(results: StudyResults) -> ParameterPlane | None:
    """Find the two numbers to draw; None unless a study has two that say something together.

    These are the only two parameters, or the first two widths: of networks with exactly two layers
    if there are enough of them, else of all that have two or more.
    """
    numeric = {p.name: p for p in results.provenance.parameters if p.numeric}
    widths = set(_WIDTHS) <= set(numeric)
    if not widths and (len(numeric) != 2 or len(results.provenance.parameters) != 2):
        return None
    first, second = _WIDTHS if widths else tuple(numeric)
    having = [entry for entry in results.complete if {first, second} <= set(entry.trial.params)]
    exact = [entry for entry in having if entry.trial.params.get("width_3") is None]
    chosen = exact if len(exact) >= _FEWEST else having
    points = tuple(
        (float(entry.trial.params[first]), float(entry.trial.params[second]), entry.summary.mean)
        for entry in chosen
        if entry.summary
    )
    # A plan that leaves one of them alone makes a line.
    if len(points) < _FEWEST or any(len({point[i] for point in points}) == 1 for i in (0, 1)):
        return None
    return ParameterPlane(
        names=(first, second),
        log=(numeric[first].log, numeric[second].log),
        points=points,
        metric=results.metric,
        images=results.provenance.validation_name,
        deeper=len(chosen) > len(exact),
    )


def draw_plane(plane: ParameterPlane) -> Drawing:
    """Draw the plane; colours run over the better half, so that the good ones differ."""
    drawing = blank(COLUMN_INCHES, 2.8)
    axes = drawing.subplots()
    x, y, means = (np.array(values) for values in zip(*plane.points, strict=True))
    values, maximised = plane.metric.scale * means, plane.metric.sign > 0
    middle, extreme = float(np.median(values)), float(values.max() if maximised else values.min())
    low, high = sorted((middle, extreme)) if middle != extreme else (middle - 1, middle + 1)
    # The best is bright, whichever end that is.
    colours = {"cmap": "viridis" if maximised else "viridis_r", "vmin": low, "vmax": high}
    if plane.full:
        marks, ring = _draw_cells(axes, x, y, values, colours)
    else:
        marks, ring = _draw_dots(axes, plane.log, x, y, values, colours)
    axes.plot(*ring, "o", markersize=10, markerfacecolor="none", color=VERMILION)
    axes.set_xlabel(plane.titles[0].capitalize())
    axes.set_ylabel(plane.titles[1].capitalize())
    bar = drawing.colorbar(marks, ax=axes, extend="min" if maximised else "max")
    bar.set_label(metric_title(plane.metric))
    return drawing


def _draw_cells(
    axes: Axes, x: Any, y: Any, values: Any, colours: Any
) -> tuple[Any, tuple[float, float]]:
    cells = {(a, b): value for a, b, value in zip(x, y, values, strict=True)}
    columns, rows = sorted(set(x)), sorted(set(y))
    grid = [[cells[a, b] for a in columns] for b in rows]
    marks = axes.imshow(grid, origin="lower", aspect="auto", **colours)
    axes.set_xticks(range(len(columns)), [f"{value:g}" for value in columns])
    axes.set_yticks(range(len(rows)), [f"{value:g}" for value in rows])
    return marks, (columns.index(x[0]), rows.index(y[0]))


def _draw_dots(
    axes: Axes, logs: tuple[bool, bool], x: Any, y: Any, values: Any, colours: Any
) -> tuple[Any, tuple[float, float]]:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    many = len(values) > _MANY
    size = max(2.0, 45 * _MANY / len(values)) if many else 45
    edge = "none" if many else "white"
    marks = axes.scatter(  # the good ones above the others
        x[::-1], y[::-1], c=values[::-1], s=size, edgecolors=edge, rasterized=many, **colours
    )
    axes.set_xscale("log" if logs[0] else "linear")
    axes.set_yscale("log" if logs[1] else "linear")
    for axis, log in zip((axes.xaxis, axes.yaxis), logs, strict=True):
        if log:  # 200 and 500, not 2 × 10²
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axis.set_minor_formatter(NullFormatter())
    axes.margins(0.1)
    return marks, (x[0], y[0])

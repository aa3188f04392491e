"""The metric over two searched numbers: a grid where all its points are there, else a dot for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mnist_tune.metrics import Metric
from mnist_tune.reports import canvas
from mnist_tune.reports.results import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MANY = 300  # dots; more are smaller, and pixels in a vector file too
_FEWEST = 3  # configurations; fewer say nothing about a plane
_PREFERRED = ("width_1", "width_2")


@dataclass(frozen=True, slots=True)
class Plane:
    """Complete configurations by two of their parameters.

    Attributes:
        names: of the two parameters.
        log: whether each is searched on a log scale.
        points: value of the first, of the second, mean of the metric.
        best: place of the best of them.
        deeper: whether networks with more layers than these two widths are among them.
        metric: that is shown.
        images: `validation` or `test`, which it is measured on.
    """

    names: tuple[str, str]
    log: tuple[bool, bool]
    points: tuple[tuple[float, float, float], ...]
    best: int
    metric: Metric
    images: str
    deeper: bool = False

    @property
    def full(self) -> bool:
        """Whether each value of the first was tried with each of the second, more than one each."""
        columns, rows = ({point[place] for point in self.points} for place in (0, 1))
        cells = {point[:2] for point in self.points}
        return len(columns) > 1 and len(rows) > 1 and len(cells) == len(columns) * len(rows)


def plane(results: Results) -> Plane | None:
    """Find the two numbers to draw; None unless a study has two that say something together.

    These are the only two parameters, or the first two widths: of networks with exactly two layers
    if there are enough of them, else of all that have two or more.
    """
    numeric = {p.name: p for p in results.provenance.parameters if p.numeric}
    names: tuple[str, ...] = tuple(numeric)
    if set(_PREFERRED) <= set(numeric):
        names = _PREFERRED
    elif len(results.provenance.parameters) != 2:
        return None
    if len(names) != 2:
        return None
    having = [
        entry
        for entry in results.configurations
        if entry.complete and entry.summary and set(names) <= set(entry.trial.params)
    ]
    exact = [entry for entry in having if entry.trial.params.get("width_3") is None]
    chosen = exact if len(exact) >= _FEWEST else having
    if len(chosen) < _FEWEST:
        return None
    first, second = names
    points = tuple(
        (
            float(entry.trial.params[first]),
            float(entry.trial.params[second]),
            entry.summary.mean,
        )
        for entry in chosen
        if entry.summary
    )
    if any(len({point[place] for point in points}) == 1 for place in (0, 1)):
        return None  # a plan that leaves one of them alone makes a line
    log = (numeric[first].log, numeric[second].log)
    images = results.provenance.validation_name
    # They are ranked: the best comes first.
    deeper = len(chosen) > len(exact)
    return Plane((first, second), log, points, 0, results.metric, images, deeper)


def caption(found: Plane) -> str:
    """What the figure shows."""
    first, second = (name.replace("_", " ") for name in found.names)
    layers = "two or more" if found.deeper else "two"
    of = f" of networks with {layers} hidden layers" if found.names == _PREFERRED else ""
    mark = "cell" if found.full else "dot"
    return (
        f"Mean {found.images} {found.metric.name}{of} over {first} and {second}: each {mark} is a "
        "configuration trained to the end, the ringed one the best of them; the worse half shares "
        "the darkest colour."
    )


def draw(found: Plane, warning: str) -> Figure:
    """Draw the plane; colours run over the better half, so that the good ones can be told apart."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    figure = canvas.blank(canvas.COLUMN_INCHES, 2.8)
    axes = figure.subplots()
    x, y, means = (np.array(values) for values in zip(*found.points, strict=True))
    shown = found.metric.scale * means
    middle = float(np.median(shown))
    extreme = float(shown.max() if found.metric.sign > 0 else shown.min())
    low, high = sorted((middle, extreme)) if middle != extreme else (middle - 1, middle + 1)
    # The best is bright, whichever end that is.
    colours = "viridis" if found.metric.sign > 0 else "viridis_r"
    cells = {(a, b): value for a, b, value in zip(x, y, shown, strict=True)}
    columns, rows = sorted(set(x)), sorted(set(y))
    if found.full:
        grid = [[cells[a, b] for a in columns] for b in rows]
        marks = axes.imshow(grid, origin="lower", aspect="auto", cmap=colours, vmin=low, vmax=high)
        axes.set_xticks(range(len(columns)), [f"{value:g}" for value in columns])
        axes.set_yticks(range(len(rows)), [f"{value:g}" for value in rows])
        ring = (columns.index(x[found.best]), rows.index(y[found.best]))
    else:
        many = len(shown) > _MANY
        marks = axes.scatter(  # type: ignore[assignment]
            *(x[::-1], y[::-1]),  # the good ones above the others
            c=shown[::-1],
            s=max(2.0, 45 * _MANY / len(shown)) if many else 45,
            cmap=colours,
            vmin=low,
            vmax=high,
            edgecolors="none" if many else "white",
            rasterized=many,
        )
        axes.set_xscale("log" if found.log[0] else "linear")
        axes.set_yscale("log" if found.log[1] else "linear")
        for axis, log in zip((axes.xaxis, axes.yaxis), found.log, strict=True):
            if log:  # 200 and 500, not 2 × 10²
                axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                axis.set_major_formatter(StrMethodFormatter("{x:g}"))
                axis.set_minor_formatter(NullFormatter())
        ring = (x[found.best], y[found.best])
        axes.margins(0.1)
    axes.plot(*ring, "o", markersize=10, markerfacecolor="none", color=canvas.VERMILION)
    first, second = (name.replace("_", " ").capitalize() for name in found.names)
    axes.set_xlabel(first)
    axes.set_ylabel(second)
    bar = figure.colorbar(marks, ax=axes, extend="min" if found.metric.sign > 0 else "max")
    bar.set_label(f"{found.metric.name.capitalize()} ({found.metric.unit})")
    canvas.warn(figure, warning)
    return figure

"""Axes of figures: on which scale a parameter or a cost stands, and with which ticks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from mnist_tune.metrics import Metric
from mnist_tune.reports.figures import GREY
from mnist_tune.reports.formatting import parameter_value, plain_text
from mnist_tune.reports.provenance import SearchedParameter

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDE = 100  # points of a plan that span more than this factor stand on a log axis
_NARROW = 5  # and those of a log axis that span less have even ticks
_LARGE = 10_000  # numbers from here on are written as 20k
_FAR = 10  # distances between the quartiles of all means
_TITLES = {
    "l2": "L2 factor λ",
    "learning_rate": "Learning rate",
    "batch_size": "Batch size",
    "latent": "Latent size",
}


@dataclass(frozen=True, slots=True)
class FigureAxis:
    """One axis.

    Attributes:
        title: with unit where there is one.
        scale: `symlog` is a log axis with a zero.
        whole: whether only integers make sense.
        least: the smallest value above zero, where a `symlog` axis turns linear.
        most: the largest value.
        labels: of the places 0, 1, … of a categorical parameter.
    """

    title: str
    scale: Literal["linear", "log", "symlog"]
    whole: bool = True
    least: float = 1.0
    most: float = 1.0
    labels: tuple[str, ...] = ()

    @property
    def factor(self) -> float:
        """That the values above zero span."""
        return self.most / self.least

    def places(self, values: Sequence[Any]) -> list[float]:
        """Where values stand: a choice at its number."""
        if self.labels:
            return [float(self.labels.index(plain_text(value))) for value in values]
        return [float(value) for value in values]

    def scaled(self, places: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
        """The places as distances along the axis."""
        array = np.array(places, float)
        if self.scale == "linear":
            return array
        return np.asarray(
            np.log10(array) if self.scale == "log" else np.arcsinh(array / self.least)
        )

    def text(self, place: float) -> str:
        """What is written at a place, with few digits."""
        if self.labels:
            return self.labels[int(place)]
        return str(int(place)) if self.whole else parameter_value(float(f"{place:.3g}"))


def parameter_axis(parameter: SearchedParameter, values: Sequence[Any]) -> FigureAxis:
    """The axis of one parameter, for the values that it had."""
    title = _TITLES.get(parameter.name, parameter.name.replace("_", " ").capitalize())
    if not parameter.numeric:
        chosen = {plain_text(value) for value in values}
        labels = tuple(text for text in map(plain_text, parameter.choices) if text in chosen)
        return FigureAxis(title, "linear", labels=labels)
    positive = [value for value in values if value > 0]
    least, whole = min(positive, default=1.0), parameter.kind == "int"
    most = max(positive, default=1.0)
    # A plan says by its points what is meant; a sampler may meet a value next to 0 by chance.
    log = parameter.log or (parameter.points and most > WIDE * least)
    if not log or min(values) < 0 or not positive:
        return FigureAxis(title, "linear", whole, least, most)
    scale: Literal["log", "symlog"] = "log" if len(positive) == len(values) else "symlog"
    return FigureAxis(title, scale, whole, least, most)


def set_axis(
    axes: Axes, which: Literal["x", "y"], axis: FigureAxis, *, small: bool = False
) -> None:
    """Title, scale and ticks of the x or the y axis; few ticks where it is small."""
    from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter

    drawn = axes.xaxis if which == "x" else axes.yaxis
    drawn.set_label_text(axis.title)
    if axis.labels:
        drawn.set_ticks(range(len(axis.labels)), axis.labels)
        return
    large = axis.whole and (axis.scale != "linear" or axis.most >= _LARGE)
    write: Any = EngFormatter(sep="") if large else "{x:,.0f}" if axis.whole else None
    if axis.scale != "linear":
        limits = {"linthresh": axis.least} if axis.scale == "symlog" else {}
        getattr(axes, f"set_{which}scale")(axis.scale, **limits)
        write = write or ((lambda x, _: axis.text(x)) if axis.factor <= WIDE else None)
    if axis.scale == "log":
        drawn.set_minor_formatter(NullFormatter())
    if axis.scale == "linear" or (axis.scale == "log" and axis.factor < _NARROW):
        if axis.whole or small:
            drawn.set_major_locator(MaxNLocator(4 if small else "auto", integer=axis.whole))
    elif axis.whole or axis.factor <= WIDE:  # 200 and 500, not 2 × 10²
        powers_alone = small and axis.factor > WIDE
        drawn.set_major_locator(LogLocator(subs=(1,) if powers_alone else (1, 2, 5)))
    if write:
        drawn.set_major_formatter(write)


def far_beyond(scores: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which are so far below the others, such as failed trainings, that an axis leaves them out."""
    lower, upper = np.quantile(scores, (0.25, 0.75))
    fence = lower - _FAR * (upper - lower) if upper > lower else -np.inf
    return np.asarray(scores < fence)


def mark_beyond(
    axes: Axes, xs: Sequence[float] | NDArray[np.float64], metric: Metric, label: str | None = None
) -> None:
    """A triangle at the edge for each point that lies far beyond it."""
    from matplotlib.transforms import offset_copy

    edge, inwards, marker = (0, 3, "v") if metric.sign > 0 else (1, -3, "^")
    place, figure = axes.get_xaxis_transform(), axes.get_figure(root=True)
    at_edge = offset_copy(place, figure, y=inwards, units="points")
    look: dict[str, Any] = {"markersize": 3, "markeredgewidth": 0, "color": GREY, "alpha": 0.6}
    axes.plot(xs, [edge] * len(xs), marker, transform=at_edge, label=label, **look)

"""Axes of figures: on which scale a parameter or a cost stands, and with which ticks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from mnist_tune.reports.formatting import parameter_value, plain_text
from mnist_tune.reports.provenance import SearchedParameter

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DECADES = 100  # values that span more than this factor stand on a log axis
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
        wide: whether the values span so much that powers of ten alone are ticks.
        labels: of the places 0, 1, … of a categorical parameter.
    """

    title: str
    scale: Literal["linear", "log", "symlog"]
    whole: bool = True
    least: float = 1.0
    wide: bool = False
    labels: tuple[str, ...] = ()

    def places(self, values: Sequence[Any]) -> list[float]:
        """Where values stand: a choice at its number."""
        if self.labels:
            return [float(self.labels.index(plain_text(value))) for value in values]
        return [float(value) for value in values]

    def scaled(self, places: Sequence[float]) -> NDArray[np.float64]:
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
    wide = bool(positive) and max(positive) > _DECADES * least
    if not (parameter.log or wide) or min(values) < 0 or not positive:
        return FigureAxis(title, "linear", whole, least)
    scale: Literal["log", "symlog"] = "log" if len(positive) == len(values) else "symlog"
    return FigureAxis(title, scale, whole, least, wide)


def set_axis(axes: Axes, which: Literal["x", "y"], axis: FigureAxis) -> None:
    """Title, scale and ticks of the x or the y axis."""
    from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter

    drawn = axes.xaxis if which == "x" else axes.yaxis
    drawn.set_label_text(axis.title)
    if axis.labels:
        drawn.set_ticks(range(len(axis.labels)), axis.labels)
        return
    if axis.scale == "linear":
        if axis.whole:
            drawn.set_major_locator(MaxNLocator("auto", integer=True))
        return
    limits = {"linthresh": axis.least} if axis.scale == "symlog" else {}
    getattr(axes, f"set_{which}scale")(axis.scale, **limits)
    if axis.scale == "log":
        drawn.set_minor_formatter(NullFormatter())
    if axis.whole or (axis.scale == "log" and not axis.wide):  # 200 and 500, not 2 × 10²
        drawn.set_major_locator(LogLocator(subs=(1, 2, 5)))
        write: Any = EngFormatter(sep="") if axis.whole else lambda value, _: axis.text(value)
        drawn.set_major_formatter(write)

"""The numbers of a study's figure: accuracy against what was searched, and the test result.

Where a single parameter varies, and is a number, it stands on the x axis; else the number of parameters does; where all
networks have the same size, the trial number. `mnist_tune.reports.drawing` draws it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from mnist_tune.metrics import ACCURACY, Metric
from mnist_tune.reports import numbers
from mnist_tune.reports.comparisons import Scores
from mnist_tune.reports.configurations import Configuration
from mnist_tune.reports.provenance import Parameter
from mnist_tune.reports.results import Results
from mnist_tune.reports.views import described, descriptions
from mnist_tune.statistics.means import Summary, wilson

Scale = Literal["linear", "log", "symlog"]
Standing = Literal["best", "like best", "worse", "unknown"]

_SHORT = 14  # characters
_CROWD = 100  # points; the intervals of more make a wall
_FAR = 10  # distances between the quartiles of all means
_DECADES = 100  # values that span more than this factor stand on a log axis


@dataclass(frozen=True, slots=True)
class Axis:
    """The x axis of the search.

    Attributes:
        title: with unit where there is one.
        scale: `symlog` is a log axis with a zero.
        whole: whether only integers make sense.
        least: the smallest value above zero, where a `symlog` axis turns linear.
    """

    title: str
    scale: Scale
    whole: bool = False
    least: float = 1.0


@dataclass(frozen=True, slots=True)
class Point:
    """One configuration, or the test result of the confirmed one.

    Attributes:
        x: its place on the axis.
        name: such as `500-300`.
        trial: its number.
        accuracies: values of all seeds; accuracies are in 0–1.
        summary: of the accuracies.
        standing: against the best.
        labelled: whether its name is written beside it.
    """

    x: float
    name: str
    trial: int
    accuracies: tuple[float, ...]
    summary: Summary
    standing: Standing
    labelled: bool = False

    @property
    def tag(self) -> str:
        """The name, or where it would run into its neighbours the number of the trial."""
        return self.name if len(self.name) <= _SHORT else f"trial {self.trial}"


@dataclass(frozen=True, slots=True)
class Band:
    """A published accuracy and what other test sets of its size would show (95 %, Wilson)."""

    name: str
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """All numbers of one figure.

    Attributes:
        name: of the file, without suffix.
        caption: one or two sentences.
        warning: written into the figure itself; empty for a plain result.
        axis: of the search.
        points: complete configurations by x, then trial number.
        images: `validation` or `test`, which the points are measured on.
        confirmed: test result of the confirmed configuration.
        band: the study's baseline, where a test result can be compared with it.
        metric: on the y axis.
        front: x and mean of the points that none further left matches; empty where x is no size.
    """

    name: str
    caption: str
    warning: str
    axis: Axis
    points: tuple[Point, ...]
    images: str
    confirmed: Point | None
    band: Band | None
    metric: Metric = ACCURACY
    front: tuple[tuple[float, float], ...] = ()

    @property
    def crowded(self) -> bool:
        """Whether seeds and intervals of all points would hide each other."""
        return len(self.points) > _CROWD

    @property
    def beyond(self) -> tuple[Point, ...]:
        """Of a crowd, the points so far off that the axis leaves them out, such as failed trainings."""
        if not self.crowded:
            return ()
        scores = self.metric.sign * np.array([point.summary.mean for point in self.points])
        lower, upper = np.quantile(scores, (0.25, 0.75))
        fence = lower - _FAR * (upper - lower) if upper > lower else -np.inf
        return tuple(p for p, score in zip(self.points, scores, strict=True) if score < fence)


Choose = Callable[[Results, list[Configuration]], "tuple[Axis, str, _Place]"]


def plot(results: Results) -> Plot | None:
    """Make the numbers of the study's figure; None if no trial is complete."""
    return _plot(results, _x_axis)


def cost_plot(results: Results) -> Plot | None:
    """The same against multiply-adds, where parameters do not tell what a network costs.

    None where all networks cost the same.
    """
    costs = results.multiply_adds
    shown = {
        costs.get(e.trial.trial_number) for e in results.configurations if e.complete and e.summary
    }
    return _plot(results, _cost_axis) if len(shown) > 1 else None


def _plot(results: Results, choose: Choose) -> Plot | None:
    complete = [entry for entry in results.configurations if entry.complete and entry.summary]
    if not complete:
        return None
    axis, against, place = choose(results, complete)
    sized = against in ("parameters", "multiply_adds")
    smallest = results.smallest if sized else None
    names = descriptions(results, complete)
    points = [
        _point(
            entry,
            place(entry),
            name,
            labelled=smallest is not None and (entry.best or entry is smallest),
        )
        for entry, name in zip(complete, names, strict=True)
    ]
    found = Plot(
        name=f"{results.metric.key}_against_{against}",
        caption="",
        warning=warning_of(results),
        axis=axis,
        points=tuple(sorted(points, key=lambda point: (point.x, point.name))),
        images=results.provenance.validation_name,
        confirmed=_confirmed(results),
        band=_band(results),
        metric=results.metric,
        front=_front(points, results.metric) if sized else (),
    )
    return replace(found, caption=_caption(results, found))


def _front(points: list[Point], metric: Metric) -> tuple[tuple[float, float], ...]:
    """Where no point further left is as good: x and mean, from the left."""
    found: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda p: (p.x, -metric.sign * p.summary.mean)):
        if not found or metric.sign * (point.summary.mean - found[-1][1]) > 0:
            found.append((point.x, point.summary.mean))
    return tuple(found)


class _Place:
    """Where a configuration stands on the x axis."""

    def __init__(
        self,
        parameter: str | None = None,
        *,
        size: bool = False,
        costs: Mapping[int, int] | None = None,
    ) -> None:
        self._parameter, self._size, self._costs = parameter, size, costs

    def __call__(self, entry: Configuration) -> float:
        if self._parameter is not None:
            return float(entry.trial.params[self._parameter])
        if self._costs is not None:
            return float(self._costs[entry.trial.trial_number])
        return float(entry.trial.parameters if self._size else entry.trial.trial_number)


def _x_axis(results: Results, complete: list[Configuration]) -> tuple[Axis, str, _Place]:
    """The axis, the word for it in the file's name, and where a configuration stands on it."""
    parameters = _varied(results.provenance.parameters, complete)
    if len(parameters) == 1 and parameters[0].numeric and _all_have(parameters[0], complete):
        only = parameters[0]
        place = _Place(only.name)
        values = [place(entry) for entry in complete]
        least = min((value for value in values if value > 0), default=1.0)
        scale = _scale(values, log=only.log)
        axis = Axis(_titled(only.name), scale, whole=only.kind == "int", least=least)
        return axis, re.sub(r"\W+", "_", only.name), place
    sizes = [entry.trial.parameters for entry in complete]
    if len(set(sizes)) > 1:
        place = _Place(size=True)
        return Axis("Number of parameters", "log", whole=True), "parameters", place
    return Axis("Trial", "linear", whole=True), "trial", _Place()


def _varied(parameters: Sequence[Parameter], complete: list[Configuration]) -> Sequence[Parameter]:
    """Those that differ between configurations; all of them, if none does."""
    values = {p.name: {str(e.trial.params.get(p.name)) for e in complete} for p in parameters}
    return [p for p in parameters if len(values[p.name]) > 1] or parameters


def _cost_axis(results: Results, _complete: list[Configuration]) -> tuple[Axis, str, _Place]:
    axis = Axis("Multiply-adds per image", "log", whole=True)
    return axis, "multiply_adds", _Place(costs=results.multiply_adds)


def _all_have(parameter: Parameter, complete: list[Configuration]) -> bool:
    return all(parameter.name in entry.trial.params for entry in complete)


def _titled(parameter: str) -> str:
    known = {
        "l2": "L2 factor λ",
        "learning_rate": "Learning rate",
        "batch_size": "Batch size",
        "latent": "Latent size",
    }
    return known.get(parameter, parameter.replace("_", " ").capitalize())


def _scale(values: list[float], *, log: bool) -> Scale:
    positive = [value for value in values if value > 0]
    wide = bool(positive) and max(positive) > _DECADES * min(positive)
    if not (log or wide) or min(values) < 0 or not positive:
        return "linear"
    return "log" if len(positive) == len(values) else "symlog"


def _point(entry: Configuration, x: float, name: str, *, labelled: bool) -> Point:
    assert entry.summary is not None
    standing: Standing = "unknown"
    if entry.best:
        standing = "best"
    elif entry.approx_best is not None:
        standing = "like best" if entry.approx_best else "worse"
    return Point(
        x=x,
        name=name,
        trial=entry.trial.trial_number,
        accuracies=tuple(entry.accuracies.values()),
        summary=entry.summary,
        standing=standing,
        labelled=labelled,
    )


def _confirmed(results: Results) -> Point | None:
    latest = results.latest
    if latest is None or latest.confirmation is None:
        return None
    winner = results.configuration(latest.trial_number)
    return Point(
        x=0.0,
        name=described(results, winner),
        trial=winner.trial.trial_number,
        accuracies=tuple(latest.accuracies.values()),
        summary=latest.summary,
        standing="best",
    )


def _band(results: Results) -> Band | None:
    comparison = results.comparison
    if comparison is None:
        return None
    baseline = comparison.baseline
    interval = wilson(baseline.accuracy, baseline.test_size)
    return Band(baseline.cited, baseline.accuracy, interval.low, interval.high)


def warning_of(results: Results) -> str:
    """Why a figure of this study shows no result; empty where it shows one."""
    provenance = results.provenance
    if provenance.rehearsal:
        return "rehearsal, not a result"
    if not provenance.data.full:
        return "embedded digits, not the full MNIST"
    return "optimistic: selected on the test set" if provenance.selects_on_test else ""


def _caption(results: Results, found: Plot) -> str:
    name, title = found.metric.name, found.axis.title
    title = title[0].lower() + title[1:] if title[1:2].islower() else title
    lead = f"{found.warning[0].upper()}{found.warning[1:]}. " if found.warning else ""
    parts = [f"{lead}{found.images.capitalize()} {name} against {title}: {_marks(found)}."]
    if found.metric is not ACCURACY:
        parts.append("Lower is better.")
    if found.beyond:
        marked = numbers.plural(len(found.beyond), "configuration")
        parts.append(f"Far beyond the axis, marked by triangles at its edge: {marked}.")
    if len(found.front) > 1:
        parts.append("Step line: the front, which nothing further left matches.")
    if found.confirmed is not None:
        size = _sizes(results.latest)
        parts.append(f"Right: test {name} of {found.confirmed.name}, retrained{size}.")
    return " ".join(parts)


def _marks(found: Plot) -> str:
    if found.crowded:
        named = " and of those named" if any(point.labelled for point in found.points) else ""
        return (
            f"each dot is the mean of a configuration; of the best{named}, each seed and the "
            "95 % interval too"
        )
    return "each dot is one seed, markers are means, bars their 95 % intervals"


def _sizes(latest: Scores | None) -> str:
    return f", on {latest.test_size:,} images" if latest is not None else ""

"""The numbers of a study's main figure: the metric against what was searched, and the test result.

Where a single parameter varies, and is a number, it stands on the x axis; else the number of parameters
does; where all networks have the same size, the trial number. `search_drawing` draws it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from mnist_tune.metrics import ACCURACY, Metric
from mnist_tune.reports.axes import FigureAxis, parameter_axis
from mnist_tune.reports.configurations import RankedTrial, pareto_front
from mnist_tune.reports.documents import caption
from mnist_tune.reports.provenance import SearchedParameter
from mnist_tune.reports.results import StudyResults
from mnist_tune.statistics.means import Summary, wilson

Standing = Literal["best", "like best", "worse", "unknown"]

_SHORT = 14  # characters
_CROWD = 100  # points; the intervals of more make a wall
_FAR = 10  # distances between the quartiles of all means


@dataclass(frozen=True, slots=True)
class Marker:
    """One configuration, or the test result of the confirmed one.

    Attributes:
        x: its place on the axis.
        name: such as `500-300`.
        trial: its number.
        values: of all seeds; accuracies are in 0–1.
        summary: of the values.
        standing: against the best.
        labelled: whether its name is written beside it.
    """

    x: float
    name: str
    trial: int
    values: tuple[float, ...]
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
class SearchPlot:
    """All numbers of the figure.

    Attributes:
        name: of the file, without suffix.
        caption: one or two sentences.
        axis: of the search.
        points: complete configurations by x, then name.
        images: `validation` or `test`, which the points are measured on.
        confirmed: test result of the confirmed configuration.
        band: the study's baseline, where a test result can be compared with it.
        metric: on the y axis.
        front: x and mean of the points that none further left matches; empty where x is no size.
    """

    name: str
    caption: str = ""
    axis: FigureAxis
    points: tuple[Marker, ...]
    images: str
    confirmed: Marker | None
    band: Band | None
    metric: Metric = ACCURACY
    front: tuple[tuple[float, float], ...] = ()

    @property
    def crowded(self) -> bool:
        """Whether seeds and intervals of all points would hide each other."""
        return len(self.points) > _CROWD

    @property
    def beyond(self) -> tuple[Marker, ...]:
        """Of a crowd, the points so far off that the axis leaves them out, such as failed trainings."""
        if not self.crowded:
            return ()
        scores = self.metric.sign * np.array([point.summary.mean for point in self.points])
        lower, upper = np.quantile(scores, (0.25, 0.75))
        fence = lower - _FAR * (upper - lower) if upper > lower else -np.inf
        return tuple(p for p, score in zip(self.points, scores, strict=True) if score < fence)


def search_plot(results: StudyResults) -> SearchPlot | None:
    """Make the numbers of the study's figure; None if no trial is complete."""
    complete = results.complete
    if not complete:
        return None
    declared = results.provenance.parameters
    varied = _varied(declared, complete)
    name = varied[0].name if len(varied) == 1 and varied[0].numeric else ""
    if name and all(name in entry.trial.params for entry in complete):
        xs = [float(entry.trial.params[name]) for entry in complete]
        return _plot(results, parameter_axis(varied[0], xs), re.sub(r"\W+", "_", name), xs)
    sizes = [float(entry.trial.parameters) for entry in complete]
    if len(set(sizes)) > 1:
        axis = FigureAxis("Number of parameters", "log")
        return _plot(results, axis, "parameters", sizes, sized=True)
    numbers = [float(entry.number) for entry in complete]
    return _plot(results, FigureAxis("Trial", "linear"), "trial", numbers)


def cost_plot(results: StudyResults) -> SearchPlot | None:
    """The same against multiply-adds, where parameters do not tell what a network costs.

    None where all networks cost the same.
    """
    costs = [float(results.multiply_adds.get(entry.number, 0)) for entry in results.complete]
    axis = FigureAxis("Multiply-adds per image", "log")
    return _plot(results, axis, "multiply_adds", costs, sized=True) if len(set(costs)) > 1 else None


def _plot(
    results: StudyResults,
    axis: FigureAxis,
    against: str,
    xs: Sequence[float],
    *,
    sized: bool = False,
) -> SearchPlot:
    metric, smallest = results.metric, results.smallest if sized else None
    places = {entry.number: x for x, entry in zip(xs, results.complete, strict=True)}
    points = [
        Marker(
            x=places[entry.number],
            name=results.describe(entry),
            trial=entry.number,
            values=tuple(entry.values.values()),
            summary=entry.summary,
            standing=_standing(entry),
            labelled=smallest is not None and (entry.best or entry is smallest),
        )
        for entry in results.complete
        if entry.summary
    ]
    front = pareto_front(results.complete, places) if sized else ()
    found = SearchPlot(
        name=f"{metric.key}_against_{against}",
        axis=axis,
        points=tuple(sorted(points, key=lambda point: (point.x, point.name))),
        images=results.provenance.validation_name,
        confirmed=_confirmed(results),
        band=_band(results),
        metric=metric,
        front=tuple((places[e.number], e.summary.mean) for e in front if e.summary),
    )
    title = axis.title[0].lower() + axis.title[1:] if axis.title[1:2].islower() else axis.title
    return replace(found, caption=caption("search", plot=found, title=title, latest=results.latest))


def _varied(
    parameters: Sequence[SearchedParameter], complete: Sequence[RankedTrial]
) -> Sequence[SearchedParameter]:
    """Those that differ between configurations; all of them, if none does."""
    values = {p.name: {str(e.trial.params.get(p.name)) for e in complete} for p in parameters}
    return [p for p in parameters if len(values[p.name]) > 1] or parameters


def _standing(entry: RankedTrial) -> Standing:
    known: dict[bool | None, Standing] = {None: "unknown", True: "like best", False: "worse"}
    return "best" if entry.best else known[entry.approx_best]


def _confirmed(results: StudyResults) -> Marker | None:
    latest = results.latest
    if latest is None or latest.confirmation is None:
        return None
    name = results.describe(results.trial(latest.trial_number))
    values = tuple(latest.values.values())
    return Marker(0.0, name, latest.trial_number, values, latest.summary, "best")


def _band(results: StudyResults) -> Band | None:
    if results.comparison is None:
        return None
    baseline = results.comparison.baseline
    interval = wilson(baseline.accuracy, baseline.test_size)
    return Band(baseline.cited, baseline.accuracy, interval.low, interval.high)

"""Data of a study's main figure: the metric against what was searched, and the test result.

Where a single parameter varies, and is a number, it stands on the x axis; else the number of parameters
does; where all networks have the same size, the trial number. `search_drawing` draws it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np

from mnist_tune.metrics import ACCURACY, Metric
from mnist_tune.reports.axes import FigureAxis, far_beyond, parameter_axis
from mnist_tune.reports.configurations import RankedTrial, pareto_front
from mnist_tune.reports.documents import caption
from mnist_tune.reports.importances import varied_parameters
from mnist_tune.reports.results import StudyResults
from mnist_tune.statistics.means import Summary, wilson

Standing = Literal["best", "like best", "worse", "unknown"]

_WIDE = 10  # costs that span more than this factor stand on a log axis
_CROWD = 100  # points; the intervals of more make a wall


@dataclass(frozen=True, slots=True)
class Marker:
    """One configuration, or the test result of the confirmed one.

    Attributes:
        x: its place on the axis.
        name: such as `trial 3: 500-300`.
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
        far = far_beyond(scores)
        return tuple(p for p, beyond in zip(self.points, far, strict=True) if beyond)


def search_plots(results: StudyResults) -> Mapping[str, Callable[[], SearchPlot]]:
    """Name of each figure → what makes its numbers; the main one first, nothing without a result.

    The others show the same against what else networks cost, where that differs.
    """
    complete, parameters = results.complete, results.provenance.parameters
    if not complete:
        return {}
    sizes = {entry.number: entry.trial.parameters for entry in complete}
    costs: list[tuple[str, str, Mapping[int, float]]] = [
        ("parameters", "Number of parameters", sizes),
        ("multiply_adds", "Multiply-adds per image", results.multiply_adds),
    ]
    costs = [cost for cost in costs if len({cost[2].get(entry.number) for entry in complete}) > 1]
    varied = varied_parameters(parameters, complete) or parameters
    known = all(entry.number in results.train_seconds for entry in complete)
    if known and (costs or len(varied) > 1):
        costs.append(("seconds", "Seconds of training for each seed", results.train_seconds))
    found: dict[str, Callable[[str], SearchPlot]] = {}
    name = varied[0].name if len(varied) == 1 and varied[0].numeric else ""
    if name and all(name in entry.trial.params for entry in complete):
        places = {entry.number: float(entry.trial.params[name]) for entry in complete}
        axis = parameter_axis(varied[0], list(places.values()))
        found[re.sub(r"\W+", "_", name)] = partial(_plot, results, axis, places)
    elif len(set(sizes.values())) == 1:
        numbers = {entry.number: float(entry.number) for entry in complete}
        found["trial"] = partial(_plot, results, FigureAxis("Trial", "linear"), numbers)
    for against, title, by_trial in costs:
        axis = _cost_axis(title, [by_trial[entry.number] for entry in complete])
        found.setdefault(against, partial(_plot, results, axis, by_trial, sized=True))
    return {
        (named := f"{results.metric.key}_against_{against}"): partial(make, named)
        for against, make in found.items()
    }


def _cost_axis(title: str, costs: Sequence[float]) -> FigureAxis:
    whole, least, most = isinstance(costs[0], int), max(min(costs), 1e-9), max(costs)
    return FigureAxis(title, "log" if most > _WIDE * least else "linear", whole, least, most)


def _plot(
    results: StudyResults,
    axis: FigureAxis,
    places: Mapping[int, float],
    name: str,
    *,
    sized: bool = False,
) -> SearchPlot:
    metric, smallest = results.metric, results.smallest if sized else None
    points = [
        Marker(
            x=places[entry.number],
            name=results.numbered(entry),
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
        name=name,
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

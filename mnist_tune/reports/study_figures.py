"""The figures of a study and of its trials, in the order in which they are read.

Which ones there are is known without matplotlib and without an epoch or an image: each is read and drawn
when somebody wants it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from sqlalchemy import Connection

from mnist_tune.reports import confusions, parameter_figures
from mnist_tune.reports.configurations import RankedTrial
from mnist_tune.reports.documents import caption
from mnist_tune.reports.figures import Figure, FigureContent
from mnist_tune.reports.results import StudyResults
from mnist_tune.reports.search_plot import SearchPlot, search_plots


def study_figures(connection: Connection, results: StudyResults) -> tuple[Figure, ...]:
    """All there is to see of a study, while the connection is open.

    What needs the test images is not at hand where they are not.
    """
    return (
        *_search_figures(results),
        *_parameter_figures(results),
        *_learning_figures(connection, results),
        *_error_figures(connection, results),
        *(network_figure(results, entry) for _, entry in results.selected_networks),
    )


def learning_figure(connection: Connection, results: StudyResults, entry: RankedTrial) -> Figure:
    """The learning curves of one trial."""

    def read() -> FigureContent:
        from mnist_tune.reports import learning_curves as curves

        found = curves.curves_of(connection, results, entry)
        return "", partial(curves.draw_curves, found)

    return Figure("learning_curves", read, results.provenance.warning)


def network_figure(results: StudyResults, entry: RankedTrial) -> Figure:
    """The layers of the network of one trial."""

    def read() -> FigureContent:
        from mnist_tune.reports.network_diagram import draw_network

        name, network = results.describe(entry), entry.network
        return caption("network", name=name, network=network), partial(draw_network, network)

    return Figure(f"network_trial_{entry.number}", read)


def _search_figures(results: StudyResults) -> Iterator[Figure]:
    def read(make: Callable[[], SearchPlot]) -> FigureContent:
        from mnist_tune.reports.search_drawing import draw_search

        plot = make()
        return plot.caption, partial(draw_search, plot)

    for name, make in search_plots(results).items():
        yield Figure(name, partial(read, make), results.provenance.warning)


def _parameter_figures(results: StudyResults) -> Iterator[Figure]:
    """What several parameters do, each and together."""

    def importances() -> FigureContent:
        draw = partial(parameter_figures.draw_importances, results.importances)
        return caption("importance", several=results.provenance.seeds > 1), draw

    def of_points(kind: str, draw: Any) -> FigureContent | None:
        found = parameter_figures.parameter_points(results)
        points = found.plane() if kind == "contour" else found
        return None if points is None else (caption(kind, points=points), partial(draw, points))

    if not results.importances:
        return
    warning = results.provenance.warning
    yield Figure("parameter_importance", importances, warning)
    for kind, draw in (
        ("slices", parameter_figures.draw_slices),
        ("contour", parameter_figures.draw_plane),
        ("parallel_coordinates", parameter_figures.draw_coordinates),
    ):
        name = f"{results.metric.key}_{kind}"
        yield Figure(name, partial(of_points, kind, draw), warning)


def _learning_figures(connection: Connection, results: StudyResults) -> Iterator[Figure]:
    def read() -> FigureContent | None:
        from mnist_tune.reports import learning_curves as curves

        found = curves.best_curves(connection, results)
        draw = partial(curves.draw_curves, found)
        return (curves.curves_caption(results, found), draw) if found else None

    if any(entry.complete for entry in results.trials):
        yield Figure("learning_curves", read, results.provenance.warning)


def _error_figures(connection: Connection, results: StudyResults) -> Iterator[Figure]:
    def read(kind: str, draw: Any, *, missed: bool) -> FigureContent | None:
        errors = confusions.found_errors(connection, results)
        if not isinstance(errors, confusions.PredictionErrors) or missed > errors.misses.any():
            return None
        return caption(kind, seeds=len(errors.predicted)), partial(draw, errors)

    if results.latest is None or not confusions.has_predictions(connection, results):
        return
    warning = results.provenance.warning
    matrix = partial(read, "confusions", confusions.draw_confusions, missed=False)
    yield Figure("confusion_matrix", matrix, warning, confirmed=True)
    if min(results.latest.values.values()) < 1:
        misses = partial(read, "misclassified", confusions.draw_misclassified, missed=True)
        yield Figure("misclassified", misses, warning, confirmed=True)

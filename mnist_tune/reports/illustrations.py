"""All pictures of a study, in the order in which they are read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection

from mnist_tune.reports import canvas, confusions, curves, diagrams, drawing, heatmaps
from mnist_tune.reports.document import named
from mnist_tune.reports.figures import cost_plot, plot, warning_of
from mnist_tune.reports.results import Results
from mnist_tune.reports.views import described


@dataclass(frozen=True, slots=True)
class Illustration:
    """One picture.

    Attributes:
        name: of its files, without suffix.
        caption: one to three sentences.
        png, svg: the files.
    """

    name: str
    caption: str
    png: bytes
    svg: bytes


@dataclass(frozen=True, slots=True)
class Sketch:
    """A picture that is not drawn yet.

    Attributes:
        name, caption: as of an illustration.
        draw: makes the figure.
        confirmed: whether it is about the confirmed configuration alone.
    """

    name: str
    caption: str
    draw: canvas.Draw
    confirmed: bool = False


def illustrations(connection: Connection, results: Results) -> tuple[Illustration, ...]:
    """Draw all there is to see of a study: the same database gives the same bytes.

    What needs the test images is left out where they are not at hand.
    """
    return tuple(
        Illustration(sketch.name, sketch.caption, canvas.png(sketch.draw), canvas.svg(sketch.draw))
        for sketch in sketches(connection, results)
    )


def sketches(connection: Connection, results: Results) -> tuple[Sketch, ...]:
    """The same, each to be drawn by whoever needs it."""
    return (
        *_searches(results),
        *_learning(connection, results),
        *_errors(connection, results),
        *_networks(results),
    )


def _searches(results: Results) -> Iterator[Sketch]:
    for found in (plot(results), cost_plot(results)):
        if found is not None:
            yield Sketch(found.name, found.caption, partial(drawing.figure, found))
    plane = heatmaps.plane(results)
    if plane is not None:
        name = f"{results.metric.key}_over_{plane.names[0]}_and_{plane.names[1]}"
        caption, warning = heatmaps.caption(plane), warning_of(results)
        yield Sketch(name, caption, lambda: heatmaps.draw(plane, warning))


def _learning(connection: Connection, results: Results) -> Iterator[Sketch]:
    found = curves.curves(connection, results)
    if found:
        caption, warning = curves.caption(results, found), warning_of(results)
        yield Sketch("learning_curves", caption, lambda: curves.draw(found, warning))


def _errors(connection: Connection, results: Results) -> Iterator[Sketch]:
    errors = confusions.found_errors(connection, results)
    if not isinstance(errors, confusions.Errors):
        return
    seeds, warning = len(errors.predicted), warning_of(results)
    caption = (
        f"Confusions on the test set, images per run, mean over {seeds} seeds: rows are true digits; "
        "the right answers on the diagonal have no colour."
    )
    yield Sketch(
        "confusion_matrix", caption, lambda: confusions.draw_matrix(errors, warning), confirmed=True
    )
    if errors.misses.any():
        caption = (
            "The test digits that most seeds get wrong: true digit → most frequent wrong answer, and "
            f"how many of the {seeds} seeds err; red where all do."
        )
        yield Sketch(
            "misclassified",
            caption,
            lambda: confusions.draw_misses(errors, warning),
            confirmed=True,
        )


def _networks(results: Results) -> Iterator[Sketch]:
    shown = set()
    for _, entry in named(results):
        if (network := entry.network).layers not in shown:
            shown.add(network.layers)
            caption = diagrams.caption(network, described(results, entry))
            name = f"network_trial_{entry.trial.trial_number}"
            yield Sketch(name, caption, partial(diagrams.draw, network))

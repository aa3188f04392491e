"""All pictures of a study, in the order in which they are read.

Which ones there are is known without matplotlib and without an epoch or an image: each is read and drawn
when somebody wants it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection

from mnist_tune.reports import canvas, confusions, heatmaps
from mnist_tune.reports.configurations import Configuration
from mnist_tune.reports.document import named
from mnist_tune.reports.figures import Plot, cost_plot, plot, warning_of
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
    """A picture that is neither read nor drawn yet.

    Attributes:
        name: as of an illustration.
        read: caption, and what makes the figure; None where what it shows is not at hand.
        confirmed: whether it is about the confirmed configuration alone.
    """

    name: str
    read: Callable[[], tuple[str, canvas.Draw] | None]
    confirmed: bool = False


def illustrations(connection: Connection, results: Results) -> tuple[Illustration, ...]:
    """Draw all there is to see of a study: the same database gives the same bytes.

    What needs the test images is left out where they are not at hand.
    """
    return tuple(
        Illustration(sketch.name, caption, canvas.png(draw), canvas.svg(draw))
        for sketch in sketches(connection, results)
        if (found := sketch.read()) is not None
        for caption, draw in (found,)
    )


def sketches(connection: Connection, results: Results) -> tuple[Sketch, ...]:
    """The same, each to be drawn by whoever needs it while the connection is open."""
    return (
        *_searches(results),
        *_learning(connection, results),
        *_errors(connection, results),
        *_networks(results),
    )


def _searches(results: Results) -> Iterator[Sketch]:
    for found in (plot(results), cost_plot(results)):
        if found is not None:
            yield Sketch(found.name, partial(_figure, found))
    plane = heatmaps.plane(results)
    if plane is not None:
        name = f"{results.metric.key}_over_{plane.names[0]}_and_{plane.names[1]}"
        draw = partial(heatmaps.draw, plane, warning_of(results))
        yield Sketch(name, lambda: (heatmaps.caption(plane), draw))


def _figure(found: Plot) -> tuple[str, canvas.Draw]:
    from mnist_tune.reports import drawing

    return found.caption, partial(drawing.figure, found)


def _learning(connection: Connection, results: Results) -> Iterator[Sketch]:
    def read() -> tuple[str, canvas.Draw] | None:
        from mnist_tune.reports import curves

        found = curves.curves(connection, results)
        if not found:
            return None
        return curves.caption(results, found), partial(curves.draw, found, warning_of(results))

    if any(entry.complete for entry in results.configurations):
        yield Sketch("learning_curves", read)


def _errors(connection: Connection, results: Results) -> Iterator[Sketch]:
    def read() -> confusions.Errors | None:
        errors = confusions.found_errors(connection, results)
        return errors if isinstance(errors, confusions.Errors) else None

    def matrix() -> tuple[str, canvas.Draw] | None:
        if (errors := read()) is None:
            return None
        caption = (
            f"Confusions on the test set, images per run, mean over {len(errors.predicted)} seeds: rows "
            "are true digits; the right answers on the diagonal have no colour."
        )
        return caption, partial(confusions.draw_matrix, errors, warning_of(results))

    def misses() -> tuple[str, canvas.Draw] | None:
        if (errors := read()) is None or not errors.misses.any():
            return None
        caption = (
            "The test digits that most seeds get wrong: true digit → most frequent wrong answer, and "
            f"how many of the {len(errors.predicted)} seeds err; red where all do."
        )
        return caption, partial(confusions.draw_misses, errors, warning_of(results))

    if results.latest is None or not confusions.has_predictions(connection, results):
        return
    yield Sketch("confusion_matrix", matrix, confirmed=True)
    if min(results.latest.accuracies.values()) < 1:
        yield Sketch("misclassified", misses, confirmed=True)


def _networks(results: Results) -> Iterator[Sketch]:
    shown = set()
    for _, entry in named(results):
        if entry.network.layers not in shown:
            shown.add(entry.network.layers)
            name = f"network_trial_{entry.trial.trial_number}"
            yield Sketch(name, partial(_diagram, results, entry))


def _diagram(results: Results, entry: Configuration) -> tuple[str, canvas.Draw]:
    from mnist_tune.reports import diagrams

    caption = diagrams.caption(entry.network, described(results, entry))
    return caption, partial(diagrams.draw, entry.network)

"""Where confirmed classifiers err on the test set: confusions, and the images that most seeds miss."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, exists, select

from mnist_tune.data.sources import DATA_VARIABLE, Source, load_dataset, load_source
from mnist_tune.data.splits import Part, final
from mnist_tune.errors import DataError
from mnist_tune.metrics import ACCURACY
from mnist_tune.networks import CLASSES
from mnist_tune.reports import canvas
from mnist_tune.reports.canvas import VERMILION
from mnist_tune.reports.results import Results
from mnist_tune.reports.views import Column, View
from mnist_tune.storage import statements, tables
from mnist_tune.storage.records import PredictionRow

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_IMAGES = 40
_COLUMNS = 10


@dataclass(frozen=True, slots=True, eq=False)
class Errors:
    """Predictions of all seeds of one confirmation beside the truth.

    Attributes:
        labels: uint8 [images], the true digits.
        images: uint8 [images, 28, 28].
        predicted: uint8 [seeds, images].
    """

    labels: NDArray[np.uint8]
    images: NDArray[np.uint8]
    predicted: NDArray[np.uint8]

    @property
    def matrix(self) -> NDArray[np.float64]:
        """[true digit, predicted digit]: number of test images, mean over seeds."""
        cells = self.labels.astype(int) * CLASSES + self.predicted
        counts = np.bincount(cells.ravel(), minlength=CLASSES**2)
        matrix: NDArray[np.float64] = counts.reshape(CLASSES, CLASSES) / len(self.predicted)
        return matrix

    @property
    def misses(self) -> NDArray[np.int64]:
        """For each image the number of seeds that get it wrong."""
        missed: NDArray[np.int64] = (self.predicted != self.labels).sum(axis=0)
        return missed

    def hardest(self, most: int = MOST_IMAGES) -> list[Miss]:
        """The images that most seeds get wrong, of equals the first."""
        misses = self.misses
        order = np.lexsort((np.arange(len(misses)), -misses))[:most]
        return [self._miss(int(i)) for i in order if misses[i]]

    def _miss(self, image: int) -> Miss:
        wrong = self.predicted[:, image][self.predicted[:, image] != self.labels[image]]
        answer = int(np.bincount(wrong, minlength=CLASSES).argmax())
        return Miss(image, int(self.labels[image]), answer, len(wrong))


@dataclass(frozen=True, slots=True)
class Miss:
    """An image that some seeds get wrong.

    Attributes:
        image: position in the test set, 0 for the first.
        digit: the true one.
        answer: the most frequent wrong one.
        seeds: how many get it wrong.
    """

    image: int
    digit: int
    answer: int
    seeds: int


def has_predictions(connection: Connection, results: Results) -> bool:
    """Whether it is stored what the latest confirmation predicted; no image is looked for."""
    own = _confirmed(results)
    return own is not None and bool(connection.execute(select(exists().where(own))).scalar())


def read_errors(connection: Connection, results: Results) -> Errors | None:
    """Read what the latest confirmation predicted; None where nothing is stored or comparable.

    Raises:
        DataError: the images are not at hand any more.
    """
    own = _confirmed(results)
    if own is None:
        return None
    rows = statements.find(connection, PredictionRow, tables.predictions, where=own)
    if not rows:
        return None
    part = test_part(connection, results.provenance.uid)
    if any(len(row.classes) != len(part) for row in rows):
        return None
    predicted = np.stack([np.frombuffer(row.classes, np.uint8) for row in rows])
    return Errors(part.labels, part.images, predicted)


def _confirmed(results: Results) -> ColumnElement[bool] | None:
    """Which predictions are those of the latest confirmation; None where there can be none."""
    latest = results.latest
    if latest is None or not latest.confirmation or results.metric is not ACCURACY:
        return None
    table = tables.predictions.c
    return (table.study_uid == results.provenance.uid) & (table.confirmation == latest.confirmation)


def found_errors(connection: Connection, results: Results) -> Errors | str | None:
    """The same, or in words that the images are not at hand; where they lay is not told."""
    try:
        return read_errors(connection, results)
    except DataError:
        return (
            "The test images are not at hand, so that nothing can be said of single digits: set "
            f"{DATA_VARIABLE} to a folder with the images that this study was made with "
            f"(sha256 {results.provenance.data.sha256[:12]}…)."
        )


def test_part(connection: Connection, uid: str) -> Part:
    """The test images of a study, from where it found them, else from where the data is now.

    Raises:
        DataError: they are nowhere, or have changed.
    """
    statement = select(tables.studies.c.data).where(tables.studies.c.uid == uid)
    return _test_part(connection.execute(statement).scalar_one())


@lru_cache(maxsize=1)  # all pictures and tables of a report ask for the same images
def _test_part(stored: str) -> Part:
    source = Source.from_json(json.loads(stored))
    try:
        return final(load_source(source))[1]
    except DataError:
        # The database may have come from another machine.
        here = load_dataset(download=False)
        if here.source.sha256 != source.sha256:
            raise
        return final(here)[1]


def sentences(errors: Errors) -> tuple[str, ...]:
    """The most frequent confusions and the images that defeat all seeds, in words."""
    matrix = errors.matrix.copy()
    np.fill_diagonal(matrix, 0)
    order = np.argsort(-matrix, axis=None, kind="stable")[:3]
    pairs = [divmod(int(cell), CLASSES) for cell in order if matrix.flat[cell] > 0]
    frequent = ", ".join(f"{a} taken for {b} ({matrix[a, b]:.1f} images)" for a, b in pairs)
    seeds, misses = len(errors.predicted), errors.misses
    everyone = int((misses == seeds).sum())
    some = int((misses > 0).sum())
    per_seed = misses.sum() / seeds
    defeats = "image defeats" if everyone == 1 else "images defeat"
    lost = (
        f"A run gets {per_seed:.1f} of {len(misses):,} test images wrong; {everyone} {defeats} "
        f"all {seeds} seeds, {some} at least one."
    )
    return lost, f"Most frequent, mean over seeds: {frequent or 'no confusion at all'}."


def matrix_records(errors: Errors) -> list[dict[str, float]]:
    """One record for each pair of true and predicted digit."""
    matrix = errors.matrix
    return [
        {"digit": row, "predicted": column, "images_per_run": float(matrix[row, column])}
        for row in range(CLASSES)
        for column in range(CLASSES)
    ]


def miss_records(errors: Errors) -> list[dict[str, int]]:
    """One record for each test image that any seed gets wrong, the hardest first."""
    return [asdict(miss) for miss in errors.hardest(len(errors.labels))]


def matrix_view(errors: Errors) -> View:
    """One row for each true digit: images per run, one decimal, by predicted digit."""
    matrix = errors.matrix
    digits = [Column("true digit", tuple(map(str, range(CLASSES))))]
    predicted = [
        Column(str(digit), tuple(f"{count:.1f}" for count in matrix[:, digit]))
        for digit in range(CLASSES)
    ]
    return View((*digits, *predicted))


def misses_view(errors: Errors) -> View:
    """The hardest images, at most as many as are drawn."""
    hardest, seeds = errors.hardest(), len(errors.predicted)
    return View(
        (
            Column("test image", tuple(str(miss.image) for miss in hardest)),
            Column("true digit", tuple(str(miss.digit) for miss in hardest)),
            Column("most frequent wrong answer", tuple(str(miss.answer) for miss in hardest)),
            Column("seeds that err", tuple(f"{miss.seeds} of {seeds}" for miss in hardest)),
        )
    )


def draw_matrix(errors: Errors, warning: str = "") -> Figure:
    """Rows are true digits; the right answers on the diagonal have no colour."""
    matrix = errors.matrix
    wrong = matrix.copy()
    np.fill_diagonal(wrong, np.nan)
    figure = canvas.blank(canvas.COLUMN_INCHES, 3.3)
    axes = figure.subplots()
    shown = axes.imshow(wrong, cmap="OrRd", vmin=0)
    for row in range(CLASSES):
        for column in range(CLASSES):
            value = matrix[row, column]
            text = f"{value:.0f}" if row == column else f"{value:.1f}" if value else ""
            dark = row != column and value > 0.6 * np.nanmax(wrong)
            axes.text(
                column,
                row,
                text,
                ha="center",
                va="center",
                fontsize=5,
                color="white" if dark else "black",
            )
    axes.set_xticks(range(CLASSES))
    axes.set_yticks(range(CLASSES))
    axes.set_xlabel("Predicted digit")
    axes.set_ylabel("True digit")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    bar = figure.colorbar(shown, ax=axes, shrink=0.8, pad=0.02)
    bar.set_label("Wrong, images per run")
    canvas.warn(figure, warning)
    return figure


def draw_misses(errors: Errors, warning: str = "") -> Figure:
    """A sheet of the hardest images: true digit, most frequent wrong answer, how many seeds err."""
    hardest, seeds = errors.hardest(), len(errors.predicted)
    rows = -(-len(hardest) // _COLUMNS) or 1
    figure = canvas.blank(2 * canvas.COLUMN_INCHES, 0.95 * rows)
    for axes in figure.subplots(rows, _COLUMNS, squeeze=False).flat:
        axes.set_axis_off()
    for axes, miss in zip(figure.axes, hardest, strict=False):
        axes.imshow(errors.images[miss.image], cmap="gray_r", vmin=0, vmax=255)
        every = miss.seeds == seeds
        axes.set_title(
            f"{miss.digit} → {miss.answer}  {miss.seeds}/{seeds}",
            fontsize=6,
            pad=2,
            color=VERMILION if every else "black",
        )
    canvas.warn(figure, warning)
    return figure

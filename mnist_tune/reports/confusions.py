"""Where confirmed classifiers err on the test set: confusions, and the images that most seeds miss."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, exists, select

from mnist_tune.data.sources import DATA_VARIABLE, Part, Source, load_dataset, load_source
from mnist_tune.errors import DataError
from mnist_tune.metrics import ACCURACY
from mnist_tune.networks import CLASSES
from mnist_tune.reports import figures
from mnist_tune.reports.columns import Column, Table, reader_column
from mnist_tune.reports.results import StudyResults
from mnist_tune.storage.records import PredictionRow, StudyRow
from mnist_tune.storage.schema import TABLES
from mnist_tune.storage.store import read_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

MOST_IMAGES = 40
_COLUMNS = 10


@dataclass(frozen=True, slots=True, eq=False)
class PredictionErrors:
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

    def hardest(self, most: int = MOST_IMAGES) -> list[MissedImage]:
        """The images that most seeds get wrong, of equals the first."""
        misses = self.misses
        order = np.lexsort((np.arange(len(misses)), -misses))[:most]
        return [self._missed(int(image)) for image in order if misses[image]]

    def _missed(self, image: int) -> MissedImage:
        wrong = self.predicted[:, image][self.predicted[:, image] != self.labels[image]]
        answer = int(np.bincount(wrong, minlength=CLASSES).argmax())
        return MissedImage(image, int(self.labels[image]), answer, len(wrong))


@dataclass(frozen=True, slots=True)
class MissedImage:
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


def has_predictions(connection: Connection, results: StudyResults) -> bool:
    """Whether it is stored what the latest confirmation predicted; no image is looked for."""
    own = _of_latest(results)
    if own is None:
        return False
    table = TABLES[PredictionRow]
    stored = exists(table).where(*(table.c[name] == value for name, value in own.items()))
    return bool(connection.execute(select(stored)).scalar())


def found_errors(connection: Connection, results: StudyResults) -> PredictionErrors | str | None:
    """Read what the latest confirmation predicted, or say in words that the images are not at hand.

    None where nothing is stored or comparable. Where the images lay is left out.
    """
    own = _of_latest(results)
    rows = () if own is None else read_rows(connection, PredictionRow, **own)
    if not rows:
        return None
    try:
        part = stored_test_part(connection, results.provenance.uid)
    except DataError:
        return (
            "The test images are not at hand, so that nothing can be said of single digits: set "
            f"{DATA_VARIABLE} to a folder with the images that this study was made with "
            f"(sha256 {results.provenance.data.sha256[:12]}…)."
        )
    if any(len(row.classes) != len(part) for row in rows):
        return None
    predicted = np.stack([np.frombuffer(row.classes, np.uint8) for row in rows])
    return PredictionErrors(part.labels, part.images, predicted)


def _of_latest(results: StudyResults) -> dict[str, Any] | None:
    """Which predictions are those of the latest confirmation; None where there can be none."""
    latest = results.latest
    if latest is None or not latest.confirmation or results.metric is not ACCURACY:
        return None
    return {"study_uid": results.provenance.uid, "confirmation": latest.confirmation}


def stored_test_part(connection: Connection, uid: str) -> Part:
    """The test images of a study, from where it found them, else from where the data is now.

    Raises:
        DataError: they are nowhere, or have changed.
    """
    statement = select(TABLES[StudyRow].c.data).where(TABLES[StudyRow].c.uid == uid)
    return _test_part(connection.execute(statement).scalar_one())


@lru_cache(maxsize=1)  # all figures and tables of a report ask for the same images
def _test_part(stored: str) -> Part:
    source = Source.from_json(json.loads(stored))
    try:
        return load_source(source).test
    except DataError:
        # The database may have come from another machine.
        here = load_dataset(download=False)
        if here.source.sha256 != source.sha256:
            raise
        return here.test


def error_sentences(errors: PredictionErrors) -> tuple[str, ...]:
    """The most frequent confusions and the images that defeat all seeds, in words."""
    matrix = errors.matrix.copy()
    np.fill_diagonal(matrix, 0)
    order = np.argsort(-matrix, axis=None, kind="stable")[:3]
    pairs = [divmod(int(cell), CLASSES) for cell in order if matrix.flat[cell] > 0]
    frequent = ", ".join(f"{a} taken for {b} ({matrix[a, b]:.1f} images)" for a, b in pairs)
    seeds, misses = len(errors.predicted), errors.misses
    everyone, some = int((misses == seeds).sum()), int((misses > 0).sum())
    defeats = "image defeats" if everyone == 1 else "images defeat"
    return (
        (
            f"A run gets {misses.sum() / seeds:.1f} of {len(misses):,} test images wrong; {everyone} "
            f"{defeats} all {seeds} seeds, {some} at least one."
        ),
        f"Most frequent, mean over seeds: {frequent or 'no confusion at all'}.",
    )


def confusion_table(errors: PredictionErrors) -> Table:
    """One row for each pair of true and predicted digit; readers get a matrix."""
    matrix, digits = errors.matrix, range(CLASSES)
    pairs = (
        Column("digit", "0", "int64"),
        Column("predicted", "1", "int64"),
        Column("images_per_run", lambda pair: float(matrix[pair])),
    )
    readable = [reader_column("true digit", lambda row: row[0])]
    readable += [reader_column(str(i), f"1.{i}", "{:.1f}".format) for i in digits]
    return Table(
        "confusion",
        [(row, column) for row in digits for column in digits],
        pairs,
        for_readers=Table("confusion", list(enumerate(matrix)), readable),
    )


def misclassified_table(errors: PredictionErrors) -> Table:
    """The test images that any seed gets wrong, the hardest first; readers get those that are drawn."""

    def share(seeds: int) -> str:
        return f"{seeds} of {len(errors.predicted)}"

    columns = (
        Column("image", "", "int64", "test image"),
        Column("digit", "", "int64", "true digit"),
        Column("answer", "", "int64", "most frequent wrong answer"),
        Column("seeds", "", "int64", "seeds that err", share),
    )
    readable = Table("misclassified", errors.hardest(), columns)
    return Table("misclassified", errors.hardest(len(errors.labels)), columns, for_readers=readable)


def draw_confusions(errors: PredictionErrors) -> Drawing:
    """Rows are true digits; the right answers on the diagonal have no colour."""
    matrix = errors.matrix
    wrong = matrix.copy()
    np.fill_diagonal(wrong, np.nan)
    drawing = figures.blank(figures.COLUMN_INCHES, 3.3)
    axes = drawing.subplots()
    colours = axes.imshow(wrong, cmap="OrRd", vmin=0)
    for (row, column), value in np.ndenumerate(matrix):
        text = f"{value:.0f}" if row == column else f"{value:.1f}" if value else ""
        dark = row != column and value > 0.6 * np.nanmax(wrong)
        colour = "white" if dark else "black"
        axes.text(column, row, text, ha="center", va="center", fontsize=5, color=colour)
    axes.set_xticks(range(CLASSES))
    axes.set_yticks(range(CLASSES))
    axes.set_xlabel("Predicted digit")
    axes.set_ylabel("True digit")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    bar = drawing.colorbar(colours, ax=axes, shrink=0.8, pad=0.02)
    bar.set_label("Wrong, images per run")
    return drawing


def draw_misclassified(errors: PredictionErrors) -> Drawing:
    """A sheet of the hardest images: true digit, most frequent wrong answer, how many seeds err."""
    hardest, seeds = errors.hardest(), len(errors.predicted)
    rows = -(-len(hardest) // _COLUMNS) or 1
    drawing = figures.blank(figures.PAGE_INCHES, 0.95 * rows + 0.2)
    for axes in drawing.subplots(rows, _COLUMNS, squeeze=False).flat:
        axes.set_axis_off()
    for axes, missed in zip(drawing.axes, hardest, strict=False):
        axes.imshow(errors.images[missed.image], cmap="gray_r", vmin=0, vmax=255)
        title = f"{missed.digit} → {missed.answer}  {missed.seeds}/{seeds}"
        colour = figures.VERMILION if missed.seeds == seeds else "black"
        axes.set_title(title, fontsize=6, pad=2, color=colour)
    words = f"true digit → most frequent wrong answer, seeds of {seeds} that err; red where all do"
    drawing.supxlabel(words, fontsize=6)
    return drawing

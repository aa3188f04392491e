"""A picture of a few digits, to see with one's own eyes what was loaded."""

from __future__ import annotations

import io
import textwrap
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from mnist_tune.data.idx import Bytes
from mnist_tune.data.sources import Dataset
from mnist_tune.errors import InputError
from mnist_tune.files import write_atomically

_CLASSES = 10
_TITLE_COLUMNS = 100


def digits_png(dataset: Dataset, path: Path, *, rows: int = 4) -> None:
    """Write a PNG with one column for each class, of the first training images.

    Args:
        dataset: whose digits to show.
        path: the file to write; it is replaced.
        rows: images of each class.

    Raises:
        InputError: `path` cannot be written.
    """
    sheet = contact_sheet(dataset.train_images, dataset.train_labels, rows)
    picture = io.BytesIO()
    # No version of matplotlib inside: same data, same bytes.
    _figure(sheet, dataset).savefig(picture, format="png", metadata={"Software": None})
    try:
        write_atomically(path, picture.getvalue())
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}): choose another") from error


def contact_sheet(images: Bytes, labels: Bytes, rows: int) -> Bytes:
    """Put the first `rows` images of each class below each other: uint8 [rows*28, 280]."""
    sheet = np.zeros((rows, 28, _CLASSES, 28), np.uint8)
    for digit in range(_CLASSES):
        shown = images[np.flatnonzero(labels == digit)[:rows]]
        sheet[: len(shown), :, digit] = shown
    return sheet.reshape(rows * 28, _CLASSES * 28)


def _figure(sheet: Bytes, dataset: Dataset) -> Figure:
    rows = sheet.shape[0] // 28
    figure = Figure(figsize=(8, 1.2 + 0.8 * rows), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(sheet, cmap="gray_r", interpolation="nearest")
    axes.set_xticks(np.arange(_CLASSES) * 28 + 13.5, [str(digit) for digit in range(_CLASSES)])
    axes.set_yticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    title = textwrap.fill(dataset.source.describe(), _TITLE_COLUMNS)
    axes.set_title(title, fontsize=9, parse_math=False)  # a path may hold dollar signs
    return figure

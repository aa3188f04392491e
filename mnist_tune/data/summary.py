"""What `mnist-tune data` shows: size and checksum of the four arrays, and a picture of a few digits."""

from __future__ import annotations

import io
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mnist_tune.data import embedded, idx
from mnist_tune.data.idx import Bytes
from mnist_tune.data.mnist import MNIST, Edition, combined
from mnist_tune.data.sources import Dataset
from mnist_tune.errors import InputError
from mnist_tune.files import write_atomically

if TYPE_CHECKING:  # a second to import, which only the picture needs
    from matplotlib.figure import Figure

_CLASSES = 10
_TITLE_COLUMNS = 100


def parts_of(dataset: Dataset, *, edition: Edition = MNIST) -> list[dict[str, Any]]:
    """Training images and labels, test images and labels, each as JSON values.

    All digests are computed again from the arrays; `verified` says what they were found equal to.
    """
    digests = [idx.digest(array) for array in dataset.arrays]
    embedded_digits = combined(digests) == embedded.SHA256
    return [
        {
            "name": file.part,
            "size": len(array),
            "shape": list(array.shape),
            "sha256": digest,
            "verified": _verified(digest == file.sha256, embedded_digits),
        }
        for file, array, digest in zip(edition.files, dataset.arrays, digests, strict=True)
    ]


def _verified(published: bool, embedded_digits: bool) -> str:
    if published:
        return "published file"
    return "known embedded digits" if embedded_digits else "no"


def write_picture(dataset: Dataset, path: Path, *, rows: int = 4) -> None:
    """Write a PNG with one column for each class, of the first training images.

    Args:
        dataset: whose digits to show.
        path: the file to write; it is replaced.
        rows: images of each class.

    Raises:
        InputError: `path` cannot be written.
    """
    sheet = contact_sheet(dataset.train.images, dataset.train.labels, rows)
    picture = io.BytesIO()
    # No version of matplotlib inside: same data, same bytes.
    _figure(sheet, dataset.source.describe()).savefig(
        picture, format="png", metadata={"Software": None}
    )
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


def _figure(sheet: Bytes, title: str) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.2 + 0.8 * len(sheet) / 28), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(sheet, cmap="gray_r", interpolation="nearest")
    axes.set_xticks(np.arange(_CLASSES) * 28 + 13.5, [str(digit) for digit in range(_CLASSES)])
    axes.set_yticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    # A path may hold dollar signs.
    axes.set_title(textwrap.fill(title, _TITLE_COLUMNS), fontsize=9, parse_math=False)
    return figure

"""Figures of rows of digits, each row with its name on the left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnist_tune.noise import unit
from mnist_tune.reports.figures import PAGE_INCHES, WARNING_INCHES, Figure, figure_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

ImageRow = tuple[str, NDArray[Any]]
"""Its name, and images [n, 28, 28] of bytes or of 0–1; those that do not fit in a line go on below."""

_MOST_CELL_INCHES = 0.6
_LETTER_INCHES = 0.052
_TITLE_INCHES = 0.16
_GAP_INCHES = 0.06
_MARGIN_INCHES = 0.04
_CELL = 30  # pixels: an image with a white margin


def image_rows(
    name: str,
    caption: str,
    rows: Sequence[ImageRow],
    columns: int,
    warning: str,
    titles: Sequence[str] = (),
) -> Figure:
    """Rows of digits from the top on.

    Args:
        name: of its files.
        caption: one or two sentences.
        rows: from the top on.
        columns: of images.
        warning: written into the figure; empty for a plain result.
        titles: of the names, and of each column.
    """
    lines_of_names = [line for name, _ in rows for line in name.splitlines()]
    left = 0.15 + _LETTER_INCHES * max(map(len, [*lines_of_names, *titles[:1]]))
    cell = min(_MOST_CELL_INCHES, (PAGE_INCHES - left - 0.05) / columns)
    strips = [(label, _strip(images, columns)) for label, images in rows]
    lines = sum(len(strip) for _, strip in strips) // _CELL
    top = _MARGIN_INCHES + WARNING_INCHES * bool(warning) + _TITLE_INCHES * bool(titles)
    height = top + lines * cell + len(rows) * _GAP_INCHES + _MARGIN_INCHES
    size = (left + columns * cell + 0.05, height)
    return figure_of(
        name,
        caption,
        size,
        warning,
        lambda drawing: _draw(drawing, strips, titles, cell, left, top),
    )


def _strip(images: NDArray[Any], columns: int) -> NDArray[np.float64]:
    """Images side by side, [lines * 30, columns * 30]; white where there are no more."""
    lines = -(-len(images) // columns)
    strip = np.zeros((lines, _CELL, columns, _CELL))
    for place, image in enumerate(unit(images)):
        strip[place // columns, 1:-1, place % columns, 1:-1] = image
    return strip.reshape(lines * _CELL, columns * _CELL)


def _draw(
    drawing: Drawing,
    strips: Sequence[tuple[str, NDArray[Any]]],
    titles: Sequence[str],
    cell: float,
    left: float,
    top: float,
) -> None:
    """By hand: a layout engine would cost seconds, and give rows of one line other sizes."""
    drawing.set_layout_engine("none")
    width, height = drawing.get_size_inches()
    look: dict[str, Any] = {"fontsize": min(6.5, 72 * cell), "verticalalignment": "center"}
    for place, title in enumerate(titles):
        above = 1 - (top - _TITLE_INCHES / 2) / height
        middle = (left + (place - 0.5) * cell) / width if place else (left - 0.08) / width
        align = "center" if place else "right"
        drawing.text(middle, above, title, horizontalalignment=align, **look)
    for label, strip in strips:
        tall, wide = (cell * pixels / _CELL for pixels in strip.shape)
        bottom = 1 - (top + tall) / height
        axes = drawing.add_axes((left / width, bottom, wide / width, tall / height))
        axes.imshow(strip, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
        axes.set_axis_off()
        middle = bottom + tall / height / 2
        drawing.text((left - 0.08) / width, middle, label, horizontalalignment="right", **look)
        top += tall + _GAP_INCHES

"""Draws the figures of `generate`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from mnist_tune.data.idx import Bytes
from mnist_tune.generation.recognition import Recognised, Share
from mnist_tune.reports.figures import (
    BLUE,
    COLUMN_INCHES,
    GREY,
    PAGE_INCHES,
    VERMILION,
    WARNING_INCHES,
    Figure,
    figure_of,
    legend_below,
)

COLUMNS = 20
_LABEL_INCHES = 1.05
_CELL_INCHES = (PAGE_INCHES - _LABEL_INCHES - 0.05) / COLUMNS
_GAP_INCHES = 0.06
_MARGIN = 0.04


def sheet(groups: Sequence[Recognised], paths: Sequence[tuple[str, Bytes]], warning: str) -> Figure:
    """Two rows of digits for each way, and one for each path.

    Args:
        groups: each with its images; the first of them are shown, whatever the classifier says.
        paths: a name, and images uint8 [COLUMNS, 28, 28] on the way from one digit to another.
        warning: written into the figure; empty for a plain result.
    """
    rows = [(_wrapped(group.way), _strip(group.images, 2)) for group in groups]
    rows += [(_wrapped(name), _strip(images, 1)) for name, images in paths]
    height = sum(strip.shape[0] // 28 * _CELL_INCHES + _GAP_INCHES for _, strip in rows)
    return figure_of(
        "digits",
        "Synthetic digits: each row holds the first ones of one way, not a choice; last rows: from "
        "one training digit to another.",
        (PAGE_INCHES, height + 2 * _MARGIN + WARNING_INCHES * bool(warning)),
        warning,
        lambda drawing: _draw_sheet(drawing, rows, warning),
    )


def shares(groups: Sequence[Recognised], warning: str) -> Figure:
    """Share of each way that is recognised with confidence."""
    confidence = groups[0].confidence
    return figure_of(
        "recognised",
        f"Share of digits that the classifier recognises with a probability of at least "
        f"{confidence:g}, as whatever digit and as the intended one, with 95 % intervals (Wilson).",
        (COLUMN_INCHES, 0.75 + 0.2 * len(groups)),
        warning,
        lambda drawing: _draw_shares(drawing, groups),
    )


def _strip(images: Bytes, rows: int) -> Bytes:
    """The first images side by side, [rows*28, COLUMNS*28]; white where there are no more."""
    strip = np.zeros((rows, 28, COLUMNS, 28), np.uint8)
    for place, image in enumerate(images[: rows * COLUMNS]):
        strip[place // COLUMNS, :, place % COLUMNS] = image
    return strip.reshape(rows * 28, COLUMNS * 28)


def _wrapped(way: str) -> str:
    """In two lines where it is long."""
    if len(way) <= 20:
        return way
    spaces = [i for i, letter in enumerate(way) if letter == " "]
    middle = min(spaces, key=lambda i: abs(i - len(way) / 2), default=0)
    return f"{way[:middle]}\n{way[middle + 1 :]}" if middle else way


def _draw_sheet(drawing: Drawing, rows: Sequence[tuple[str, Bytes]], warning: str) -> None:
    """Rows from the top on. By hand: a layout engine would give rows of one image other sizes."""
    drawing.set_layout_engine("none")
    width, height = drawing.get_size_inches()
    top = height - _MARGIN - WARNING_INCHES * bool(warning)
    for label, strip in rows:
        tall = strip.shape[0] // 28 * _CELL_INCHES
        left, bottom = _LABEL_INCHES / width, (top - tall) / height
        axes = drawing.add_axes((left, bottom, COLUMNS * _CELL_INCHES / width, tall / height))
        axes.imshow(strip, cmap="gray_r", vmin=0, vmax=255, interpolation="nearest", aspect="auto")
        axes.set_axis_off()
        drawing.text(
            left - 0.08 / width,
            bottom + tall / height / 2,
            label,
            horizontalalignment="right",
            verticalalignment="center",
            fontsize=6.5,
        )
        top -= tall + _GAP_INCHES


def _draw_shares(drawing: Drawing, groups: Sequence[Recognised]) -> None:
    axes = drawing.subplots()
    for place, group in enumerate(reversed(groups)):
        synthetic = group.codes is not None
        _draw_share(axes, place + 0.14, group.recognised, BLUE if synthetic else GREY, "o")
        if group.as_intended is not None:
            _draw_share(axes, place - 0.14, group.as_intended, VERMILION, "D")
    axes.set_yticks(range(len(groups)), [group.way for group in reversed(groups)])
    axes.set_xlabel("Recognised with confidence (%)")
    axes.set_xlim(right=101.5)
    axes.grid(axis="x", linewidth=0.3, color=GREY, alpha=0.4)
    axes.tick_params(axis="y", length=0)
    axes.plot([], [], "o", color=BLUE, markersize=3, label="as any digit")
    axes.plot([], [], "o", color=GREY, markersize=3, label="real, as any digit")
    axes.plot([], [], "D", color=VERMILION, markersize=3, label="as the intended one")
    legend_below(drawing, axes, 3, handletextpad=0.2, columnspacing=1.0)


def _draw_share(axes: Axes, place: float, share: Share, colour: str, marker: str) -> None:
    value, interval = 100 * share.value, share.interval
    half = [[value - 100 * interval.low], [100 * interval.high - value]]
    axes.errorbar(
        [value],
        [place],
        xerr=np.maximum(half, 0),
        fmt=marker,
        color=colour,
        markersize=3,
        linewidth=0.9,
        capsize=1.5,
    )

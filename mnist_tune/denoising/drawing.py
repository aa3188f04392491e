"""Draws the figures of `denoise`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from numpy.typing import NDArray

from mnist_tune.denoising.gains import HelpfulRange
from mnist_tune.denoising.measuring import Measured, Treatment
from mnist_tune.denoising.tables import std, true_positive_rates
from mnist_tune.networks import CLASSES
from mnist_tune.noise import unit
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

_TITLE_INCHES = 0.16
_CELL = 30  # pixels: an image with a white margin

_LOOK: dict[Treatment, dict[str, Any]] = {
    "noisy": {"color": GREY, "marker": "s", "linestyle": ":"},
    "denoised": {"color": BLUE, "marker": "o", "linestyle": "-"},
    "median filter": {"color": VERMILION, "marker": "^", "linestyle": "--"},
}

_LINE: dict[str, Any] = {"markersize": 2.8, "linewidth": 1.0}
_LEGEND = {"columnspacing": 1.2, "handletextpad": 0.5}


def noise_figures(
    measured: Measured, helped: Sequence[HelpfulRange], warning: str
) -> tuple[Figure, ...]:
    """The curves, in reading order."""
    band = " Bands: standard deviation over autoencoders." if len(measured.seeds) > 1 else ""
    return (
        figure_of(
            "accuracy_against_noise",
            "Share of test digits that the classifier recognises, against the level of the noise."
            f"{band} Shaded: 95 % intervals of the levels where denoising starts and stops helping.",
            (COLUMN_INCHES, 2.7),
            warning,
            lambda drawing: _draw_accuracy(drawing, measured, helped[0]),
        ),
        figure_of(
            "psnr_against_noise",
            "Peak signal-to-noise ratio of the test images, mean over images, against the level of "
            f"the noise; of images without noise it is infinite.{band}",
            (COLUMN_INCHES, 2.5),
            warning,
            lambda drawing: _draw_psnr(drawing, measured),
        ),
        figure_of(
            "digits_against_noise",
            f"True-positive rate of each digit against the level of the noise.{band}",
            (PAGE_INCHES, 3.4),
            warning,
            lambda drawing: _draw_digits(drawing, measured),
        ),
    )


def grid_figure(
    levels: Sequence[float],
    clean: NDArray[Any],
    noisy: NDArray[Any],
    denoised: NDArray[Any],
    warning: str,
) -> Figure:
    """A few digits at each level.

    Args:
        levels: L of the noise.
        clean: [k, 28, 28].
        noisy: [L, k, 28, 28], uint8.
        denoised: of the same shape, pixels 0–1.
        warning: written into the figure; empty for a plain result.
    """
    titles = ["original", *(f"{level:g}" for level in levels)]
    mosaic = _mosaic(clean, noisy, denoised)
    rows, columns = mosaic.shape
    width = min(PAGE_INCHES, 0.6 * len(titles))
    top = _TITLE_INCHES + WARNING_INCHES * bool(warning)
    return figure_of(
        "grid",
        "Test digits with noise (upper rows) and after denoising (lower rows), at each level of the "
        "noise; left the originals.",
        (width, width * rows / columns + _TITLE_INCHES + WARNING_INCHES * bool(warning)),
        warning,
        lambda drawing: _draw_grid(drawing, titles, mosaic, top),
    )


def _draw_accuracy(drawing: Drawing, measured: Measured, helped: HelpfulRange) -> None:
    axes = drawing.subplots()
    for treated in measured.treatments:
        _draw_line(axes, measured.levels, treated.pictures, 100 * treated.accuracies)
    for end in (helped.start, helped.stop) if helped.clear else ():
        _draw_end(axes, end.value, end.low, end.high)
    axes.axhline(10, color=GREY, linewidth=0.5, zorder=0)
    axes.annotate(
        "chance", (0, 10), xytext=(0, 2), textcoords="offset points", fontsize=6, color=GREY
    )
    axes.set_xlabel("Noise level")
    axes.set_ylabel("Digits recognised (%)")
    axes.set_ylim(0, 102)
    legend_below(drawing, axes, 3, **_LEGEND)


def _draw_end(axes: Axes, value: float, low: float, high: float) -> None:
    """Where the stretch of help ends; nothing where it does not within the levels."""
    if not math.isfinite(value):
        return
    left, right = axes.get_xlim()
    low, high = (end if math.isfinite(end) else value for end in (low, high))
    axes.axvspan(low, high, color=BLUE, alpha=0.15, linewidth=0, zorder=0)
    axes.axvline(value, color=BLUE, linewidth=0.5, zorder=0)
    axes.set_xlim(left, right)
    axes.annotate(
        f"{value:.2f}",
        (value, 1.0),
        xycoords=("data", "axes fraction"),
        horizontalalignment="center",
        verticalalignment="bottom",
        fontsize=6,
        color=BLUE,
    )


def _draw_psnr(drawing: Drawing, measured: Measured) -> None:
    axes = drawing.subplots()
    for treated in measured.treatments:
        values = np.stack([treated.psnr(i) for i in range(len(measured.levels))])
        _draw_line(axes, measured.levels, treated.pictures, values)
    axes.set_xlabel("Noise level")
    axes.set_ylabel("PSNR (dB)")
    legend_below(drawing, axes, 3, **_LEGEND)


def _draw_digits(drawing: Drawing, measured: Measured) -> None:
    panels = drawing.subplots(2, 5, sharex=True, sharey=True)
    for digit, axes in zip(range(CLASSES), panels.flat, strict=True):
        for treated in measured.treatments:
            values = 100 * true_positive_rates(treated, measured.labels, digit)
            _draw_line(axes, measured.levels, treated.pictures, values, markersize=1.8)
        axes.set_title(str(digit), fontsize=8, weight="bold", pad=2)
        axes.set_ylim(0, 102)
    # Figure-wide labels would run into the legend.
    panels[1, 2].set_xlabel("Noise level")
    for axes in panels[:, 0]:
        axes.set_ylabel("Recognised (%)")
    legend_below(drawing, panels[0, 0], 3, **_LEGEND)


def _draw_line(
    axes: Axes,
    levels: Sequence[float],
    pictures: Treatment,
    values: NDArray[np.float64],
    **changes: Any,
) -> None:
    """Means of values [L, S] with a band of one standard deviation; NaN leaves a gap."""
    means = values.mean(axis=1)
    look = {**_LOOK[pictures], **_LINE, **changes}
    axes.plot(levels, means, label=pictures, **look)
    if values.shape[1] > 1:
        half = np.array([std(row) for row in values])
        colour = look["color"]
        axes.fill_between(levels, means - half, means + half, color=colour, alpha=0.2, linewidth=0)


def _draw_grid(drawing: Drawing, titles: Sequence[str], mosaic: NDArray[Any], top: float) -> None:
    """One image with its titles above; a layout engine would only cost seconds."""
    drawing.set_layout_engine("none")
    height = drawing.get_figheight()
    axes = drawing.add_axes((0, 0, 1, 1 - top / height))
    axes.imshow(mosaic, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    axes.set_axis_off()
    for place, title in enumerate(titles):
        drawing.text(
            (place + 0.5) / len(titles),
            1 - (top - 0.04) / height,
            title,
            horizontalalignment="center",
            fontsize=6,
        )


def _mosaic(clean: NDArray[Any], noisy: NDArray[Any], denoised: NDArray[Any]) -> NDArray[Any]:
    """Two rows for each digit, the original before its noisy ones: [2·k·30, (L+1)·30] of 0–1."""
    levels, count = noisy.shape[:2]
    cells = np.zeros((count, 2, _CELL, levels + 1, _CELL))
    cells[:, 0, 1:-1, 0, 1:-1] = unit(clean)
    # [L, k, 28, 28] → [k, 28, L, 28]
    cells[:, 0, 1:-1, 1:, 1:-1] = unit(noisy).transpose(1, 2, 0, 3)
    cells[:, 1, 1:-1, 1:, 1:-1] = unit(denoised).transpose(1, 2, 0, 3)
    return cells.reshape(2 * count * _CELL, -1)

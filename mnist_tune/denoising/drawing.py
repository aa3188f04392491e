"""Figures of `denoise`: accuracy and PSNR against the noise level, and rows of digits."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from numpy.typing import NDArray

from mnist_tune.data.idx import Bytes
from mnist_tune.denoising.gains import Estimate, HelpfulRange
from mnist_tune.denoising.image_rows import image_rows
from mnist_tune.denoising.measuring import Measured, Treated, Treatment
from mnist_tune.denoising.tables import std
from mnist_tune.networks import CLASSES
from mnist_tune.noise import unit
from mnist_tune.reports.documents import caption
from mnist_tune.reports.figures import (
    BLUE,
    COLUMN_INCHES,
    GREY,
    PAGE_INCHES,
    VERMILION,
    Figure,
    figure_of,
    legend_below,
)

_LOOK: dict[Treatment, dict[str, Any]] = {
    "noisy": {"color": GREY, "marker": "s", "linestyle": ":"},
    "denoised": {"color": BLUE, "marker": "o", "linestyle": "-"},
    "median filter": {"color": VERMILION, "marker": "^", "linestyle": "--"},
}


def noise_figures(
    measured: Measured, helped: Sequence[HelpfulRange], warning: str
) -> tuple[Figure, ...]:
    """The curves, in reading order."""
    several = len(measured.seeds) > 1
    bands = " Bands: standard deviation over autoencoders." if several else ""

    def figure(name: str, width: float, height: float, fill: Callable[[Drawing], None]) -> Figure:
        return figure_of(name, caption(name, bands=bands), (width, height), warning, fill)

    return (
        figure(
            "accuracy_against_noise",
            COLUMN_INCHES,
            2.7,
            lambda drawing: _draw_accuracy(drawing, measured, helped[0]),
        ),
        figure(
            "psnr_against_noise",
            COLUMN_INCHES,
            2.5,
            lambda drawing: _draw_psnr(drawing, measured),
        ),
        figure(
            "digits_against_noise",
            PAGE_INCHES,
            3.4,
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
    rows = []
    for i, image in enumerate(clean):
        rows.append(("noisy", np.concatenate([unit(image)[np.newaxis], unit(noisy[:, i])])))
        rows.append(("denoised", np.concatenate([np.zeros((1, 28, 28)), denoised[:, i]])))
    titles = ["original", *(f"{level:g}" for level in levels)]
    return image_rows("grid", caption("grid"), rows, len(titles), warning, ["noise level", *titles])


def _draw_accuracy(drawing: Drawing, measured: Measured, helped: HelpfulRange) -> None:
    axes = drawing.subplots()
    _draw_lines(axes, measured, lambda treated: 100 * treated.accuracies)
    if helped.clear:
        _draw_end(axes, helped.start, "denoising helps from", "left", 0)
        _draw_end(axes, helped.stop, "denoising helps up to", "right", 7)
    axes.axhline(10, color=GREY, linewidth=0.5, zorder=0)
    axes.annotate(
        "chance", (0, 10), xytext=(0, 2), textcoords="offset points", fontsize=6, color=GREY
    )
    axes.set(xlabel="Noise level", ylabel="Digits recognised (%)", ylim=(0, 102))
    _legend(drawing, axes)


def _draw_end(
    axes: Axes, end: Estimate, text: str, align: Literal["left", "right"], points: float
) -> None:
    """Where the stretch of help ends; nothing where it does not within the levels."""
    if not math.isfinite(end.value):
        return
    left, right = axes.get_xlim()
    low, high = (x if math.isfinite(x) else end.value for x in (end.low, end.high))
    axes.axvspan(low, high, color=BLUE, alpha=0.15, linewidth=0, zorder=0)
    axes.axvline(end.value, color=BLUE, linewidth=0.5, zorder=0)
    axes.set_xlim(left, right)
    axes.annotate(
        f"{text} {end.value:.2f}",
        (end.value, 1.0),
        xytext=(0, 1 + points),
        textcoords="offset points",
        xycoords=("data", "axes fraction"),
        horizontalalignment=align,
        verticalalignment="bottom",
        fontsize=6,
        color=BLUE,
    )


def _draw_psnr(drawing: Drawing, measured: Measured) -> None:
    axes, levels = drawing.subplots(), range(len(measured.levels))
    _draw_lines(axes, measured, lambda treated: np.stack([treated.psnr(i) for i in levels]))
    axes.set(xlabel="Noise level", ylabel="PSNR (dB)")
    _legend(drawing, axes)


def _draw_digits(drawing: Drawing, measured: Measured) -> None:
    panels = drawing.subplots(2, 5, sharex=True, sharey=True)
    for digit, axes in zip(range(CLASSES), panels.flat, strict=True):
        rates = partial(_percent_right, labels=measured.labels, digit=digit)
        _draw_lines(axes, measured, rates, markersize=1.8)
        axes.set_title(str(digit), fontsize=8, weight="bold", pad=2)
        axes.set_ylim(0, 102)
    # Figure-wide labels would run into the legend.
    panels[1, 2].set_xlabel("Noise level")
    for axes in panels[:, 0]:
        axes.set_ylabel("Recognised (%)")
    _legend(drawing, panels[0, 0])


def _percent_right(treated: Treated, labels: Bytes, digit: int) -> NDArray[np.float64]:
    return 100 * treated.rates(labels, digit)


def _draw_lines(
    axes: Axes,
    measured: Measured,
    values: Callable[[Treated], NDArray[np.float64]],
    markersize: float = 2.8,
) -> None:
    """A line of means for each treatment's values [L, S], banded by one standard deviation."""
    for treated in measured.treatments:
        found, look = values(treated), _LOOK[treated.pictures]
        means = found.mean(axis=1)  # NaN leaves a gap
        axes.plot(
            measured.levels,
            means,
            label=treated.pictures,
            markersize=markersize,
            linewidth=1.0,
            **look,
        )
        if found.shape[1] > 1:
            half = np.array([std(row) for row in found])
            band = {"color": look["color"], "alpha": 0.2, "linewidth": 0}
            axes.fill_between(measured.levels, means - half, means + half, **band)


def _legend(drawing: Drawing, axes: Axes) -> None:
    legend_below(drawing, axes, 3, columnspacing=1.2, handletextpad=0.5)

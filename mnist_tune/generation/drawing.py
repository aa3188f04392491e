"""Figures of `generate`: sheets of synthetic digits, and the share recognised by each method."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from mnist_tune.data.idx import Bytes
from mnist_tune.denoising.image_rows import image_rows
from mnist_tune.generation.recognition import Recognised, Share
from mnist_tune.reports.documents import caption
from mnist_tune.reports.figures import (
    BLUE,
    COLUMN_INCHES,
    GREY,
    VERMILION,
    Figure,
    figure_of,
    legend_below,
)

COLUMNS = 20


def sheet(groups: Sequence[Recognised], paths: Sequence[tuple[str, Bytes]], warning: str) -> Figure:
    """Two rows of digits for each way, and one for each path.

    Args:
        groups: each with its images; the first of them are shown, whatever the classifier says.
        paths: a name, and images uint8 [COLUMNS, 28, 28] on the way from one digit to another.
        warning: written into the figure; empty for a plain result.
    """
    rows = [
        ("\n".join(textwrap.wrap(group.way, 17)), group.images[: 2 * COLUMNS]) for group in groups
    ]
    return image_rows("digits", caption("digits"), [*rows, *paths], COLUMNS, warning)


def shares(groups: Sequence[Recognised], warning: str) -> Figure:
    """Share of each way that is recognised with confidence."""
    return figure_of(
        "recognised",
        caption("recognised", confidence=groups[0].confidence),
        (COLUMN_INCHES, 0.75 + 0.2 * len(groups)),
        warning,
        lambda drawing: _draw_shares(drawing, groups),
    )


def _draw_shares(drawing: Drawing, groups: Sequence[Recognised]) -> None:
    axes = drawing.subplots()
    for place, group in enumerate(reversed(groups)):
        colour = BLUE if group.synthetic else GREY
        _draw_share(axes, place + 0.14, group.recognised, colour, "o")
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

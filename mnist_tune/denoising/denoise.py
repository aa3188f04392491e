"""The analysis of `denoise`: recognition and image quality at each noise level."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from mnist_tune.data.idx import Bytes
from mnist_tune.denoising import drawing
from mnist_tune.denoising.gains import HelpfulRange, helpful_ranges
from mnist_tune.denoising.measuring import Denoise, Measured, measure, noisy_images
from mnist_tune.denoising.tables import end_text, gain_text, tables
from mnist_tune.reports import formatting
from mnist_tune.reports.analyses import Analysis, AnalysisInput
from mnist_tune.reports.documents import paragraphs
from mnist_tune.reports.figures import Figure
from mnist_tune.statistics.means import summarise

_REPORTED = (0.4, 0.6)  # the level that the notebook trains with, and the one that it shows


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DenoisingInput(AnalysisInput):
    """What is to be judged, and on what.

    Attributes:
        images, labels: uint8 [n, 28, 28] and [n]; test images.
        denoisers: seed → autoencoder; the first one draws the grid.
    """

    images: Bytes
    labels: Bytes
    denoisers: Mapping[int, Denoise]


def analyse_denoising(
    subject: DenoisingInput,
    levels: Sequence[float],
    digits: int,
    log: Callable[[str], object] = lambda _line: None,
) -> Analysis:
    """Measure, compare and draw.

    Args:
        subject: networks and images.
        levels: of the noise, 0–1, ascending.
        digits: how many the grid shows.
        log: takes a line about each level.
    """
    measured = measure(
        subject.images, subject.labels, levels, subject.denoisers, subject.classify, log
    )
    ranges = helpful_ranges(measured)
    return Analysis(
        name="denoise",
        title="Recognising noisy digits with and without denoising",
        inputs={**subject.inputs, "levels": list(levels), "digits": digits},
        alerts=subject.alerts,
        text=(*subject.described, *_findings(measured, ranges)),
        tables=tables(measured, ranges),
        figures=(
            _grid(subject, levels, digits),
            *drawing.noise_figures(measured, ranges, subject.warning),
        ),
    )


def _findings(measured: Measured, ranges: Sequence[HelpfulRange]) -> tuple[str, ...]:
    """What came out, in plain sentences."""
    gains = ranges[0].gains
    best = int(np.argmax([gain.value for gain in gains]))
    levels = measured.levels
    return paragraphs(
        "analyses",
        kind="denoise",
        levels=[
            _at_level(measured, i)
            for i, level in enumerate(levels)
            if level in _REPORTED or i == best
        ],
        cost=gain_text(gains[0]) if levels[0] == 0 else "",
        ranges=ranges,
        end_text=partial(end_text, levels=levels),
        infinity=math.inf,
    )


def _at_level(measured: Measured, i: int) -> tuple[str, ...]:
    """The level, the share of digits that are recognised after each treatment, and the PSNR."""
    shares = (summarise(list(treated.accuracies[i])) for treated in measured.treatments)
    psnr = formatting.fixed(measured.denoised.psnr(i).mean(), digits=1)
    return f"{measured.levels[i]:g}", *map(formatting.mean_and_std, shares), psnr


def _grid(subject: DenoisingInput, levels: Sequence[float], digits: int) -> Figure:
    """The first test image of each of a few classes, whatever comes out."""
    chosen = list(_firsts(subject.labels, digits))
    noisy = np.stack([noisy_images(subject.images, level)[chosen] for level in levels])
    first = next(iter(subject.denoisers.values()))
    denoised = np.stack([np.asarray(first(each)) for each in noisy])
    return drawing.grid_figure(levels, subject.images[chosen], noisy, denoised, subject.warning)


def _firsts(labels: Bytes, digits: int) -> Iterator[int]:
    """Places of the first images of so many classes, evenly chosen from 0–9."""
    for digit in np.linspace(0, 9, digits).round().astype(int):
        found = np.flatnonzero(labels == digit)
        if found.size:
            yield int(found[0])
